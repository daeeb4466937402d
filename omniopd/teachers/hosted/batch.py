"""One batch of a hosted teacher: all pieces of all requests at once, a deadline, and who hears of it.

Knows no wire format and no settings but its teacher's. What it owes to `buying.py` is the `BatchContext` there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from omniopd.errors import TeacherError
from omniopd.teachers.asking import checked
from omniopd.teachers.handover import UnsupportedRequest
from omniopd.teachers.hosted.background import CallerThreadQueue
from omniopd.teachers.hosted.calls import Admission, Call, CallObserver, OnResult, Outcome
from omniopd.teachers.hosted.fetch import DEADLINE, FetchState, SampleBatch, buy_piece
from omniopd.teachers.hosted.transport import FOR_ALL, Failure, Reply
from omniopd.teachers.spending.usage import billed
from omniopd.types import ContinuationRequest, Continuations, Usage

if TYPE_CHECKING:
    from omniopd.teachers.hosted.teacher import HostedTeacher

_POLL_S, _TURN_S = 0.5, 0.02


class Batch:
    """The `BatchContext` of its pieces, for one call of `HostedTeacher.buy`."""

    def __init__(
        self, teacher: HostedTeacher, requests: Sequence[ContinuationRequest], on_result: OnResult | None,
        watcher: CallObserver | None, desk: CallerThreadQueue,
    ) -> None:  # fmt: skip
        self.teacher, self.requests, self.on_result = teacher, requests, on_result
        self.watcher, self.desk = watcher, desk
        self.handover, self.patience = teacher.handover, teacher.patience
        self.takes_seed = teacher.traits.takes_seed
        self.chance = random.Random()  # pauses only: a run's own generators stay as they are
        self.call_for = teacher.call_for
        self._failed = False
        self._writing: set[asyncio.Future[None]] = set()
        self.deadline = time.monotonic() + teacher.batch_deadline_s
        self._freed, self._door, self._turn = asyncio.Event(), asyncio.Lock(), time.monotonic()

    async def execute(self) -> list[Continuations]:
        answers: list[Continuations | None] = [None] * len(self.requests)
        tasks = [asyncio.ensure_future(self._answer(index, answers)) for index in range(len(self.requests))]
        try:
            done, late = await asyncio.wait(tasks, timeout=self.left_s(), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            await self._end(late)
            for task in late:
                if not task.cancelled():
                    task.result()
            for index in [index for index, answer in enumerate(answers) if answer is None]:
                # Given up before it had begun.
                await self._tell(index, self._continuations(self.requests[index], FetchState()), answers)
        finally:
            await self._end(tasks)
            # Whoever watches is told of everything that was answered before the batch is over.
            await asyncio.gather(*self._writing, return_exceptions=True)
        return checked(self.teacher, self.requests, answers)

    async def _end(self, tasks: Iterable[asyncio.Future[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, index: int, answers: list[Continuations | None]) -> None:
        request, bought = self.requests[index], FetchState()
        try:
            pieces = self.teacher.pieces(index, request)
        except UnsupportedRequest as refused:
            bought.problem = refused.reason
        else:
            bought.exact = all(piece.asked.exact for piece in pieces)
            try:
                await self._buy_all(pieces, bought)
            except asyncio.CancelledError:
                if self.left_s() > 0:
                    raise
                bought.problem = bought.problem or DEADLINE
        await self._tell(index, self._continuations(request, bought), answers)

    async def _tell(self, index: int, answer: Continuations, answers: list[Continuations | None]) -> None:
        answers[index] = answer
        if self.on_result is not None:
            told = self.on_result
            await self._in_callers_thread(lambda: told(index, answer))

    async def in_turn(self, piece: SampleBatch, samples: int) -> None:
        if self._failed:
            await asyncio.Future()  # nothing more is sent; the batch is about to be cancelled
        # A thousand calls that begin in one turn of the loop would keep it from its deadlines for seconds.
        if time.monotonic() - self._turn > _TURN_S:
            async with self._door:
                if time.monotonic() - self._turn > _TURN_S:
                    await asyncio.sleep(0)
                    self._turn = time.monotonic()
        await self.teacher.in_turn(piece, samples)

    async def send(self, piece: SampleBatch, seed: int | None, samples: int) -> Reply | Failure:
        reply = await self.teacher.send(piece, seed, samples)
        self._failed |= isinstance(reply, Failure) and reply.reason in FOR_ALL
        return reply

    def recognise(self, reply: Reply, again: bool) -> bool:
        try:
            return self.teacher.recognise(reply, again)
        except TeacherError:
            self._failed = True
            raise

    async def _in_callers_thread(self, work: Callable[[], None]) -> None:
        try:
            await self.desk.do(work)
        except Exception:
            self._failed = True
            raise

    async def _buy_all(self, pieces: Sequence[SampleBatch], bought: FetchState) -> None:
        tasks = [asyncio.ensure_future(buy_piece(piece, self, bought)) for piece in pieces]
        try:
            await asyncio.gather(*tasks)
        finally:
            await self._end(tasks)

    def _continuations(self, request: ContinuationRequest, bought: FetchState) -> Continuations:
        numbers = range(request.first_sample, request.first_sample + request.samples)
        draws = [bought.draws[n] for n in numbers if n in bought.draws]
        problem = None if len(draws) == request.samples else bought.problem or DEADLINE
        return Continuations(
            texts=tuple(draw.text for draw in draws),
            stopped=tuple(draw.stopped for draw in draws),
            usage=bought.usage,
            problem=problem,
            served_model=bought.served or self.teacher.served_model,
            handover=self.handover.name,
            exact=bought.exact,
            echoes=sum(bought.echoes.values()),
        )

    def slot(self) -> AbstractAsyncContextManager[object]:
        return self.teacher.slots()

    async def may_send(self, call: Call) -> bool:
        while self.watcher is not None:
            leave = self.watcher.before(call)
            if leave is Admission.DENY:
                return False
            if leave is Admission.ALLOW:
                break
            # Another batch may free money too, and does not tell this one.
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), _POLL_S)
            except TimeoutError:
                continue
        return True

    async def over(self, call: Call, outcome: Outcome) -> None:
        if self.watcher is None:
            return
        try:
            if (written := self.watcher.after(call, outcome)) is not None:
                waiting = asyncio.wrap_future(written)
                self._writing.add(waiting)
                waiting.add_done_callback(self._writing.discard)
                await asyncio.shield(waiting)
        except Exception:
            self._failed = True
            raise
        self._freed.set()

    def unsent(self, call: Call) -> None:
        if self.watcher is not None:
            self.watcher.after(call, Outcome())
            self._freed.set()

    def billed(self, reply: Reply, call: Call) -> tuple[Usage, bool]:
        return billed(reply.taken, self.teacher.price, call)

    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())
