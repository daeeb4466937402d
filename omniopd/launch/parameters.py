"""The parameters of a notebook: the defaults in its cell tagged "parameters", and the values given instead.

The cell is read as Python source and never executed: `steps: int | None = 3  # optimizer steps` is a parameter with a
type, a default and a sentence of help (papermill's own inspection loses every annotation with a bar in it). What a
recipe would refuse is found here as well, field by field.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import tokenize
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, load_recipe, override
from omniopd.config.sharing import micro_batches
from omniopd.errors import ConfigError

# Which setting of a recipe a parameter of this name stands for, in every notebook that has a `recipe`.
SETTINGS = {"steps": "training.steps", "problems": "evaluation.problems", "seed": "seed", "teacher": "teacher.model"}
PROCESSES = "processes"  # how many share a run's work, in a notebook that has it done
MORE = "settings"  # a list of further ones, as words of a command line: audit.samples=4
_NONE = ("", "none", "null")
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the cell. `type` is the annotation as written, or what the default is; "" where nothing is known.

    `default` is None as well where the cell computes it: then `source` says how, and it is not a constant.
    """

    name: str
    type: str
    default: Any
    help: str = ""
    source: str = ""
    constant: bool = True

    @property
    def choices(self) -> tuple[str, ...]:
        """What a `Literal[...]` allows."""
        return tuple(str(value) for value in _literal_values(_parsed(self.type)))


def parameters_of(notebook: Path) -> list[Parameter]:
    """The parameters of a notebook, in its order; none where no cell is tagged so. Raises ConfigError."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", ())]
        return _read("".join(tagged[0]["source"])) if tagged else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{notebook} is not a notebook that can be read: {error}") from error
    except SyntaxError as error:
        raise ConfigError(f"the parameters of {notebook} are no Python: {error.msg} in line {error.lineno}") from error


def checked(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What to hand to papermill, and one sentence for every field that cannot work.

    Texts (of a form, of a command line) are read as the parameter's type says: 3, 1e-4, true, none, a,b,c.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"the nearest is {near[0]}" if near else f"it has {', '.join(known) or 'none'}"
            problems[name] = f"{name} is not a parameter of this notebook: {hint}"
            continue
        try:
            values[name] = _as_type(_parsed(known[name].type), value)
        except ValueError:
            problems[name] = f"{name} is {value!r}, and must be {type_words(known[name].type)}"
    return values, problems | _refused_by_the_recipe(parameters, values)


def all_values(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the notebook will see: the given values, and its own constants for the others."""
    return {p.name: p.default for p in parameters if p.constant} | dict(given)


def type_words(annotation: str) -> str:
    """A type as a person would say it."""
    tree = _parsed(annotation)
    allowed = _literal_values(tree)
    if allowed:
        return "one of " + ", ".join(map(str, allowed))
    words = [_WORDS.get(ast.unparse(part), f"a value of type {ast.unparse(part)}") for part in _alternatives(tree)]
    return " or ".join(words) if words else "any value"


_WORDS = {
    "int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "None": "nothing (none)",
    "list[int]": "whole numbers, separated by commas", "list[float]": "numbers, separated by commas",
    "list[str]": "texts, separated by commas",
}  # fmt: skip


def recipe_with(values: Mapping[str, Any]) -> Recipe | None:
    """The recipe that a notebook with these parameters will run; None where it has none. Raises ConfigError."""
    recipe = values.get("recipe")
    if not isinstance(recipe, str):
        return None
    named = {setting: values[name] for name, setting in SETTINGS.items() if values.get(name) is not None}
    return override(load_recipe(recipe, **named), values.get(MORE) or (), MORE)


def _read(source: str) -> list[Parameter]:
    comments = _comments(source)
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, annotation, value = node.target.id, _annotation(node.annotation), node.value
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, annotation, value = node.targets[0].id, "", node.value
        else:
            continue
        try:
            default, constant = ast.literal_eval(value), True
        except ValueError:
            default, constant = None, False
        if not annotation and constant and default is not None:
            # Nobody said that it may not be nothing; a text "none" may be meant as one.
            annotation = type(default).__name__ + ("" if isinstance(default, str) else " | None")
        text = comments.get(node.end_lineno or node.lineno, "")
        found.append(Parameter(name, annotation, default, text, ast.unparse(value), constant))
    return found


def _annotation(node: ast.expr) -> str:
    """As written; the text of a quoted one."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _parsed(annotation: str) -> ast.expr | None:
    try:
        return ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None


def _alternatives(tree: ast.expr | None) -> list[ast.expr]:
    """The parts of `a | b | None` and of `Optional[a]`."""
    if tree is None:
        return []
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        return [*_alternatives(tree.left), *_alternatives(tree.right)]
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.value).endswith("Optional"):
        return [*_alternatives(tree.slice), ast.Constant(None)]
    return [tree]


def _literal_values(tree: ast.expr | None) -> list[Any]:
    if not isinstance(tree, ast.Subscript) or not ast.unparse(tree.value).endswith("Literal"):
        return []
    parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    return [part.value for part in parts if isinstance(part, ast.Constant)]


def _as_type(tree: ast.expr | None, value: Any) -> Any:
    """The value as the annotation wants it. Raises ValueError."""
    allowed = _literal_values(tree)
    if allowed:
        for choice in allowed:
            if value == choice or str(value) == str(choice):
                return choice
        raise ValueError
    parts = _alternatives(tree)
    if not parts:
        return _anything(value)
    # A text is the last resort: "3" is a number where numbers are allowed, "none" is nothing where that is.
    order = sorted(parts, key=lambda part: _ORDER.index(_base(part)) if _base(part) in _ORDER else len(_ORDER))
    for part in order:
        with suppress(ValueError):
            return _as_one(part, value)
    raise ValueError


_ORDER = ("None", "bool", "int", "float", "list", "tuple", "dict", "str")


def _base(part: ast.expr) -> str:
    return ast.unparse(part.value) if isinstance(part, ast.Subscript) else ast.unparse(part)


def _as_one(part: ast.expr, value: Any) -> Any:
    base = _base(part)
    inner = part.slice if isinstance(part, ast.Subscript) else None
    word = value.strip().lower() if isinstance(value, str) else None
    if base == "None" and (value is None or word in _NONE):
        return None
    if base == "bool" and (isinstance(value, bool) or word in _BOOLS):
        return _BOOLS[word] if isinstance(word, str) else value
    if base in ("None", "bool") or isinstance(value, bool):
        raise ValueError
    if base == "int" and (isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())):
        return int(value)
    if base == "float" and isinstance(value, str | int | float):
        return float(value)
    if base == "str" and isinstance(value, str):
        return value
    if base in ("int", "float", "str"):
        raise ValueError
    if base in ("list", "tuple"):
        items = _items(value)
        return [_as_type(inner, item) for item in items] if inner is not None else items
    return _anything(value)


def _items(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if text.startswith(("[", "(")):
        try:
            return list(ast.literal_eval(text))
        except (SyntaxError, TypeError) as error:
            raise ValueError from error
    return [part.strip() for part in text.split(",")] if text else []


def _anything(value: Any) -> Any:
    """A text that is a constant of Python as that constant, else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return None if value.strip().lower() == "none" else value


def _refused_by_the_recipe(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, str]:
    """What the recipe would say about each field, alone, before a minute has been spent on it."""
    named = {parameter.name for parameter in parameters}
    seen = all_values(parameters, values)
    recipe = seen.get("recipe")
    if not isinstance(recipe, str):
        return {}
    try:
        wanted = load_recipe(recipe)
    except ConfigError as error:
        return {"recipe": str(error)}
    problems = {}
    try:
        override(wanted, values.get(MORE) or (), MORE)
    except ConfigError as error:
        problems[MORE] = str(error)
    for name, setting in SETTINGS.items():
        if name in named and values.get(name) is not None:
            try:
                load_recipe(recipe, **{setting: values[name]})
            except ConfigError as error:
                problems[name] = str(error)
    if PROCESSES in named and PROCESSES in values and not problems:
        try:
            training = recipe_with(seen).training  # type: ignore[union-attr]
            micro_batches(training.rollouts, training.micro_batch, values[PROCESSES])
        except ConfigError as error:
            problems[PROCESSES] = str(error)
    return problems
