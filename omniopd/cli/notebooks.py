"""`omniopd notebooks`: copy the shipped notebooks into a folder to work in."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "notebooks", help="copy the shipped notebooks", description=__doc__
    )
    command.add_argument("folder", metavar="DIR", help="where to; a file there that was changed is not overwritten")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.launch import copy_notebooks

    written, there = copy_notebooks(options.folder)
    for path in written:
        print(path)
    if there:
        print(f"{len(there)} of them were there already, unchanged")
    return 0
