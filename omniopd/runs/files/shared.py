"""Lines that people add beside a run's records, from any process: one writer at a time, whole, on the disk at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

from omniopd.errors import RunError
from omniopd.io.locks import lock
from omniopd.records import Record, record_json
from omniopd.runs.files.atomic import append_line, write_text
from omniopd.runs.files.lines import is_torn, read_lines

WAIT_S = 5.0
BY_HAND = "take that line out of the file, which no run reads, or move the file away"


def append_shared(file: Path, record: Record) -> None:
    """Append a record to `file`, whose lock stands beside it. Raises RunError for a file that cannot be written, and
    where another process keeps it locked."""
    held_by = file.with_suffix(".lock")
    try:
        held = _locked(held_by)
    except OSError as error:
        raise RunError(f"{file} cannot be written ({error.strerror}): check the folder and its rights") from error
    with held:
        if is_torn(file):
            # A crash in the middle of a line: what is whole stays, the half is gone.
            write_text(file, "".join(f"{record_json(r)}\n" for r in read_lines(file, type(record), BY_HAND)))
        append_line(file, record_json(record))


def _locked(file: Path) -> IO[bytes]:
    since = time.monotonic()
    while (held := lock(file)) is None:
        if time.monotonic() - since > WAIT_S:
            raise RunError(f"{file} is held by another process: do it again when that one is done")
    return held
