"""What must be there before anything is started: an optional library, and for a cluster a folder with locks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, RunError
from omniopd.io.locks import is_locked
from omniopd.sweeps.plan import SWEEP_LOCK


def library(name: str, whose: str, extra: str = "cluster") -> Any:
    """The library that a word of the command line or of a study asks for. Raises ConfigError where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{whose} needs {name}, which is not installed ({error}): pip install omniopd[{extra}]"
        ) from error


def require_locks(folder: Path) -> None:
    """Raises RunError where the file system of a folder that this process is driving has no locks: by them machines
    know which of them has a run."""
    if not is_locked(folder / SWEEP_LOCK):
        raise RunError(
            f"the file system of {folder} has no locks, so that two machines could carry out one run: give --runs a "
            "folder that has them (NFS from version 4, Lustre mounted with flock)"
        )
