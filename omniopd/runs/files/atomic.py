"""Writing files so that a crash, a kill or a full disk leaves the old content or the new, and never half of it.

A whole file is written beside its place and renamed onto it; a line is appended, or taken back. Both reach the disk
before they return, in the one encoding of `texts.encoded`. One writer per file.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from omniopd.errors import RunError
from omniopd.io.texts import encoded

TEMPORARY = ".tmp"  # how the name of a file that is not yet in its place ends
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path`, whole or not at all. Raises RunError where it cannot be written; the old file stays."""
    beside = temporary(path)
    with _explained(path):
        try:
            with open(beside, "wb") as file:
                file.write(encoded(text))
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        sync_folder(path.parent)


def overwrite_text(path: Path, text: str) -> None:
    """Put a short `text` into the file that is there, in place: for a full disk, where nothing new can be made.

    A crash in between may leave a half; what a file system's block holds already needs no space. Raises RunError.
    """
    with _explained(path), open(path, "r+b", buffering=0) as file:
        data = encoded(text)
        file.write(data)
        file.truncate(len(data))
        os.fsync(file.fileno())


def append_line(path: Path, line: str) -> None:
    """Append one line and its end. Raises RunError where it cannot be written; what was there stays as it was."""
    data = encoded(line + "\n")
    with _explained(path), open(path, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += file.write(data[written:])
            os.fsync(file.fileno())
        except BaseException:
            # A part of a line would spoil the next one. Cutting a file needs no space, so it works on a full disk too.
            with suppress(OSError):
                os.truncate(path, before)
            raise


def open_file(path: Path) -> IO[bytes]:
    """A file to read. Raises OSError, also for what is not a regular file: a pipe would block, a device never ends."""
    how = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, how), "rb")  # noqa: SIM115 - the caller's
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return file


def read_file(path: Path) -> bytes:
    """What a file holds. Raises OSError, as `open_file` does."""
    with open_file(path) as file:
        return file.read()


def temporary(path: Path) -> Path:
    """Where this thread writes what will become `path`: the same folder, so that one rename puts it in place."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{TEMPORARY}")


def make_folder(path: Path, *, exist_ok: bool = True) -> Path:
    """Make a folder and its parents. Raises RunError; FileExistsError where `exist_ok` is False and it is there."""
    try:
        with _explained(path):
            path.mkdir(parents=True, exist_ok=exist_ok)
    except RunError as error:
        if isinstance(error.__cause__, FileExistsError) and not exist_ok:
            raise error.__cause__ from None
        raise
    return path


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` last. A no-op where folders cannot be opened (Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RunError(
                f"the disk of {path.parent} is full, so {path.name} could not be written ({error.strerror}): nothing "
                "written before is lost; free some space there and resume the run"
            ) from error
        reason = error.strerror or error
        raise RunError(f"{path} cannot be written ({reason}): check the folder and its rights") from error
