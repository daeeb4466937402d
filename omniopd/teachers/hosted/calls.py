"""A provider's texts are bought call by call: what a call will cost at most, what came of it, and who watches.

The seam between whoever sends (`fetch.py`) and the wrappers around it (cache and budget), which need more than
whole requests: an answer that brought a part of the texts is paid for, and so is one that was thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from omniopd.types import ContinuationRequest, Continuations, Usage

OnResult = Callable[[int, Continuations], None]
BUDGET = "budget"  # the problem of a request that there was no money for


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is about to be sent, for request number `request`; tokens and dollars are what it takes at most.

    `most_usd` is None where the price is unknown.
    """

    request: int
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    most_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One text that counts, with its number among the draws of its request. `echoes` counts answers for it that
    repeated the end of the prefix: its own, whose repetition is cut off, and those that were drawn again. `token_ids`
    are the student's tokens that it was drawn as, where the teacher tells them."""

    number: int
    text: str
    stopped: bool
    echoes: int = 0
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. Without draws it failed, or its texts were no continuations.

    `unsure`: no answer could be read, or one without token counts: the most that the call may cost counts.
    """

    draws: tuple[Sample, ...] = ()
    usage: Usage = field(default_factory=Usage)
    served_model: str = ""
    fingerprint: str = ""
    handover: str = "raw"
    exact: bool = True
    unsure: bool = False

    @property
    def served_name(self) -> str:
        """The served model as records show it, with the fingerprint of the system where the provider gives one."""
        return f"{self.served_model} ({self.fingerprint})" if self.fingerprint else self.served_model


class Admission(Enum):
    """Whether a call may be sent: now, perhaps when another one is over, or not at all."""

    ALLOW = "now"
    WAIT = "later"
    DENY = "never"


class CallObserver:
    """Sees every call, from any thread; this one admits all and records none. Neither method waits for a disk: the
    future that `after` may return is done when everything about the call is written down, and the call is over only
    then. What they raise ends the batch."""

    def before(self, call: Call) -> Admission:
        return Admission.ALLOW

    def after(self, call: Call, outcome: Outcome) -> Future[None] | None:
        return None


@runtime_checkable
class NamesPrices(Protocol):
    """A teacher that says beforehand what a request costs at most, in dollars; None where it is not known."""

    def most_usd(self, request: ContinuationRequest) -> float | None: ...


class ObservableTeacher:
    """A teacher whose calls can be observed one by one."""

    def continue_from(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None = None
    ) -> list[Continuations]:
        """One answer per request; one that cannot be answered has a `problem` and fewer texts."""
        return self.fetch(requests, on_result, None)

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        """One answer per request, as `continue_from` gives; every call is shown to `observer`."""
        raise NotImplementedError


def whole(request: ContinuationRequest, answer: Continuations) -> Outcome:
    """A teacher's answer as the outcome of one call; one with a problem, or with too few texts, has no draws."""
    draws: tuple[Sample, ...] = ()
    if answer.problem is None and len(answer.texts) >= request.samples:
        ids = answer.token_ids or ((),) * len(answer.texts)
        draws = tuple(
            Sample(request.first_sample + n, text, ended, 0 if n else answer.echoes, own)
            for n, (text, ended, own) in enumerate(zip(answer.texts, answer.ended, ids, strict=True))
        )
    return Outcome(draws, answer.usage, answer.served_model, handover=answer.handover, exact=answer.exact)


def then(first: Future[None], work: Callable[[], Future[None] | None]) -> Future[None]:
    """Done when `first` is done and `work`, which follows whatever came of it, is too; raises what either raises."""
    both: Future[None] = Future()

    def follow(_: Future[None]) -> None:
        try:
            second = work()
        except Exception as error:
            both.set_exception(first.exception() or error)
            return
        if second is None:
            _pass_on(first, both)
        else:
            second.add_done_callback(lambda done: _pass_on(first if first.exception() else done, both))

    first.add_done_callback(follow)
    return both


def _pass_on(done: Future[None], to: Future[None]) -> None:
    if (error := done.exception()) is not None:
        to.set_exception(error)
    else:
        to.set_result(None)
