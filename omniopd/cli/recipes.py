"""`omniopd recipes`: the recipes and studies that ship with the package, what they say, and every setting there is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from omniopd.cli.composed import add_recipes


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "recipes", help="list recipes and studies", description=__doc__
    )
    add_recipes(command, "print this recipe in full, every setting spelled out; of several, what they compose")
    command.add_argument(
        "--settings", dest="section", nargs="?", const="", metavar="SECTION",
        help="list every setting (of a section, such as audit): its default, what it is for, what it may be",
    )  # fmt: skip
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.config import compose, recipe_toml

    if options.section is not None:
        print_settings(options.section)
        return 0
    if options.recipes or options.settings:
        print(recipe_toml(compose(options.recipes, options.settings)), end="")
        return 0
    for folder in ("recipes", "studies"):
        print(f"{folder}, for `omniopd {'train' if folder == 'recipes' else 'sweep'}`")
        for path in sorted((Path(__file__).parents[1] / folder).glob("*.toml")):
            first = path.read_text(encoding="utf-8").splitlines()[0]
            print(f"  {path.stem:12} {first.removeprefix('#').strip()}")
    return 0


def print_settings(section: str = "") -> None:
    """One line for every setting, or for those of a section. Raises ConfigError for an unknown section."""
    from omniopd.config import SETTINGS, Recipe, allowed, every_setting
    from omniopd.errors import ConfigError

    chosen = [key for key in every_setting() if section in ("", key, key.partition(".")[0])]
    if not chosen:
        sections = dict.fromkeys(key.partition(".")[0] for key in every_setting())
        raise ConfigError(f"there is no section {section!r}: there are {', '.join(sections)}")
    plain = Recipe().as_dict()
    for key in chosen:
        first, _, last = key.partition(".")
        default = plain[first][last] if last else plain[first]
        may = f" ({allowed(key)})" if allowed(key) else ""
        print(f"{key:33} {_short(default):22} {SETTINGS[key].says}{may}")


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(f"{v:g}" for v in value) or "[]" if isinstance(value, tuple) else f"{value}" or '""'
