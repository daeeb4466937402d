"""`omniopd stop`: end a run that goes on, so that it can be resumed. After its step, at once, or by force."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser("stop", help="end a run that goes on", description=__doc__)
    command.add_argument("folder", metavar="RUN", help="the run's folder")
    strength = command.add_mutually_exclusive_group()
    strength.add_argument("--now", action="store_true", help="do not wait for the step in progress")
    strength.add_argument("--kill", action="store_true", help="kill the kernel and its process")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.launch import end_run
    from omniopd.launch.folder import INTERRUPT, KILL, STOP

    how = KILL if options.kill else INTERRUPT if options.now else STOP
    end_run(options.folder, how)
    words = {STOP: "ends after this step, with a checkpoint", INTERRUPT: "ends now", KILL: "was killed"}
    print(f"{options.folder} {words[how]}; go on with: omniopd run --resume {options.folder}", file=sys.stderr)
    return 0
