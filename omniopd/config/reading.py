"""Recipes ⇄ TOML, read strictly: an unknown key is an error that names the nearest one."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from omniopd.config.bounds import every_setting, in_words, shown
from omniopd.config.checks import check
from omniopd.config.settings import COLOCATED, TRANSFORMERS, Recipe
from omniopd.errors import ConfigError

# Settings that had another name in earlier versions, by their section: the name now, and what their values are called.
_EARLIER = {"student.use_vllm": ("sampler", {False: TRANSFORMERS, True: COLOCATED})}


def recipe_from(data: Mapping[str, Any], place: str = "the recipe") -> Recipe:
    """A recipe from nested dictionaries; unknown keys and wrong types are errors."""
    recipe: Recipe = _read(Recipe, data, place, "")
    return recipe


def override(recipe: Recipe, assignments: Sequence[str], place: str = "the command line") -> Recipe:
    """The recipe with `key=value` words applied; a value is TOML, or else a plain string. An error says that they stand
    in `place`."""
    return with_settings(recipe, assigned(assignments), place)


def with_settings(recipe: Recipe, settings: Mapping[str, Any], place: str) -> Recipe:
    """The recipe with dotted settings applied and checked; an error says that they stand in `place`."""
    data = recipe.as_dict()
    for key, value in up_to_date(settings, place).items():
        _set(data, key, value)
    return check(recipe_from(data, place))


def assigned(words: Sequence[str]) -> dict[str, Any]:
    """Dotted settings from `key=value` words. Raises ConfigError for a word without an equals sign."""
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not a setting: write key=value, such as audit.samples=4")
        settings[key.strip()] = _toml_value(value.strip())
    return settings


def up_to_date(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Dotted settings by the names that they have now; those of earlier versions had others. Raises ConfigError."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        if key in _EARLIER:
            name, value = _as_now(f"{section}.", name, value, place)
            key = f"{section}.{name}"
        found[key] = value
    return found


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys: {"audit": {"forks": 4}} as {"audit.forks": 4}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted settings as tables: {"audit.forks": 4} as {"audit": {"forks": 4}}."""
    data: dict[str, Any] = {}
    for key, value in settings.items():
        _set(data, key, value)
    return data


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `load_recipe` reads back to an equal one."""
    lines, sections = [], []
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            body = [f"{g.name} = {toml(getattr(value, g.name))}" for g in fields(value)]
            sections.append("\n".join([f"[{f.name}]", *body]))
        else:
            lines.append(f"{f.name} = {toml(value)}")
    return "\n".join(lines) + "\n\n" + "\n\n".join(sections) + "\n"


def toml(value: Any) -> str:
    """A setting's value as TOML writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _read(cls: type[Any], data: Any, place: str, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"{path.rstrip('.') or 'the recipe'} in {place} is {shown(data)}: it must be a table of settings"
        )
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if path + key in _EARLIER:
            key, value = _as_now(path, key, value, place)
            if key in data:
                raise ConfigError(f"{place} holds {path}{key} and the name that it had earlier: leave out the earlier")
        if key not in known:
            raise ConfigError(f"{path}{key} in {place} is not a setting; {_nearest(path + key)}")
        hint = hints[key]
        nested = isinstance(hint, type) and is_dataclass(hint)
        values[key] = _read(hint, value, place, f"{path}{key}.") if nested else _cast(hint, value, path + key, place)
    missing = [n for n, f in known.items() if n not in values and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{place} lacks {', '.join(path + m for m in missing)}")
    return cls(**values)


def _as_now(path: str, key: str, value: Any, place: str) -> tuple[str, Any]:
    name, values = _EARLIER[path + key]
    if type(value) is not bool:
        raise ConfigError(f"{path}{key} in {place} is {shown(value)}: it must be true or false; it is {path}{name} now")
    return name, values[value]


def _cast(hint: Any, value: Any, key: str, place: str) -> Any:
    if get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        return tuple(_cast(get_args(hint)[0], v, key, place) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**1000 else math.inf
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{key} in {place} is {shown(value)}: it must be {in_words(hint)}")


def _nearest(key: str) -> str:
    every = list(every_setting())
    sections = [f.name for f in fields(Recipe)]
    same_end = [k for k in every if k.split(".")[-1] == key.split(".")[-1]]
    near = (
        same_end
        or ("." not in key and difflib.get_close_matches(key, sections, 1, 0.7))
        or difflib.get_close_matches(key, every, 1, 0.4)
    )
    return f"the nearest is {near[0]}" if near else f"settings are {', '.join(every)}"


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key} is not a setting: {section} is not a table")
    data[last] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML; a number of too many digits; a list of lists of lists…
        return text
