"""`omniopd recipes`: the recipes and studies that ship with the package, and what they say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "recipes", help="list recipes and studies", description=__doc__
    )
    command.add_argument("name", nargs="?", help="print this recipe in full, every setting spelled out")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.config import load_recipe, recipe_toml

    if options.name is not None:
        print(recipe_toml(load_recipe(options.name)), end="")
        return 0
    for folder in ("recipes", "studies"):
        print(f"{folder}, for `omniopd {'train' if folder == 'recipes' else 'sweep'}`")
        for path in sorted((Path(__file__).parents[1] / folder).glob("*.toml")):
            first = path.read_text(encoding="utf-8").splitlines()[0]
            print(f"  {path.stem:12} {first.removeprefix('#').strip()}")
    return 0
