"""The texts of one request, bought call by call: sent again after failures, drawn again where a text is none.

    a failure (429, 5xx, a lost or silent connection, an unreadable answer)   the same draws again, after a pause
    no text, a text that was broken off or whose end nobody knows, a refusal, a preamble, an echo up to the limit of
    tokens, a text without the thought that led to it, another model's answer that draw again, a few times
    fewer texts than asked for                                                the missing draws

A draw keeps its number and its seed through failures, so that faults change no text. Knows no event but its own calls;
what all requests of a teacher share is `BatchContext`'s.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from omniopd.errors import TeacherError
from omniopd.teachers.handover import Handover, ParsedText, ProviderRequest
from omniopd.teachers.hosted.calls import Call, Outcome, Sample
from omniopd.teachers.hosted.finish import BROKEN, REFUSED, STOP, UNSAID
from omniopd.teachers.hosted.transport import FOR_ALL, RATE_LIMITED, Choice, Failure, Reply
from omniopd.types import HALF_CHARACTER, Usage

NO_TEXT, THINKING_ONLY, REFUSAL, OTHER_MODEL = "no text", "thinking only", "refusal", "other model"
THOUGHT_REMOVED, ECHO = "thought removed", "echo"
BUDGET, DEADLINE = "budget", "deadline"
LONGEST_WAIT_S = 60.0  # that a look at a teacher, which has no deadline, waits because a provider says so
_LAST_SEED = 2**31 - 1
_RESEED_STRIDE = 1_000_003
# A provider's slip, not the model's word: the same draw is asked for again.
_GLITCHES = (NO_TEXT, THINKING_ONLY, OTHER_MODEL, HALF_CHARACTER, BROKEN, UNSAID)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a draw is tried. `attempts` counts calls in a row that brought nothing, `redraws` texts
    that were none; a provider that says when to come back (429) is asked again `rate_limits` times. Seconds."""

    attempts: int = 12
    redraws: int = 6
    rate_limits: int = 100
    pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def pause(self, failures: int, retry_after_s: float | None, chance: random.Random) -> float:
        """Exponential with jitter, and never before the provider's own word."""
        own = min(self.longest_pause_s, self.pause_s * 2 ** max(failures - 1, 0)) * chance.uniform(0.5, 1.0)
        if retry_after_s is None:
            return own
        return retry_after_s + min(own, 0.1 + 0.1 * retry_after_s)


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """What is bought together: some draws of a request, how they are asked for, and the seed of draw 0."""

    request: int
    asked: ProviderRequest
    numbers: tuple[int, ...]
    seed: int
    max_tokens: int
    most_samples: int


@dataclass(slots=True)
class FetchState:
    """The draws that a request has got so far, what they cost, why the others are missing, and echoes by draw."""

    draws: dict[int, Sample] = field(default_factory=dict)
    echoes: dict[int, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    problem: str | None = None
    served: str = ""
    exact: bool = True


class BatchContext(Protocol):
    """Where pieces are bought: what all requests of a batch share."""

    @property
    def handover(self) -> Handover: ...

    @property
    def patience(self) -> RetryPolicy: ...

    @property
    def chance(self) -> random.Random: ...

    @property
    def takes_seed(self) -> bool: ...

    def slot(self) -> AbstractAsyncContextManager[object]:
        """The place of one call in flight."""
        ...

    def call_for(self, piece: SampleBatch, samples: int) -> Call: ...

    async def may_send(self, call: Call) -> bool:
        """Waits until the call may be sent; False where it never may, for want of money."""
        ...

    async def in_turn(self, piece: SampleBatch, samples: int) -> None:
        """Waits until the call may go out, as far as limits per minute say."""
        ...

    async def send(self, piece: SampleBatch, seed: int | None, samples: int) -> Reply | Failure: ...

    def unsent(self, call: Call) -> None:
        """Reports a call that got leave and was never sent."""
        ...

    async def over(self, call: Call, outcome: Outcome) -> None:
        """Reports a call; returns when whoever watches has written it down."""
        ...

    def recognise(self, reply: Reply, again: bool) -> bool:
        """False for the answer of another model than before; TeacherError if that happens `again`."""
        ...

    def billed(self, reply: Reply, call: Call) -> tuple[Usage, bool]:
        """What a reply costs, and whether that is the most its call can cost, since nobody knows better."""
        ...

    def left_s(self) -> float:
        """Seconds until the batch's deadline."""
        ...


async def buy_piece(piece: SampleBatch, counter: BatchContext, bought: FetchState) -> None:
    """Fills `bought` with the piece's draws, or says why not. Raises TeacherError where no request can succeed."""
    redraws, reseeds = dict.fromkeys(piece.numbers, 0), dict.fromkeys(piece.numbers, 0)
    failures = rate_limits = 0
    while wanted := [n for n in piece.numbers if n not in bought.draws]:
        run = _together(wanted, reseeds, piece.most_samples)
        if bought.problem is not None:
            return  # another piece of the request has failed for good
        async with counter.slot():
            call = counter.call_for(piece, len(run))
            if not await counter.may_send(call):
                bought.problem = BUDGET
                return
            reply = await _one_call(piece, counter, call, run, reseeds[run[0]], bought)
        if isinstance(reply, Failure):
            if reply.is_final:
                if reply.reason in FOR_ALL:
                    raise TeacherError(f"the teacher {call.model!r} answers {reply.reason}: {reply.said}")
                bought.problem = str(reply)
                return
            limited = reply.reason == RATE_LIMITED
            rate_limits, failures = rate_limits + limited, failures + (not limited)
            if failures >= counter.patience.attempts or rate_limits >= counter.patience.rate_limits:
                bought.problem = str(reply)
                return
            pause = counter.patience.pause(failures + rate_limits, reply.retry_after_s, counter.chance)
            if pause > counter.left_s():
                bought.problem = str(reply)
                return
            await asyncio.sleep(pause)
            continue
        gained = [n for n in run if n in bought.draws]
        failures = 0 if gained else failures + 1
        for number, problem in reply.items():
            redraws[number] += 1
            reseeds[number] += problem.partition(":")[0] not in _GLITCHES
            if redraws[number] >= counter.patience.redraws:
                bought.problem = problem
                return
        if failures >= counter.patience.attempts:
            bought.problem = NO_TEXT
            return


async def _one_call(
    piece: SampleBatch, counter: BatchContext, call: Call, run: Sequence[int], reseed: int, bought: FetchState
) -> dict[int, str] | Failure:
    """The problems of the draws that were no continuations, by number; a draw that came short is in neither place."""
    seed = draw_seed(piece.seed, run[0], reseed) if counter.takes_seed else None
    again = False
    while True:
        try:
            await counter.in_turn(piece, len(run))
        except asyncio.CancelledError:
            counter.unsent(call)
            raise
        reply = await counter.send(piece, seed, len(run))
        if isinstance(reply, Failure):
            await counter.over(call, Outcome(usage=Usage(calls=1), unsure=reply.unsure))
            bought.usage += Usage(calls=1)
            return reply
        try:
            if counter.recognise(reply, again):
                break
        except TeacherError:
            await counter.over(call, _outcome(reply, (), counter, call, piece))
            raise
        # Asked once more, in the same slot: one stray answer is thrown away, two are another teacher.
        await counter.over(call, _outcome(reply, (), counter, call, piece))
        bought.usage += counter.billed(reply, call)[0]
        if not await counter.may_send(call):
            return dict.fromkeys(run, OTHER_MODEL)
        again = True
    good: list[Sample] = []
    problems: dict[int, str] = {}
    for number, choice in by_number(run, reply.choices).items():
        read = _read(choice, reply, piece.asked, counter.handover)
        if read.echoed:
            bought.echoes[number] = bought.echoes.get(number, 0) + 1
        if read.problem is None:
            good.append(Sample(number, read.text, choice.finish == STOP, bought.echoes.get(number, 0)))
        else:
            problems[number] = read.problem
    if not reply.choices:
        problems = dict.fromkeys(run, NO_TEXT)
    outcome = _outcome(reply, tuple(good), counter, call, piece)
    await counter.over(call, outcome)
    bought.usage += outcome.usage
    bought.served = served_name(outcome)
    bought.draws.update({draw.number: draw for draw in good})
    return problems


def served_name(outcome: Outcome) -> str:
    """The served model as records show it, with the fingerprint of the system where the provider gives one."""
    return f"{outcome.served_model} ({outcome.fingerprint})" if outcome.fingerprint else outcome.served_model


def by_number(run: Sequence[int], choices: Sequence[Choice]) -> dict[int, Choice]:
    """Which draw each text is, by the provider's own count. A text whose number was not asked for, or came before, is
    nobody's: its draw is asked for again. Without numbers, and for a single draw, the order says it."""
    if len(run) == 1 or all(choice.index is None for choice in choices):
        return dict(zip(run, choices, strict=False))
    found: dict[int, Choice] = {}
    for choice in choices:
        if choice.index is not None and 0 <= choice.index < len(run):
            found.setdefault(run[choice.index], choice)
    return dict(sorted(found.items()))


def unread(choice: Choice, reply: Reply, asked: ProviderRequest, handover: Handover) -> ParsedText | None:
    """What a text is before its handover reads it: nothing, and why. None for a text that can be read."""
    if choice.finish == REFUSED:
        return ParsedText("", REFUSAL)
    if not choice.text:
        # A model that ends its turn at once has written an end-of-turn token and nothing else.
        ended = choice.finish == STOP and not choice.thought and handover.exact and not asked.unsent
        if ended and 0 < reply.output_tokens <= 3 * len(reply.choices):
            return ParsedText("")
        return ParsedText("", THINKING_ONLY if choice.thought else NO_TEXT)
    if choice.finish in (BROKEN, UNSAID):
        return ParsedText("", f"{choice.finish}: {choice.word}" if choice.word else choice.finish)
    if choice.thought and handover.exact:
        # litellm takes a leading <think>…</think> out of an answer: what is left does not follow the prefix.
        return ParsedText("", THOUGHT_REMOVED)
    return None


def _read(choice: Choice, reply: Reply, asked: ProviderRequest, handover: Handover) -> ParsedText:
    nothing = unread(choice, reply, asked, handover)
    if nothing is not None:
        return nothing
    read = handover.read(asked, choice.text or "")
    if read.echoed and choice.finish != STOP:
        # The repetition took tokens of the limit: the rest may be shorter than the chunk, and would count as different.
        return ParsedText("", ECHO, echoed=True)
    return read


def _together(wanted: Sequence[int], reseeds: dict[int, int], most: int) -> list[int]:
    """The first draws that one call can bring: consecutive numbers with consecutive seeds."""
    run = [wanted[0]]
    for number in wanted[1:]:
        if len(run) == most or number != run[-1] + 1 or reseeds[number] != reseeds[run[0]]:
            break
        run.append(number)
    return run


def draw_seed(base: int, number: int, reseed: int) -> int:
    """The seed of a draw. Choice j of a call counts on from the call's seed, as vLLM does, so that a draw has the same
    seed in a call of its own. The first redraw repeats it: a filter in front of the model may have changed its mind."""
    return (base + number + max(0, reseed - 1) * _RESEED_STRIDE) % _LAST_SEED


def _outcome(reply: Reply, draws: tuple[Sample, ...], counter: BatchContext, call: Call, piece: SampleBatch) -> Outcome:
    usage, unsure = counter.billed(reply, call)
    return Outcome(
        draws, usage, reply.served_model, reply.fingerprint, counter.handover.name, piece.asked.exact, unsure
    )
