"""`omniopd stop`: end a run that goes on, so that it can be resumed. After its step, at once, or by force."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
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

    go_on = going_on_words(options.folder)
    how = KILL if options.kill else INTERRUPT if options.now else STOP
    end_run(options.folder, how)
    words = {STOP: "ends after this step, with a checkpoint", INTERRUPT: "ends now", KILL: "was killed"}
    print(f"{options.folder} {words[how]}; go on with: {go_on}", file=sys.stderr)
    return 0


def going_on_words(folder: str) -> str:
    """The command that resumes a run: its notebook's where one executes it; a run that a sweep started is resumed by
    the sweep as well."""
    from omniopd.io.locks import is_locked
    from omniopd.launch.folder import is_launched
    from omniopd.runs.files.claims import start_lock

    path = shlex.quote(folder)
    if is_launched(folder):
        return f"omniopd run --resume {path}"
    again = f"omniopd train --resume {path}"
    return f"the sweep that started it, or: {again}" if is_locked(start_lock(Path(folder))) else again
