"""`omniopd job`: carry out one planned run of a sweep, or what is left of it; for any queue that starts commands."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "job", help="carry out one planned run of a sweep", description=__doc__,
        epilog="`omniopd sweep STUDY --print-jobs` prints one such command a line. The exit code is 0 where the run "
        "has finished, and 2 where another process has it.",
    )  # fmt: skip
    command.add_argument("folder", metavar="FOLDER", help="the run's folder, as the sweep planned it")
    command.add_argument("--device", metavar="NAME", help="cpu, cuda:0 (one of those to be seen), mps, auto, none")
    command.add_argument("--wait", action="store_true", help="wait where another process has the run, then go on")
    command.add_argument("--tied", action="store_true", help="stop, with a checkpoint, when the starting process ends")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.cli.main import parser
    from omniopd.io.interrupts import end_with_parent
    from omniopd.sweeps.job import command_in, end_notebook, having

    path = Path(options.folder)
    if hasattr(signal, "SIGUSR2"):
        # A scheduler sends it to all processes of a job; whoever shall hear it asks this one to stop.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if options.tied:
        end_with_parent(look_s=0.5)
    try:
        # SIGTERM ends it at once until the training listens: there is nothing yet to save.
        with having(path, options.wait) as state:
            if state == "finished":
                print(f"{path} has finished", file=sys.stderr)
                return 0
            words, environment = command_in(path, options.device)
            os.environ.update(environment)  # before torch, which reads it once, is imported
            command = parser().parse_args(words)
            return int(command.run(command) or 0)
    except KeyboardInterrupt:
        end_notebook(path)
        raise
