"""Checkpoints that become visible whole or not at all, and say when they are no longer what was written.

    checkpoints/step-000020/               files of the trainer + checkpoint.json: bytes and sha256 of each
    checkpoints/.staging-step-000040/      being written; a kill leaves it, the next rotation removes it

Knows files and steps, not what is in them. Nothing here loads a checkpoint: reading bytes is safe, unpickling is not.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniopd.errors import CheckpointError

MANIFEST = "checkpoint.json"
SCHEMA = 1
FEWEST = 2  # checkpoints always kept: the newest one may turn out damaged
_STAGING, _REPLACED, _REMOVING = ".staging-", ".replaced-", ".removing-"
_NAME = re.compile(rf"(?:{re.escape(_REPLACED)})?step-(\d+)")
_log = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step stands: ``folder/step-000020``."""
    return folder / f"step-{step:06d}"


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint, from its name. Raises CheckpointError for another name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path} is not named like a checkpoint: step-000020 is the one of step 20")
    return int(match[1])


def staging_path(final: Path) -> Path:
    """Where to write what `commit` will make visible as `final`: beside it, hidden."""
    return final.with_name(_STAGING + final.name)


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """``with staged(final) as folder:`` write the files; they are committed at the end, or all removed on an error.

    Raises CheckpointError, naming the folder, where the disk is full; earlier checkpoints are as they were.
    """
    staging = staging_path(final)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        commit(staging, final)
    except BaseException as error:
        full = _is_full(error, final.parent)
        shutil.rmtree(staging, ignore_errors=True)
        if full:
            raise CheckpointError(
                f"the disk of {final.parent} is full, so {final.name} could not be written: earlier checkpoints are "
                "whole; free some space there and resume the run"
            ) from error
        raise


def commit(staging: Path, final: Path) -> None:
    """Make the files in `staging` the checkpoint `final`: everything reaches the disk first, then one rename.

    A checkpoint of that name is replaced; a kill in between leaves it findable by `newest_valid`. Both paths must be
    in one folder. Raises CheckpointError where there is nothing to commit, OSError from the file system.
    """
    step = step_of(final)
    if not staging.is_dir() or staging.parent.resolve() != final.parent.resolve():
        raise CheckpointError(f"{staging} is not a folder beside {final}: write the files to staging_path(final)")
    files = {name: _facts(staging / name, sync=True) for name in _names(staging)}
    if not files:
        raise CheckpointError(f"{staging} is empty: nothing to make a checkpoint of")
    with open(staging / MANIFEST, "w", encoding="utf-8", newline="\n") as file:
        file.write(_manifest_text(step, files))
        file.flush()
        os.fsync(file.fileno())
    for folder in [p for p in staging.rglob("*") if p.is_dir()] + [staging]:
        _sync(folder)
    replaced = final.with_name(_REPLACED + final.name)
    if final.exists():
        _remove(replaced)
        os.rename(final, replaced)
    os.rename(staging, final)
    _sync(final.parent)
    _remove(replaced)


def problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, as a sentence; None where every byte is as it was written."""
    if _NAME.fullmatch(path.name) is None:
        return f"{path} is not named like a checkpoint (step-000020)"
    try:
        text = (path / MANIFEST).read_bytes().decode()
        data = json.loads(text)
        files = data["files"]
        # Written in one form only, so that no byte of the manifest itself can change unnoticed.
        if not isinstance(files, dict) or text != _manifest_text(step_of(path), files):
            return f"{path / MANIFEST} is not as it was written"
    except FileNotFoundError:
        return f"{path} has no {MANIFEST}: it was not finished"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{path / MANIFEST} cannot be read ({error})"
    for name, facts in files.items():
        try:
            size = (path / name).stat().st_size
            if size != facts["bytes"]:
                return f"{path / name} has {size} bytes instead of {facts['bytes']}"
            if _facts(path / name)["sha256"] != facts["sha256"]:
                return f"{path / name} is not as it was written: its sha256 differs"
        except FileNotFoundError:
            return f"{path / name} is missing"
        except (OSError, TypeError, KeyError) as error:
            return f"{path / name} cannot be read ({error})"
    return None


def newest_valid(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step, or None. Says in the log which damaged ones it passes over."""
    for path in _candidates(folder):
        what = problem(path)
        if what is None:
            return path
        _log.warning("%s; taking an older checkpoint instead", what)
    return None


def rotate(folder: Path, keep: int = FEWEST) -> list[Path]:
    """Remove checkpoints beyond the newest `keep` whole ones (at least 2), and what kills left; returns the removed.

    Damaged ones count for nothing: those older than the newest whole one are removed, and never the only good one.
    Call it where nothing is being written, after `commit`.
    """
    for pattern in (_STAGING, _REMOVING):
        for stale in folder.glob(f"{pattern}*"):
            shutil.rmtree(stale, ignore_errors=True)
    paths = _candidates(folder)
    keep = max(keep, FEWEST)
    if len(paths) <= keep:
        return []  # nothing to remove, so nothing to check
    whole: set[int] = set()
    removed: list[Path] = []
    for path in paths:
        if len(whole) < keep and step_of(path) not in whole and problem(path) is None:
            whole.add(step_of(path))
        elif whole:
            _remove(path)
            removed.append(path)
    return removed


def _candidates(folder: Path) -> list[Path]:
    """Checkpoints, damaged or not, the newest first; one under its own name before one being replaced."""
    paths = [p for p in folder.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(paths, key=lambda p: (-step_of(p), p.name.startswith(".")))


def _names(folder: Path) -> list[str]:
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in files if name != MANIFEST)


def _facts(path: Path, sync: bool = False) -> dict[str, Any]:
    if sync:
        with open(path, "r+b") as file:  # some systems sync only what they may write
            os.fsync(file.fileno())
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _manifest_text(step: int, files: dict[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, "step": step, "files": files}, indent=1, sort_keys=True) + "\n"


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a kill in between leaves nothing that looks like one."""
    if not path.exists():
        return
    doomed = path.with_name(_REMOVING + path.name.lstrip("."))
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return  # folders cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error means a full disk: writers of weights report it in types of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    if not isinstance(error, Exception) or isinstance(error, CheckpointError):
        return False
    # torch, whatever the reason: while it writes, and where it then closes a file that is shorter than it believes.
    failed_writing = "failed writing" in str(error) or "inline_container" in str(error)
    return "No space left" in str(error) or (failed_writing and shutil.disk_usage(folder).free < 2**20)
