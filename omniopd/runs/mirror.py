"""Runs that stand elsewhere, at an address that fsspec knows (s3://bucket/runs, sftp://host/runs).

Their records are copied into the user's cache folder, to be read like any others, and brought up to date whenever they
are asked for.

What is heavy stays there: weights, checkpoints, a teacher's answers. Nothing is ever written there. Credentials are
fsspec's matter, which takes them from the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from omniopd.errors import RunError
from omniopd.io.redaction import redact
from omniopd.runs.files.atomic import make_folder, temporary, write_text
from omniopd.runs.files.folders import BEST, CHECKPOINTS, CONTROLS, MANIFEST, MIRROR, SET_ASIDE, STUDENT

EVERY_S = 5.0  # seconds until an address is looked at again
_HEAVY = (BEST, CHECKPOINTS, CONTROLS, SET_ASIDE, STUDENT)
_LAUNCH = "launch"  # the folder of what was launched into a run's
_KINDS = (".json", ".jsonl", ".toml")
_CHANGES = ("size", "mtime", "LastModified", "ETag", "last_modified", "etag", "modified", "created", "md5", "ino")
_looked: dict[str, float] = {}  # addresses that this process follows, and when it looked last
_addresses: dict[Path, str] = {}


def here(place: str | Path) -> Path:
    """The folder of a place: itself on this machine, the copy of an address. Raises RunError for an address that cannot
    be read."""
    address = str(place)
    if "://" not in address:
        return Path(place)
    root = _root(address)
    if time.monotonic() - _looked.get(address, -EVERY_S) >= EVERY_S:
        _looked[address] = time.monotonic()
        try:
            _bring(address, root)
        except RunError:
            if address not in _addresses.values():  # nothing is here that could be read meanwhile
                del _looked[address]
            raise
        _addresses[root] = address
    return root


def follow(path: Path) -> None:
    """Bring up to date what a folder is a copy of, where it is one that this process made."""
    for root in (path, *path.parents):
        if (address := _addresses.get(root)) is not None:
            here(address)
            return


def _bring(address: str, root: Path) -> None:
    """Copy what is new, and remove what is gone; one process at a time."""
    try:
        system, base = _opened(address)
        found: dict[str, str | None] = {}
        with suppress(FileNotFoundError):
            found = dict(_records(system, base))
        if not found:
            raise RunError(f"{redact(address)} holds no run: give the address of one, or of a folder with runs in it")
        with FileLock(make_folder(root.parent) / ".lock"):
            known = _known(root)
            if not known:  # before anything else, since what is in a copy is looked at otherwise
                write_text(root / MIRROR, json.dumps({"address": redact(address), "files": {}}))
            for name, mark in found.items():
                if mark is None or known.get(name) != mark or not (root / name).is_file():
                    place = make_folder((root / name).parent) / Path(name).name
                    _fetch(system, f"{base}/{name}" if base else name, place)
            for name in known.keys() - found.keys():
                with suppress(OSError):
                    (root / name).unlink()
            write_text(root / MIRROR, json.dumps({"address": redact(address), "files": found}))
    except RunError:
        raise
    except Exception as error:  # whatever a store's library raises
        said = redact(str(error)).splitlines() or [type(error).__name__]
        raise RunError(
            f"{redact(address)} cannot be read ({said[0]}): check the address, the network and your credentials"
        ) from error


def _opened(address: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, base = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise RunError(f"{redact(address)} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise RunError(f"{redact(address)} is no address that fsspec knows: {error}") from error
    system.invalidate_cache()
    return system, base.rstrip("/")


def _records(system: Any, base: str) -> Iterator[tuple[str, Any]]:
    """The files of runs that hold records, by their place below the address, each with what changes when it is written;
    also what a notebook was launched with. Other files there may be of any size, and are nobody's business."""
    runs: list[PurePosixPath] = []
    for folder, inside, files in system.walk(base, detail=True, topdown=True, on_error="raise"):
        below = PurePosixPath(folder.rstrip("/").removeprefix(base).lstrip("/"))
        if MANIFEST in files:
            runs.append(below)
            for name in [name for name in inside if name in _HEAVY]:
                del inside[name]
        if below.name != _LAUNCH and not any(below.is_relative_to(run) for run in runs):
            continue
        for name, facts in files.items():
            place = below / name
            if place.suffix in _KINDS and not place.is_absolute() and not {"..", MIRROR} & set(place.parts):
                yield place.as_posix(), _mark(facts)


def _mark(facts: dict[str, Any]) -> str | None:
    """None where a store does not say enough to see a change."""
    told = {key: str(facts[key]) for key in _CHANGES if facts.get(key) is not None}
    return json.dumps(told, sort_keys=True) if told.keys() - {"size"} else None


def _fetch(system: Any, source: str, to: Path) -> None:
    beside = temporary(to)
    try:
        system.get_file(source, str(beside))
        if to.suffix == ".jsonl" and to.is_file():
            old, new = to.read_bytes(), beside.read_bytes()
            if new.startswith(old):  # the same file, with more lines: whoever follows it goes on
                with open(to, "ab") as file:
                    file.write(new[len(old) :])
                return
        os.replace(beside, to)
    finally:
        beside.unlink(missing_ok=True)


def _known(root: Path) -> dict[str, str | None]:
    with suppress(OSError, ValueError, LookupError, AttributeError):
        return dict(json.loads((root / MIRROR).read_text(encoding="utf-8"))["files"])
    shutil.rmtree(root, ignore_errors=True)  # of a copy that was never whole
    make_folder(root)
    return {}


def _root(address: str) -> Path:
    import platformdirs

    mark = hashlib.sha256(address.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:24]
    name = PurePosixPath(address.rstrip("/")).name or "runs"
    plain = "".join(c if c.isalnum() or c in "-_=." else "-" for c in name).strip(".") or "runs"
    return Path(platformdirs.user_cache_dir("omniopd", appauthor=False)) / "mirrors" / mark / plain
