"""`omniopd COMMAND …`: finds the command's file, prints errors made on purpose as one sentence.

Exit codes: 0 done, 2 a mistake that the sentence explains, 130 stopped by Ctrl-C; 1 is a run that failed (`run`,
`sweep`) or a teacher that cannot be used (`teacher check`). A command's heavy imports happen when it runs, so that
`--help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

import omniopd
from omniopd.errors import ConfigError, OmniOPDError
from omniopd.io import processes
from omniopd.io.redaction import guard_tracebacks, redact
from omniopd.io.terminal import plain_output

COMMANDS = (
    "demo", "train", "run", "sweep", "job", "stop", "evaluate", "teacher", "fetch", "recipes", "report", "runs",
    "forks", "push", "notebooks", "plan",
)  # fmt: skip
ABOUT = "Distil a teacher that you can only read into a student that you own, and see why it works."
MISTAKE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` are the process's own by default. Returns the exit code."""
    with plain_output():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    options = _parsed(arguments)
    guard_tracebacks()
    main_says = processes.is_main()  # of several processes; another says only what it fails of by itself
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Once())
    logging.basicConfig(level=logging.WARNING if main_says else logging.ERROR, format="%(message)s", handlers=[handler])
    try:
        if processes.count() > 1 and not options.is_shared:
            raise ConfigError(
                f"`omniopd {options.command_name}` is for one process, and was started in {processes.count()}: leave "
                "torchrun and accelerate launch away (only train shares its work)"
            )
        return int(options.run(options) or 0)
    except OmniOPDError as error:
        who = "omniopd" if main_says else f"omniopd (process {processes.number()} of {processes.count()})"
        if main_says or not getattr(error, "is_told_by_main", False):
            print(f"{who}: {redact(str(error))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except RuntimeError as error:
        if not processes.is_lost_contact(error):
            raise
        if main_says:
            print("omniopd: another process of this run has ended: it said why, or was killed", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader went away (`omniopd runs | head`): nothing is left to say, not even by the interpreter's flush.
        sys.stdout = None  # type: ignore[assignment]
        return 0


class Once(logging.Filter):
    """Lets a warning pass once, whatever its numbers: one that comes at every step would drown the progress bar."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[object] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        seen = record.msg in self._seen
        self._seen.add(record.msg)
        return not seen


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As argparse does, and `key=value` words may stand behind options as well as before them."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ and arguments is None:
        _complete(top)
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        near = difflib.get_close_matches(words[0], COMMANDS, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        top.error(f"{words[0]!r} is not a command; {hint}")
    options, left = top.parse_known_args(arguments)
    behind = [word for word in left if "=" in word and not word.startswith("-")]
    if not hasattr(options, "settings") or len(behind) < len(left):
        behind = []
    if len(behind) < len(left):
        top.error(f"unrecognized arguments: {' '.join(left)}")
    if behind:
        options.settings = [*(options.settings or []), *behind]
    return options


def _complete(top: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what may stand next, and end; without the library, nothing may."""
    try:
        import argcomplete
    except ImportError:
        return
    # File names are the shell's own affair; everything else is read off the parser.
    argcomplete.autocomplete(top)


def parser() -> argparse.ArgumentParser:
    """The command line, with every command's own part."""
    top = argparse.ArgumentParser(prog="omniopd", description=ABOUT)
    top.add_argument("--version", action="version", version=omniopd.__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"omniopd.cli.{name}")
        command: argparse.ArgumentParser = module.add_parser(commands)
        command.set_defaults(run=module.run, is_shared=name == "train", command_name=name)
    return top


if __name__ == "__main__":
    sys.exit(main())
