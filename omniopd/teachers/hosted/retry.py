"""When a call is repeated, how long to wait before that, and when to give up. Decides; sends nothing and never sleeps.

    a failure (429, 5xx, a lost or silent connection, an unreadable answer)   the same draws again, after a pause
    no text, a text that was broken off or whose end is not stated, a refusal, a preamble, an echo up to the limit of
    tokens, a text without the thought that led to it, another model's answer that draw again, a few times
    fewer texts than asked for                                                the missing draws

A draw keeps its number and its seed through failures, so that faults change no text.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omniopd.teachers.hosted.choices import GLITCHES, NO_TEXT
from omniopd.teachers.hosted.failures import RATE_LIMITED, Failure

_LAST_SEED = 2**31 - 1
_RESEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a draw is tried. `attempts` counts calls in a row that brought nothing, `redraws` texts
    that do not count; a provider that says when to come back (429) is asked again `rate_limits` times. Seconds."""

    attempts: int = 12
    redraws: int = 6
    rate_limits: int = 100
    pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def pause(self, failures: int, retry_after_s: float | None, chance: random.Random) -> float:
        """Exponential with jitter, and never shorter than the provider asks for."""
        own: float = min(self.longest_pause_s, self.pause_s * 2 ** max(failures - 1, 0)) * chance.uniform(0.5, 1.0)
        if retry_after_s is None:
            return own
        return retry_after_s + min(own, 0.1 + 0.1 * retry_after_s)


class Attempts:
    """What has been tried for some draws of one request."""

    def __init__(self, policy: RetryPolicy, numbers: Sequence[int], chance: random.Random) -> None:
        self.policy, self.numbers, self.chance = policy, numbers, chance
        self._redraws, self._reseeds = dict.fromkeys(numbers, 0), dict.fromkeys(numbers, 0)
        self._failures = self._rate_limits = 0

    def next_call(self, drawn: Mapping[int, object], most: int) -> list[int]:
        """The first missing draws that one call can bring, `most` at most: consecutive numbers and consecutive seeds;
        none when all are drawn."""
        wanted = [n for n in self.numbers if n not in drawn]
        run = wanted[:1]
        for number in wanted[1:]:
            if len(run) == most or number != run[-1] + 1 or self._reseeds[number] != self._reseeds[run[0]]:
                break
            run.append(number)
        return run

    def seed(self, base: int, number: int) -> int:
        return draw_seed(base, number, self._reseeds[number])

    def after_failure(self, failure: Failure, left_s: float) -> float | None:
        """Seconds to wait before the next call; None: give up."""
        limited = failure.reason == RATE_LIMITED
        self._rate_limits, self._failures = self._rate_limits + limited, self._failures + (not limited)
        if self._failures >= self.policy.attempts or self._rate_limits >= self.policy.rate_limits:
            return None
        pause = self.policy.pause(self._failures + self._rate_limits, failure.retry_after_s, self.chance)
        return pause if pause <= left_s else None

    def after_reply(self, brought_texts: bool, problems: Mapping[int, str]) -> str | None:
        """Why to give up after an answer with these problems; None: ask for what is missing."""
        self._failures = 0 if brought_texts else self._failures + 1
        for number, problem in problems.items():
            self._redraws[number] += 1
            self._reseeds[number] += problem.partition(":")[0] not in GLITCHES
            if self._redraws[number] >= self.policy.redraws:
                return problem
        return NO_TEXT if self._failures >= self.policy.attempts else None


def draw_seed(base: int, number: int, reseed: int) -> int:
    """The seed of a draw. Choice j of a call counts on from the call's seed, as vLLM does, so that a draw has the same
    seed in a call of its own. The first redraw repeats it: a filter in front of the model may have changed its mind."""
    return (base + number + max(0, reseed - 1) * _RESEED_STRIDE) % _LAST_SEED
