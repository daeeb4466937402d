"""`omniopd push RUN --to ORG/NAME`: a run's student onto the Hugging Face hub, with a card made from its records."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "push", help="hand a student on, by the hub", description=__doc__,
        epilog="example: omniopd push runs/2026-…_embedded --to me/my-student --dry-run. The token is HF_TOKEN of the "
        "environment; a repository that is there already is updated in one commit.",
    )  # fmt: skip
    command.add_argument("run_folder", metavar="RUN", help="the folder of a run that has finished")
    command.add_argument("--to", required=True, metavar="ORG/NAME", help="the repository on the hub")
    command.add_argument("--private", action="store_true", help="only you, or your organisation, see it")
    command.add_argument("--merge", action="store_true", help="a LoRA adapter into its model's weights first")
    command.add_argument("--dry-run", action="store_true", help="write the folder, and send nothing")
    command.add_argument("--out", metavar="DIR", help="where the folder is written, and kept (with --dry-run: RUN/hub)")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.pipeline.handing_on import finished_student, require_new, write_folder
    from omniopd.pipeline.hub import require_name, require_token, send

    require_name(options.to)
    made = finished_student(options.run_folder)
    out = Path(options.out) if options.out else made.path / "hub" if options.dry_run else None
    if out is not None:
        require_new(out)
    if options.dry_run and out is not None:
        print(write_folder(made, options.to, out, options.merge))
        print("nothing was sent; the same command without --dry-run sends it", file=sys.stderr)
        return 0
    token = require_token()
    with tempfile.TemporaryDirectory(prefix="omniopd-push-") as beside:
        folder = write_folder(made, options.to, out or Path(beside) / "student", options.merge)
        with _bars():
            print(send(folder, options.to, token, options.private, f"The student of {made.manifest.name}"))
    return 0


@contextmanager
def _bars() -> Iterator[None]:
    """The hub's own progress bars, on a terminal, where they move the cursor; none where nobody looks."""
    from huggingface_hub.utils import disable_progress_bars

    stream = sys.stderr
    if not stream.isatty():
        disable_progress_bars()
        yield
        return
    sys.stderr = getattr(stream, "raw", stream)
    try:
        yield
    finally:
        sys.stderr = stream
