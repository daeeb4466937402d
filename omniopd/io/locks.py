"""One process at a time: a lock on a file beside what it guards, free again when its holder ends, however it ends.

    held = lock(path)            # None: another process has it; holder(path) is that one's number
    if held is not None: …       # held while the file is open, here or in a child that inherits it (`held.fileno()`)

The lock is the system's (filelock's `lock_descriptor`: flock, on Windows a locked byte), so that neither clocks nor
process numbers decide whether a holder lives; a file system that machines share has it for all of them. The file is
never deleted: two could then hold two files of one name. Where the file system has no locks, everything may be locked.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
# Who only looks (`is_locked`) has the lock for a moment; a holder has it for good.
_A_LOOK_S, _PAUSE_S = 0.2, 0.02
_LINE = 300  # bytes that a number and a machine's name take at most


def lock(path: Path) -> IO[bytes] | None:
    """The lock on the file `path`, which is made where it is missing; None where somebody else holds it.

    Two locks of one process exclude each other, too. Close the file to release it. Raises OSError where `path` cannot
    be written.
    """
    file = _open(path)
    since = time.monotonic()
    while not _locked(file):
        if time.monotonic() - since > _A_LOOK_S:
            file.close()
            return None
        time.sleep(_PAUSE_S)
    sign(file)
    return file


def sign(file: IO[bytes]) -> None:
    """Write into a lock that is held whose it is: this process's number and machine."""
    with suppress(OSError):  # on a full disk the lock holds all the same, without its holder's number
        os.ftruncate(file.fileno(), 0)
        file.seek(0)
        file.write(f"{os.getpid()} {socket.gethostname()}".encode())


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on the file `path`, this process included. Makes no file."""
    with suppress(FileNotFoundError), _opened(path) as file:
        return not _locked(file)
    return False


def holder(path: Path) -> int | None:
    """The number of the process that locked the file `path` last, where it says so."""
    with suppress(OSError, ValueError, IndexError):
        return int(path.read_bytes()[:_LINE].split()[0][:20])
    return None


def holder_machine(path: Path) -> str | None:
    """The machine of that process, where it is not this one: there its number means another process."""
    with suppress(OSError, UnicodeDecodeError, IndexError):
        machine = path.read_bytes()[:_LINE].decode("ascii").split()[1]
        return machine if machine != socket.gethostname() and machine.isprintable() else None
    return None


def _opened(path: Path) -> IO[bytes]:
    """A file that is there. For writing where that is allowed: NFS locks no other for one alone."""
    try:
        return open(path, "r+b", buffering=0)
    except FileNotFoundError:
        raise
    except OSError:
        return open(path, "rb")


def _open(path: Path) -> IO[bytes]:
    # Through no symbolic link: the file is written to.
    return open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "rb+", buffering=0)


def _locked(file: IO[bytes]) -> bool:
    try:
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        raise
