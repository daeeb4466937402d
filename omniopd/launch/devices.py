"""Which device a run computes on, by its name: "cpu", "cuda:0", "mps". Asks the system, never torch."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from omniopd.errors import ConfigError

AUTO, NONE = "auto", "none"


def device_named(word: str, environment: Mapping[str, str] | None = None) -> str:
    """The device that "auto" means here, or the one that is named; "none" waits for no device.

    Raises ConfigError for a word that names no device.
    """
    if word == AUTO:
        return _found(os.environ if environment is None else environment)
    if not re.fullmatch(r"cpu|none|mps|cuda:\d+", word):
        raise ConfigError(f"{word!r} names no device: write cpu, cuda:0 (or another number), mps, auto or none")
    return word


def devices_here(environment: Mapping[str, str] | None = None) -> list[str]:
    """Every device that a run can be given of its own: all NVIDIA GPUs that may be seen, or what "auto" means."""
    environment = os.environ if environment is None else environment
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [word.strip() for word in visible.split(",") if word.strip()]
    else:
        names = sorted(p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*"))
    return [f"cuda:{name}" for name in names if name.isdigit()] or [_found(environment)]


def device_environment(word: str) -> dict[str, str]:
    """What the environment of a run must say so that it computes on the device it was given."""
    if word == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if word.startswith("cuda:"):
        return {"CUDA_VISIBLE_DEVICES": word.removeprefix("cuda:")}
    return {}


def _found(environment: Mapping[str, str]) -> str:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        first = visible.split(",")[0].strip()
        return f"cuda:{first}" if first else "cpu"
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        return "cuda:0"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"
