"""Records as lines of a file: all of them or the sentence that names the damaged line, or those that are whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.records import read_record
from omniopd.runs.files.atomic import read_file


def read_lines(file: Path, kind: type[Any], way_out: str = "resuming the run sets it aside") -> list[Any]:
    """All records of a file, of one kind; none where it is missing, and a line being written is left out.

    Raises RunError for a damaged line, with its `way_out`, and for a file that cannot be read.
    """
    try:
        data = read_file(file)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{file} cannot be read ({error.strerror}): check the file and its rights") from error
    records: list[Any] = []
    # What follows the last line end is being written, or was torn by a crash.
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = read_record(line.decode())
        except ValueError as error:
            raise RunError(f"line {number} of {file} cannot be read ({error}): {way_out}") from error
        if not isinstance(record, kind):
            raise RunError(f"line {number} of {file} is a record of kind {record.kind!r}: {kind.kind!r} was expected")
        records.append(record)
    return records


def whole_records(file: Path, kind: type[Any]) -> list[Any]:
    """The records of a kind that can be read, whatever else the file holds; none of a file that cannot be read."""
    try:
        lines = read_file(file).split(b"\n")[:-1]
    except OSError:
        return []
    return [record for line in lines if isinstance(record := record_in(line), kind)]


def record_in(line: bytes) -> Any:
    """The record in a line, or None."""
    try:
        return read_record(line.decode())
    except ValueError:
        return None


def is_torn(file: Path) -> bool:
    """Whether the last line of a file has no end."""
    if not file.exists() or file.stat().st_size == 0:
        return False
    with open(file, "rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) != b"\n"
