"""Recipes out of files: each lies over those before it, setting by setting, and what the user says lies over them all.

Only what is composed has to be whole: a file may hold one setting. What is wrong in one of them is said of it by name.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omniopd.config.bounds import every_setting
from omniopd.config.checks import check
from omniopd.config.reading import assigned, dotted, nested, recipe_from, up_to_date
from omniopd.config.settings import Recipe
from omniopd.errors import ConfigError


def load_recipe(first: str | Path, /, *over: str | Path, **overrides: Any) -> Recipe:
    """The recipe of a shipped name ("embedded"), a TOML file, or a run directory's manifest, and what lies over it.

    Of several the later one wins, setting by setting (a list is one setting), and overrides win over all. They are
    dotted keys: `load_recipe("embedded", "mine.toml", **{"audit.samples": 4})`. Raises ConfigError.
    """
    return _composed((first, *over), overrides, "the arguments")


def compose(recipes: Sequence[str | Path], words: Sequence[str] = ()) -> Recipe:
    """The recipe that a command line asks for: its recipes as `load_recipe` lays them, and then `key=value` words."""
    if not recipes:
        raise ConfigError("no recipe is named: give a shipped name (`omniopd recipes`) or a TOML file")
    return _composed(recipes, assigned(words), "the command line")


def recipe_path(name_or_path: str | Path) -> Path:
    """Where a recipe stands: a file, or `recipes/NAME.toml` of the package."""
    path, name = Path(name_or_path), str(name_or_path)
    if path.is_file():
        return path
    shipped = Path(__file__).parent.parent / "recipes" / f"{name}.toml"
    if shipped.is_file():
        return shipped
    if path.suffix != ".toml" and name.partition(".")[0] in {f.name for f in fields(Recipe)}:
        raise ConfigError(f"{name!r} is not a setting: write key=value, such as audit.samples=4")
    names = sorted(p.stem for p in shipped.parent.glob("*.toml"))
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped ones are {', '.join(names)}"
    raise ConfigError(f"no recipe {name!r}: neither a file nor a shipped name; {hint}")


def _composed(recipes: Sequence[str | Path], last: Mapping[str, Any], place: str) -> Recipe:
    """`last` are dotted settings that win over all recipes; an error says that they stand in `place`."""
    layers = [(str(path), _settings_in(path)) for path in map(recipe_path, recipes)]
    layers += [(place, nested(last))] if last else []
    found: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name, data in layers:
        recipe_from(data, name)
        settings = up_to_date(dotted(data), name)
        if found and every_setting().keys() <= settings.keys():
            raise ConfigError(f"{name} says every setting there is, so that nothing before it is left: name it first")
        found |= settings
        places |= dict.fromkeys(settings, name)
    try:
        return check(recipe_from(nested(found)))
    except ConfigError as error:
        if len(recipes) == 1:
            raise
        raise ConfigError(f"{error} ({_whence(str(error), places)})") from error


def _settings_in(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        data: Mapping[str, Any] = json.loads(text)["recipe"] if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a recipe: {error}; compare it with a shipped one (`omniopd recipes`)"
        ) from error
    return data


def _whence(sentence: str, places: Mapping[str, str]) -> str:
    """Where the settings of a sentence were written, as far as it names any; else where all of them were."""
    named = [key for key in dict.fromkeys(re.findall(r"\w+\.\w+", sentence)) if key in places]
    if named:
        return ", ".join(f"{key} stands in {places[key]}" for key in named)
    return f"composed of {', '.join(dict.fromkeys(places.values()))}"
