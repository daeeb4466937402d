"""The loop that owns one batch of a hosted teacher: every call of every request until all is answered or time is up.

Who may send is the observer's word and the pacer's, what is sent again `retry.py`'s, what a call holds `endpoint.py`'s.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from omniopd.errors import TeacherError
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.teachers.hosted.background import CallerThreadQueue
from omniopd.teachers.hosted.calls import BUDGET, Admission, Call, CallObserver, OnResult, Outcome, Sample
from omniopd.teachers.hosted.choices import ECHO, NO_TEXT, OTHER_MODEL, by_number, parsed_choice
from omniopd.teachers.hosted.endpoint import Endpoint, SampleBatch
from omniopd.teachers.hosted.failures import FOR_ALL, Failure
from omniopd.teachers.hosted.finish import PARTED, STOP
from omniopd.teachers.hosted.retry import Attempts, RetryPolicy
from omniopd.teachers.hosted.transport import Reply
from omniopd.teachers.spending.usage import billed
from omniopd.types import ContinuationRequest, Continuations, Usage

DEADLINE = "deadline"
_POLL_S, _TURN_S = 0.5, 0.02


@dataclass(slots=True)
class FetchState:
    """The draws that a request has got so far, what they cost, why the others are missing, and echoes by draw."""

    draws: dict[int, Sample] = field(default_factory=dict)
    echoes: dict[int, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    problem: str | None = None
    served: str = ""
    exact: bool = True


class Fetch:
    """One batch. `on_result` and nothing else runs in the thread of `caller`."""

    def __init__(
        self, endpoint: Endpoint, policy: RetryPolicy, deadline_s: float, requests: Sequence[ContinuationRequest],
        on_result: OnResult | None, observer: CallObserver | None, caller: CallerThreadQueue,
    ) -> None:  # fmt: skip
        self.endpoint, self.policy, self.requests = endpoint, policy, requests
        self.on_result, self.observer, self.caller = on_result, observer or CallObserver(), caller
        self.deadline = time.monotonic() + deadline_s
        self._answers: list[Continuations | None] = [None] * len(requests)
        self._chance = random.Random()  # pauses only: a run's own generators stay as they are
        self._failed = False
        self._writing: set[asyncio.Future[None]] = set()
        self._freed, self._door, self._turn = asyncio.Event(), asyncio.Lock(), time.monotonic()

    async def answers(self) -> list[Continuations | None]:
        """One for each request. Raises TeacherError where no request can succeed."""
        tasks = [asyncio.ensure_future(self._answer(index)) for index in range(len(self.requests))]
        try:
            done, late = await asyncio.wait(tasks, timeout=self._left_s(), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            await _end(late)
            for task in late:
                if not task.cancelled():
                    task.result()
            for index, answer in enumerate(self._answers):
                if answer is None:  # given up before it had begun
                    await self._settle(index, FetchState())
        finally:
            await _end(tasks)
            # The observer hears of everything that was answered before the batch is over.
            await asyncio.gather(*self._writing, return_exceptions=True)
        return self._answers

    async def _answer(self, index: int) -> None:
        state = FetchState()
        try:
            batches = self.endpoint.sample_batches(index, self.requests[index])
        except UnsupportedRequest as refused:
            state.problem = refused.reason
        else:
            state.exact = all(batch.rendered.exact for batch in batches)
            tasks = [asyncio.ensure_future(self._draw(batch, state)) for batch in batches]
            try:
                try:
                    await asyncio.gather(*tasks)
                finally:
                    await _end(tasks)
            except asyncio.CancelledError:
                if self._left_s() > 0:
                    raise
                state.problem = state.problem or DEADLINE
        await self._settle(index, state)

    async def _settle(self, index: int, state: FetchState) -> None:
        request = self.requests[index]
        numbers = range(request.first_sample, request.first_sample + request.samples)
        draws = [state.draws[n] for n in numbers if n in state.draws]
        answer = self._answers[index] = Continuations(
            texts=tuple(draw.text for draw in draws),
            stopped=tuple(draw.stopped for draw in draws),
            usage=state.usage,
            problem=None if len(draws) == request.samples else state.problem or DEADLINE,
            served_model=state.served or self.endpoint.served_model,
            handover=self.endpoint.handover.name,
            exact=state.exact,
            echoes=sum(state.echoes.values()),
        )
        if (on_result := self.on_result) is not None:
            with self._stopping_all():
                await self.caller.do(lambda: on_result(index, answer))

    async def _draw(self, batch: SampleBatch, state: FetchState) -> None:
        """Fills `state` with the batch's draws, or says why not. Raises TeacherError where no request can succeed."""
        attempts = Attempts(self.policy, batch.numbers, self._chance)
        while numbers := attempts.next_call(state.draws, batch.most_samples):
            if state.problem is not None:
                return  # another batch of the request has failed for good
            async with self.endpoint.slots().place(batch.draft):
                call = self.endpoint.call_for(batch, len(numbers))
                if not await self._is_admitted(call):
                    state.problem = BUDGET
                    return
                reply = await self._one_call(batch, call, numbers, attempts.seed(batch.seed, numbers[0]), state)
            if not isinstance(reply, Failure):
                state.problem = attempts.after_reply(any(n in state.draws for n in numbers), reply) or state.problem
                continue
            if reply.reason in FOR_ALL:
                raise TeacherError(f"the teacher {call.model!r} answers {reply.reason}: {reply.said}")
            pause = None if reply.is_final else attempts.after_failure(reply, self._left_s())
            if pause is None:
                state.problem = str(reply)
                return
            await asyncio.sleep(pause)

    async def _one_call(
        self, batch: SampleBatch, call: Call, numbers: Sequence[int], seed: int, state: FetchState
    ) -> dict[int, str] | Failure:
        """The problems of the draws that were no continuations, by number; a draw that came short is in neither place.
        """
        again = False
        while True:
            try:
                await self._wait_turn(batch, len(numbers))
            except asyncio.CancelledError:
                self.observer.after(call, Outcome())  # admitted, and never sent
                self._freed.set()
                raise
            reply = await self.endpoint.send(batch, seed, len(numbers))
            if isinstance(reply, Failure):
                self._failed |= reply.reason in FOR_ALL
                await self._over(call, Outcome(usage=Usage(calls=1), unsure=reply.unsure))
                state.usage += Usage(calls=1)
                return reply
            try:
                with self._stopping_all():
                    if self.endpoint.recognise(reply, again):
                        break
            except TeacherError:
                await self._over(call, self._outcome(batch, call, reply))
                raise
            # Asked once more, in the same slot: one stray answer is thrown away, two are another teacher.
            outcome = self._outcome(batch, call, reply)
            await self._over(call, outcome)
            state.usage += outcome.usage
            if not await self._is_admitted(call):
                return dict.fromkeys(numbers, OTHER_MODEL)
            again = True
        samples: list[Sample] = []
        problems: dict[int, str] = {}
        for number, choice in by_number(numbers, reply.choices).items():
            parsed = parsed_choice(choice, reply, batch.rendered, self.endpoint.handover)
            if parsed.echoed:
                state.echoes[number] = state.echoes.get(number, 0) + 1
            if parsed.echoed and choice.finish not in (STOP, PARTED):
                # The repetition took tokens of the limit: the rest may be shorter than the chunk, and would count as
                # different.
                problems[number] = ECHO
            elif parsed.problem is not None:
                problems[number] = parsed.problem
            else:
                samples.append(Sample(number, parsed.text, choice.finish == STOP, state.echoes.get(number, 0)))
        if not reply.choices:
            problems = dict.fromkeys(numbers, NO_TEXT)
        outcome = self._outcome(batch, call, reply, tuple(samples))
        await self._over(call, outcome)
        state.usage += outcome.usage
        state.served = outcome.served_name
        state.draws.update({sample.number: sample for sample in samples})
        return problems

    def _outcome(self, batch: SampleBatch, call: Call, reply: Reply, samples: tuple[Sample, ...] = ()) -> Outcome:
        usage, unsure = billed(reply.taken, self.endpoint.price, call, self.endpoint.parted_costs)
        return Outcome(
            samples, usage, reply.served_model, reply.fingerprint, self.endpoint.handover.name, batch.rendered.exact,
            unsure,
        )  # fmt: skip

    async def _is_admitted(self, call: Call) -> bool:
        """Waits until the observer lets the call be sent; False where it never will, for want of money."""
        while (admission := self.observer.before(call)) is not Admission.ALLOW:
            if admission is Admission.DENY:
                return False
            # Another batch may free money too, and does not tell this one.
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), _POLL_S)
            except TimeoutError:
                continue
        return True

    async def _wait_turn(self, batch: SampleBatch, samples: int) -> None:
        if self._failed:
            await asyncio.Future()  # nothing more is sent; the batch is about to be cancelled
        # A thousand calls that begin in one turn of the loop would keep it from its deadlines for seconds.
        if time.monotonic() - self._turn > _TURN_S:
            async with self._door:
                if time.monotonic() - self._turn > _TURN_S:
                    await asyncio.sleep(0)
                    self._turn = time.monotonic()
        await self.endpoint.wait_turn(batch, samples)

    async def _over(self, call: Call, outcome: Outcome) -> None:
        """Tells the observer of a call; returns when it has written that down."""
        with self._stopping_all():
            if (written := self.observer.after(call, outcome)) is not None:
                waiting = asyncio.wrap_future(written)
                self._writing.add(waiting)
                waiting.add_done_callback(self._writing.discard)
                await asyncio.shield(waiting)
        self._freed.set()

    @contextmanager
    def _stopping_all(self) -> Iterator[None]:
        """An error inside ends the batch: nothing more is sent."""
        try:
            yield
        except Exception:
            self._failed = True
            raise

    def _left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


async def _end(tasks: Iterable[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
