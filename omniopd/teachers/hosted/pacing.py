"""Calls and tokens per minute of a model, kept by spacing calls evenly, over all teachers of one process.

Even spacing satisfies a limit in whichever window the provider counts. A call's tokens are an estimate when it is sent;
what it really took is set right afterwards. Knows no provider.
"""

from __future__ import annotations

import asyncio
import math
import time
from weakref import WeakSet

from omniopd.errors import ConfigError

_MINUTE_S = 60.0


class Limits:
    """Calls and tokens per minute that one teacher keeps to; 0 means no limit. They hold for as long as it lives."""

    def __init__(self, requests_per_minute: float = 0, tokens_per_minute: float = 0) -> None:
        for name, limit in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if not 0 <= limit < math.inf:
                raise ConfigError(f"a teacher's {name} is {limit}: it must be above 0, or 0 for no limit")
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute


class Pacer:
    """Says when the next call to a model at one address may be sent, by the lowest limit of all who call there."""

    def __init__(self, *limits: Limits) -> None:
        self._limits = WeakSet(limits)
        self._request_at = 0.0
        self._tokens_at = 0.0

    def keep(self, limits: Limits) -> None:
        """From now on, for as long as a teacher holds them."""
        self._limits.add(limits)

    @property
    def requests_per_minute(self) -> float:
        return min((each.requests_per_minute for each in self._limits if each.requests_per_minute), default=0)

    @property
    def tokens_per_minute(self) -> float:
        return min((each.tokens_per_minute for each in self._limits if each.tokens_per_minute), default=0)

    async def wait(self, tokens: int) -> None:
        """Until a call of about `tokens` tokens may be sent."""
        now = at = time.monotonic()
        call_s = _MINUTE_S / self.requests_per_minute if self.requests_per_minute else 0.0
        tokens_s = tokens * _MINUTE_S / self.tokens_per_minute if self.tokens_per_minute else 0.0
        if call_s:
            at = max(at, self._request_at)
        if tokens_s:
            at = max(at, self._tokens_at)
        if call_s:
            self._request_at = at + call_s
        if tokens_s:
            self._tokens_at = at + tokens_s
        if at > now:
            try:
                await asyncio.sleep(at - now)
            except asyncio.CancelledError:
                # A batch that is over leaves its places to the next one.
                self._request_at -= call_s
                self._tokens_at -= tokens_s
                raise

    def correct(self, estimated: int, taken: int) -> None:
        """A call was estimated at more or fewer tokens than it took."""
        if self.tokens_per_minute:
            self._tokens_at += (taken - estimated) * _MINUTE_S / self.tokens_per_minute


_PACERS: dict[tuple[str, str], Pacer] = {}


def pacer_for(model: str, endpoint: str, limits: Limits) -> Pacer:
    """The pacer of a model at an address, which all its teachers share; `limits` hold while somebody holds them."""
    pacer = _PACERS.setdefault((model, endpoint.rstrip("/")), Pacer())
    pacer.keep(limits)
    return pacer
