"""What a search may try: the ranges of settings in a study's file, and how many trials each arm gets.

    [trials]
    seeds = [1000]
    search = "tpe"                       # in place of `tried`
    count = 24                           # trials of every arm, the same of each
    startup = 8                          # of these drawn at random, before any result counts (a third)
    [trials.ranges]
    training.learning_rate = { low = 1e-5, high = 1e-2, log = true }
    audit.forks = { low = 4, high = 16, step = 4 }
    objective.target = ["labels", "posterior_kl"]
    [arms.plain]
    ranges = { objective.anchor_weight = { low = 0.0, high = 1.0 } }    # in place of those of every arm
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniopd.errors import ConfigError
from omniopd.sweeps.plan import near

SEARCHES = ("tpe",)
_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included (whole ones if both are), in steps or evenly by their logarithm; or
    `choices`."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, Any]:
        """Values that must be possible if all between them shall be."""
        return (self.choices[0], self.choices[-1]) if self.choices else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Search:
    """How the trials of every arm are found; `count` of each, `startup` of them before any result counts."""

    count: int
    startup: int


def read_search(trials: Mapping[str, Any], place: str) -> Search | None:
    """The search that [trials] of a study ask for; None where they name what is tried. Raises ConfigError."""
    if "search" not in trials:
        odd = next((key for key in ("count", "startup", "ranges") if key in trials), None)
        if odd is not None:
            raise ConfigError(f'{odd} in {place} belongs to a search: write search = "tpe" as well')
        return None
    if trials["search"] not in SEARCHES:
        raise ConfigError(f"search in {place} is {trials['search']!r}; {near(str(trials['search']), SEARCHES)}")
    if "tried" in trials:
        raise ConfigError(f"{place} name both a search and what is tried: take one out")
    count = _whole(trials.get("count"), f"count in {place}")
    startup = _whole(trials.get("startup", max(1, count // 3)), f"startup in {place}")
    return Search(count, min(count, startup))


def read_ranges(table: Mapping[str, Any], place: str) -> dict[str, Range]:
    """The ranges by their dotted settings. Raises ConfigError for what is none."""
    ranges: dict[str, Range] = {}

    def read(inside: Mapping[str, Any], before: str) -> None:
        for key, value in inside.items():
            name = f"{before}{key}"
            if isinstance(value, dict) and not set(value) & set(_RANGE):
                read(value, f"{name}.")
            else:
                ranges[name] = _range(value, f"{name} in {place}")

    read(table, "")
    return ranges


def _range(value: Any, place: str) -> Range:
    if isinstance(value, list):
        if len(value) < 2:
            raise ConfigError(f"{place} is {value!r}: name two values or more to choose from")
        return Range(choices=tuple(value))
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) or set(value) - set(_RANGE):
        raise ConfigError(f"{place} is {value!r}: write {{ low = 1e-5, high = 1e-2, log = true }}, or a list of values")
    low, high, log, step = value["low"], value["high"], value.get("log", False), value.get("step")
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in (low, high, high if step is None else step)):
        raise ConfigError(f"{place} is {value!r}: low, high and step must be numbers")
    if not low < high or (log and low <= 0) or (step is not None and (log or not 0 < step <= high - low)):
        raise ConfigError(
            f"{place} is {value!r}: low must be below high, above 0 with log, and a step fit between them, without log"
        )
    return Range(low, high, bool(log), step)


def _whole(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{place} is {value!r}: it must be a whole number from 1 on")
    return value
