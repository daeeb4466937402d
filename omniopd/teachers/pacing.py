"""Calls and tokens per minute of a model, kept by spacing calls evenly, over all teachers of one process.

Even spacing satisfies a limit in whichever window the provider counts. A call's tokens are an estimate when it is sent;
what it really took is set right afterwards. Knows no provider.
"""

from __future__ import annotations

import asyncio
import time

_MINUTE_S = 60.0


class Pacer:
    """Says when the next call may be sent. 0 means no limit."""

    def __init__(self, requests_per_minute: float = 0, tokens_per_minute: float = 0) -> None:
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._request_at = 0.0
        self._tokens_at = 0.0

    async def wait(self, tokens: int) -> None:
        """Until a call of about `tokens` tokens may be sent."""
        now = time.monotonic()
        at = now
        if self.requests_per_minute:
            at = max(at, self._request_at)
        if self.tokens_per_minute:
            at = max(at, self._tokens_at)
        if self.requests_per_minute:
            self._request_at = at + _MINUTE_S / self.requests_per_minute
        if self.tokens_per_minute:
            self._tokens_at = at + tokens * _MINUTE_S / self.tokens_per_minute
        if at > now:
            try:
                await asyncio.sleep(at - now)
            except asyncio.CancelledError:
                # A batch that is over leaves its places to the next one.
                if self.requests_per_minute:
                    self._request_at -= _MINUTE_S / self.requests_per_minute
                self.correct(tokens, 0)
                raise

    def correct(self, estimated: int, taken: int) -> None:
        """A call was estimated at more or fewer tokens than it took."""
        if self.tokens_per_minute:
            self._tokens_at += (taken - estimated) * _MINUTE_S / self.tokens_per_minute


_PACERS: dict[tuple[str, str], Pacer] = {}


def pacer_for(model: str, endpoint: str, requests_per_minute: float, tokens_per_minute: float) -> Pacer:
    """The pacer that all teachers of this model share; the last one made sets the limits."""
    pacer = _PACERS.setdefault((model, endpoint), Pacer())
    pacer.requests_per_minute, pacer.tokens_per_minute = requests_per_minute, tokens_per_minute
    return pacer
