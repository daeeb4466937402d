"""Which device a run computes on, by its name: "cpu", "cuda:0", "mps". Asks the system, never torch.

A number counts the devices that this process may see, as torch's does: where CUDA_VISIBLE_DEVICES allots "2,3", cuda:0
is the card called 2. Cards may also be allotted by their UUIDs or as parts of one (MIG-…).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from omniopd.errors import ConfigError

AUTO, NONE = "auto", "none"
VISIBLE = "CUDA_VISIBLE_DEVICES"


def device_named(word: str, environment: Mapping[str, str] | None = None) -> str:
    """The device that "auto" means here, or the one that is named; "none" waits for no device.

    Raises ConfigError for a word that names no device, and for a number beyond what may be seen here.
    """
    environment = os.environ if environment is None else environment
    if word == AUTO:
        return devices_here(environment)[0]
    if not re.fullmatch(r"cpu|none|mps|cuda:\d+", word):
        raise ConfigError(f"{word!r} names no device: write cpu, cuda:0 (or another number), mps, auto or none")
    allotted = _allotted(environment)
    if word.startswith("cuda:") and allotted is not None and int(word[5:]) >= len(allotted):
        there = f"cuda:0 to cuda:{len(allotted) - 1}" if allotted else "no CUDA device"
        raise ConfigError(
            f"{word} is not here: {VISIBLE} is {environment[VISIBLE]!r}, which allots {there}: name one of these, or "
            "auto"
        )
    return word


def device_of_several(word: str, processes: int) -> str:
    """The device of a run in so many processes. On GPUs all of them see all cards, and the run waits in no line.

    Raises ConfigError for a single card, and as `device_named` does.
    """
    if processes == 1 or not device_named(word).startswith("cuda"):
        return word
    if word != AUTO:
        raise ConfigError(
            f"device is {word!r} and processes {processes}: each of them computes on a card of its own, so give auto, "
            "none or cpu"
        )
    return NONE


def devices_here(environment: Mapping[str, str] | None = None) -> list[str]:
    """Every device that a run can be given of its own: all NVIDIA GPUs that may be seen, or what "auto" means."""
    allotted = _allotted(os.environ if environment is None else environment)
    count = len(list(Path("/dev").glob("nvidia[0-9]*"))) if allotted is None else len(allotted)
    if count:
        return [f"cuda:{number}" for number in range(count)]
    if allotted is None and Path("/dev/kfd").exists():
        return ["cuda:0"]
    return ["mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"]


def device_environment(word: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the environment of a run must say so that it computes on the device it was given and sees no other."""
    if word == "cpu":
        return {VISIBLE: ""}
    if word.startswith("cuda:"):
        allotted = _allotted(os.environ if environment is None else environment)
        return {VISIBLE: word[5:] if allotted is None else allotted[int(word[5:])]}
    return {}


def card_of(word: str, environment: Mapping[str, str] | None = None) -> str:
    """The device by the name of its card, by which processes with other allotments know it too: they share its line."""
    environment = os.environ if environment is None else environment
    card = device_environment(device_named(word, environment), environment).get(VISIBLE)
    return f"cuda:{card}" if card else device_named(word, environment)


def own_card(word: str) -> str:
    """`card_of` in a process that was started with `device_environment(word)`, and so sees its own device alone."""
    return card_of("cuda:0" if word.startswith("cuda:") else word)


def _allotted(environment: Mapping[str, str]) -> list[str] | None:
    """The cards that CUDA_VISIBLE_DEVICES names, up to the first that is none, as CUDA reads it; None where it is not
    set."""
    visible = environment.get(VISIBLE)
    if visible is None:
        return None
    cards: list[str] = []
    for word in (word.strip() for word in visible.split(",")):
        # CUDA stops at -1 and at what it does not know; a card named twice leaves none.
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", word):
            break
        if word in cards:
            return []
        cards.append(word)
    return cards
