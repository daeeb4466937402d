"""What a run is, gathered once at its start: recipe, seed, versions, commit, hardware, command.

Knows no host name, no environment variable and no path but those the user wrote. Keys never belong in a command or a
recipe; one that looks like a key is removed here all the same.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import omniopd
from omniopd.config import Recipe
from omniopd.io import processes
from omniopd.io.redaction import redacted, struck_out
from omniopd.records import RunManifest

PACKAGES = (
    "torch", "transformers", "trl", "accelerate", "peft", "datasets", "safetensors", "tokenizers", "litellm",
    "rapidfuzz", "sentence-transformers", "math-verify", "numpy", "vllm", "papermill",
)  # fmt: skip
HIDDEN = "(not kept)"


def collect(recipe: Recipe, name: str | None = None, command: Sequence[str] | None = None) -> RunManifest:
    """The manifest of a run that starts now. `command`: the words that started it (this process's by default)."""
    return RunManifest(
        name=name or recipe.name,
        recipe=without_secrets(recipe.as_dict()),
        seed=recipe.seed,
        created=now(),
        versions=versions(),
        hardware=hardware(),
        commit=commit(),
        command=tuple(struck_out(this_command() if command is None else command, HIDDEN)),
    )


def versions() -> dict[str, str]:
    """Versions of Python, this package and what its numbers depend on, of those that are installed."""
    found = {"python": platform.python_version(), "omniopd": omniopd.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processors, memory (GiB) and GPUs in words; no names of machines."""
    import psutil

    # By its name, because views read runs, and views know no torch.
    torch = importlib.import_module("torch")
    words: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }
    if torch.backends.mps.is_available():
        words["gpus"] = ["Apple GPU (mps)"]
    return words


def commit() -> str | None:
    """The git commit of this package where it is used from a checkout ("…+" with uncommitted changes), else None."""
    root = Path(omniopd.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return head + ("+" if changed else "")


def this_command() -> tuple[str, ...]:
    """The words that started this process, its own place apart; nothing for a notebook's kernel."""
    program = Path(sys.argv[0]).name
    if "ipykernel" in sys.argv[0] or program in ("", "-c"):
        return ()
    return (program, *sys.argv[1:])


def now() -> str:
    """The time as records write it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def without_secrets(value: Any) -> Any:
    """The value as JSON will hold it, keys struck out."""
    return redacted(value, HIDDEN)
