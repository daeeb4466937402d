"""How many threads a run computes with: never more than there are cores, and a word where even those wait, or where
steps become slow on the way.

Threads that share a core wait for each other at the end of every operation: two of them on busy cores made steps
seventeen times slower. How many there are changes the last bits of sums, so they are counted, never chosen by the load
of a moment. Knows no run.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Mapping

import psutil
import torch

from omniopd.io.processes import on_this_machine

# Operations as small as those of a token that is decoded, and how much slower than one thread several may be.
_ROUNDS, _OPERATIONS, _WORSE = 5, 40, 2.0
# Steps that the time left is estimated from, and how many times longer one may take; shorter ones are noise.
_STEPS, _SLOWER, _NOISE_S = 3, 5.0, 2.0
_log = logging.getLogger(__name__)


def use_threads(wanted: int = 0) -> int:
    """Let torch compute with `wanted` threads and return how many these are; 0: as many as it takes by itself, but no
    more than this process's part of the physical cores that it may use. Logs a warning where they are much slower than
    one is."""
    threads = wanted or min(torch.get_num_threads(), max(1, physical_cores() // on_this_machine()))
    torch.set_num_threads(threads)
    if threads > 1:
        several, one = _seconds(threads), _seconds(1)
        torch.set_num_threads(threads)
        if several > _WORSE * one:
            _log.warning(
                "%d threads compute %.0f times slower than one here, since other programs hold the cores: steps will "
                "take that much longer than they need; set training.threads=1",
                threads, several / one,
            )  # fmt: skip
    return threads


def physical_cores() -> int:
    """Cores that this process may use, a pair of hyperthreads counted once; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


class Pace:
    """Says once when a step takes many times what the steps before it took, and in which phase."""

    def __init__(self) -> None:
        self._before: deque[Mapping[str, float]] = deque(maxlen=10)

    def look(self, step: int, seconds: Mapping[str, float]) -> None:
        """`seconds` of a step by phase."""
        usual = statistics.median([sum(each.values()) for each in self._before] or [0.0])
        if len(self._before) >= _STEPS and sum(seconds.values()) > max(_SLOWER * usual, _NOISE_S):
            phase = max(seconds, key=lambda name: seconds[name] - self._before[-1].get(name, 0.0))
            _log.warning(
                "step %d took %.0f s, and the steps before it %.1f s, most of the difference in %r: what is left will "
                "take longer than estimated if that goes on; look for other programs on these cores, or for a teacher "
                "that has slowed down",
                step, sum(seconds.values()), usual, phase,
            )  # fmt: skip
            self._before.clear()
        self._before.append(seconds)


def _seconds(threads: int) -> float:
    """The median time of some small operations."""
    torch.set_num_threads(threads)
    row, matrix = torch.ones(8, 512), torch.ones(512, 2048)
    taken = []
    for _ in range(_ROUNDS):
        since = time.perf_counter()
        for _ in range(_OPERATIONS):
            row @ matrix
        taken.append(time.perf_counter() - since)
    return statistics.median(taken)
