"""`base.toml over.toml key=value` on a command line: the words of every command that takes recipes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_recipes(command: argparse.ArgumentParser, says: str = "") -> None:
    """Recipes and settings as one row of words, found in `options.recipes` and `options.settings`."""
    command.add_argument(
        "recipes", nargs="*", action=_Apart, metavar="RECIPE|key=value",
        help=says or "shipped names (omniopd recipes) or TOML files, a later one over those before; settings to change",
    )  # fmt: skip
    command.set_defaults(settings=[])


class _Apart(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.recipes, namespace.settings = apart(values or ())


def apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recipes and settings, each in their order. What has an equals sign is a setting, but for a recipe's file that is
    there: runs/lr=3e-4/manifest.json."""
    recipes = [word for word in words if "=" not in word or _is_file(word)]
    return recipes, [word for word in words if word not in recipes]


def _is_file(word: str) -> bool:
    return word.endswith((".toml", ".json")) and Path(word).is_file()
