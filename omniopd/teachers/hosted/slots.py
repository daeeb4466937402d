"""The places of calls in flight: as many as there may be, given in the order of asking, but longest drafts first.

A scan is a conversation for each answer, and the longest ends last: whoever has most of an answer before it goes first,
or the last conversations would be alone at the end. Knows no call.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """`count` places, of one event loop."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def place(self, draft: str | None) -> AsyncIterator[None]:
        """One of the places, for as long as the block lasts."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (-len(draft or ""), next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._give()  # it came at the same moment
                raise
        try:
            yield
        finally:
            self._give()

    def _give(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
