"""A lock is its process's as long as that lives, and nobody's afterwards: no clock and no number decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omniopd.io.locks import holder, is_locked, lock

HOLD = """
import sys
from pathlib import Path
from omniopd.io.locks import lock
held = lock(Path(sys.argv[1]))
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""


def other(path: Path, **more: object) -> subprocess.Popen:
    """A process that locks the file, says what came of it and goes on until its input ends."""
    words = [sys.executable, "-c", HOLD, str(path)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)


def test_one_process_holds_a_lock_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert not is_locked(path)
    assert not path.exists()
    with other(path) as first:
        assert first.stdout.readline() == "held\n"
        assert is_locked(path)
        assert holder(path) == first.pid
        assert lock(path) is None
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not is_locked(path)
    with lock(path) as held:
        assert holder(path) == os.getpid()
        assert lock(path) is None
        assert is_locked(path)
        assert not held.closed
    assert not is_locked(path)


@pytest.mark.skipif(os.name != "posix", reason="children inherit open files")
def test_a_child_that_inherits_a_lock_holds_it_on(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    held = lock(path)
    words = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(held.fileno(),)) as child:
        child.stdout.readline()
        held.close()
        assert is_locked(path)
        child.stdin.close()
        child.wait()
    assert not is_locked(path)


def test_looking_at_a_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    look = (
        "from pathlib import Path\nfrom omniopd.io.locks import is_locked\nprint(flush=True)\n"
        f"while True: is_locked(Path({str(path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", look], stdout=subprocess.PIPE) as looking:
        looking.stdout.readline()
        for _ in range(200):
            held = lock(path)
            assert held is not None
            held.close()
        looking.kill()


def test_what_a_lock_says_of_its_holder_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert holder(path) is None
    for said in (b"", b"\xff\xfe", b"x", b"9" * 10_000, b"-"):
        path.write_bytes(said)
        assert holder(path) in (None, int("9" * 20))
        assert not is_locked(path)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are followed")
def test_a_lock_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "x.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic"):
        lock(tmp_path / "x.lock")
    assert (tmp_path / "mine").read_text() == "precious"
