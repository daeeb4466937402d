"""Around any teacher: a sum of money that is never passed.

What a call costs at most is set aside before it is sent and settled when it is over, so that any number of calls at
once, retries and answers that were thrown away stay inside the sum. Knows no provider.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from numbers import Real
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, Refused, TeacherError
from omniopd.io.units import dollars
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.identity import identity_of
from omniopd.teachers.hosted.calls import (
    BUDGET,
    Admission,
    Call,
    CallObserver,
    NamesPrices,
    ObservableTeacher,
    OnResult,
    Outcome,
)
from omniopd.teachers.spending.ledger import Ledger, Spend
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage


class BudgetedTeacher(ObservableTeacher):
    """Lets `teacher` spend `usd` dollars, over all its calls and, with a ledger in the file `path`, over all resumes.

    What does not fit is not asked for. With `stop`, everything in flight is awaited and handed on (`on_result`, a
    CachedTeacher inside), then the batch ends in Refused: half-audited, it would train a step that the run with enough
    money does not have, and resumed with a larger sum it asks for the missing half only. Without, requests that did not
    fit get the problem "budget". A call that may or may not be billed (there was no answer) counts as spent. A model
    of unknown price is refused, unless `allow_unknown_price`; so is, at once, a teacher that does not say what
    a request costs at most before it is asked (calls.py: it shows its calls, or has `most_usd`), wherever it stands in
    a stack of wrappers. One process at a time may use a ledger.
    """

    def __init__(
        self,
        teacher: Teacher,
        usd: float,
        path: str | Path | None = None,
        allow_unknown_price: bool = False,
        stop: bool = True,
    ) -> None:
        if not usd >= 0:
            raise ConfigError(f"a teacher's budget is {usd} dollars: it must be 0 or more")
        self.teacher, self.usd = teacher, usd
        self.allow_unknown_price, self.stop = allow_unknown_price, stop
        stranger = None if allow_unknown_price or not math.isfinite(usd) else _without_prices(teacher)
        if stranger is not None:
            raise ConfigError(
                f"a budget of {dollars(usd)} cannot be held around a {type(stranger).__name__}, which does not say "
                "what a request costs before it is asked: give it `most_usd(request)`, in dollars (0.0 if it is free), "
                "or set allow_unknown_price"
            )
        self._ledger = Ledger(path)

    @property
    def identity(self) -> Mapping[str, Any]:
        return identity_of(self.teacher)

    @property
    def spent_usd(self) -> float:
        return self._ledger.spent_usd

    @property
    def ledger(self) -> tuple[Spend, ...]:
        """Calls, tokens and dollars so far, by model."""
        return self._ledger.by_model()

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        """Raises Refused where the money does not suffice, or a price is unknown."""
        budget_observer = _BudgetObserver(self, observer)

        def on_answer(index: int, answer: Continuations) -> None:
            if answer.cached:
                self._ledger.remember(answer.served_model, len(answer.texts))
            if on_result is not None:
                on_result(index, answer)

        try:
            answers = ask(self.teacher, requests, on_answer, budget_observer)
        finally:
            budget_observer.close()
        unpaid = sum(answer.problem == BUDGET for answer in answers)
        if unpaid and self.stop:
            raise Refused(
                f"the teacher's budget of {dollars(self.usd)} is used up ({dollars(self.spent_usd)} spent): {unpaid} "
                f"of {len(answers)} requests were not answered; raise teacher.budget_usd and resume, what is paid for "
                "is not asked again"
            )
        return answers

    def set_aside(self, call: Call) -> Admission | str:
        """The number of a reservation; or WAIT, DENY. Raises Refused for an unknown price, TeacherError for an
        impossible one."""
        if call.most_usd is None and not self.allow_unknown_price and math.isfinite(self.usd):
            raise Refused(
                f"the price of {call.model!r} is not known here, and its budget is {dollars(self.usd)}: give the price "
                "(teacher.usd_per_million_input and _output), or set teacher.allow_unknown_price = true"
            )
        if call.most_usd is not None and not 0 <= _number(call.most_usd) < math.inf:
            raise TeacherError(
                f"the teacher {call.model!r} said that a request costs {call.most_usd!r} dollars at most: it must say "
                "a number from 0, or None where it does not know"
            )
        for _ in range(2):  # what was reserved at the first try may be settled before it is looked at
            number = self._ledger.reserve(call.model, call.most_usd or 0.0, self.usd)
            if number is not None:
                return number
            if self._ledger.reserved_usd:
                return Admission.WAIT
        return Admission.DENY


class _BudgetObserver(CallObserver):
    """The observer of one batch: sets aside, settles, and counts as spent what was left without an answer."""

    def __init__(self, budget: BudgetedTeacher, observer: CallObserver | None) -> None:
        self.budget, self.observer = budget, observer or CallObserver()
        self._lock = threading.Lock()
        self._set_aside: dict[int, tuple[Call, str]] = {}

    def before(self, call: Call) -> Admission:
        number = self.budget.set_aside(call)
        if isinstance(number, Admission):
            return number
        outer = self.observer.before(call)
        if outer is not Admission.ALLOW:
            self.budget._ledger.settle(number, Usage())
            return outer
        with self._lock:
            self._set_aside[id(call)] = call, number
        return Admission.ALLOW

    def after(self, call: Call, outcome: Outcome) -> Future[None] | None:
        with self._lock:
            _, number = self._set_aside.pop(id(call), (call, ""))
        if number:
            self.budget._ledger.settle(number, outcome.usage, outcome.unsure)
        return self.observer.after(call, outcome)

    def close(self) -> None:
        """Calls that were cut off by a deadline or an error."""
        with self._lock:
            left, self._set_aside = list(self._set_aside.values()), {}
        for _, number in left:
            self.budget._ledger.settle(number, Usage(calls=1), unsure=True)


def _number(said: object) -> float:
    return float(said) if isinstance(said, Real) and not isinstance(said, bool) else math.nan


def _without_prices(teacher: Teacher) -> Teacher | None:
    """Who in a stack of wrappers is asked for money without a price; None where every price is known before."""
    while isinstance(teacher, ObservableTeacher):
        inner = getattr(teacher, "teacher", None)
        if inner is None or getattr(teacher, "mode", "") == "replay":
            return None
        teacher = inner
    return None if isinstance(teacher, NamesPrices) else teacher
