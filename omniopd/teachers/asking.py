"""Asking any teacher: one answer per request, of the right shape, reported once; or an error that names the teacher.

Where a teacher shows its calls, an observer sees each of them; elsewhere a whole request counts as one call, and is
asked when the observer admits it. Knows no provider, no cache and no budget.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from omniopd.errors import TeacherError
from omniopd.io.units import dollars
from omniopd.teachers.hosted.calls import (
    BUDGET,
    Admission,
    Call,
    CallObserver,
    NamesPrices,
    ObservableTeacher,
    OnResult,
    Outcome,
    whole,
)
from omniopd.types import ContinuationRequest, Continuations, Teacher

_POLL_S = 0.1


def ask(
    teacher: Teacher,
    requests: Sequence[ContinuationRequest],
    on_answer: OnResult | None = None,
    observer: CallObserver | None = None,
) -> list[Continuations]:
    """Any teacher's answers, in the order of the requests. Raises TeacherError where they are not what a teacher
    promises; what was answered until then has been shown to `observer`, since it is paid for."""
    received = _Received(teacher, requests, on_answer)
    if isinstance(teacher, ObservableTeacher):
        return received.checked(teacher.fetch(requests, received.on_answer, observer))
    if observer is None:
        return received.checked(teacher.continue_from(requests, received.on_answer))
    return _in_rounds(teacher, requests, on_answer, observer)


def checked(
    teacher: Teacher, requests: Sequence[ContinuationRequest], answers: Sequence[Continuations | None]
) -> list[Continuations]:
    """The answers, if each request has one of the right shape."""
    if not isinstance(answers, list | tuple):
        raise TeacherError(f"{_name(teacher)} returned a {type(answers).__name__}: it must return a list of answers")
    if len(answers) != len(requests):
        raise TeacherError(
            f"{_name(teacher)} returned {len(answers)} answers to {len(requests)} requests: it must return one for "
            "each, in their order, with a `problem` where it has no texts"
        )
    return [_checked_answer(teacher, index, requests[index], answer) for index, answer in enumerate(answers)]


def _checked_answer(teacher: Teacher, index: int, request: ContinuationRequest, answer: object) -> Continuations:
    if not isinstance(answer, Continuations):
        wrong = f"with {'nothing' if answer is None else f'a {type(answer).__name__}'}, not with Continuations"
    elif not isinstance(answer.texts, tuple) or not all(isinstance(text, str) for text in answer.texts):
        wrong = "with texts that are no tuple of strings"
    elif len(answer.texts) > request.samples:
        wrong = f"with {len(answer.texts)} texts where {request.samples} were asked for"
    elif len(answer.stopped) not in (0, len(answer.texts)):
        wrong = f"with {len(answer.texts)} texts of which {len(answer.stopped)} say whether they stopped"
    else:
        return answer
    raise TeacherError(f"{_name(teacher)} answered request {index} {wrong}: see omniopd.types.Teacher")


class _Received:
    """The answers that a teacher has reported so far: each once, in its place."""

    def __init__(
        self, teacher: Teacher, requests: Sequence[ContinuationRequest], on_answer: OnResult | None
    ) -> None:
        self.teacher, self.requests, self.pass_on = teacher, requests, on_answer
        self.answers: list[Continuations | None] = [None] * len(requests)

    def on_answer(self, index: int, answer: Continuations) -> None:
        if not isinstance(index, int) or not 0 <= index < len(self.requests) or self.answers[index] is not None:
            raise TeacherError(
                f"{_name(self.teacher)} told on_result of request {index!r}, which is none of its {len(self.requests)} "
                "or was told before: it must call on_result(index, answer) once for each"
            )
        self.answers[index] = _checked_answer(self.teacher, index, self.requests[index], answer)
        if self.pass_on is not None:
            self.pass_on(index, answer)

    def checked(self, answers: Sequence[Continuations]) -> list[Continuations]:
        """What was returned, if it is what was reported; an answer that was not reported is passed on now."""
        returned = checked(self.teacher, self.requests, answers)
        for index, answer in enumerate(returned):
            reported = self.answers[index]
            if reported is None:
                self.on_answer(index, answer)
            elif (reported.texts, reported.problem) != (answer.texts, answer.problem):
                raise TeacherError(
                    f"{_name(self.teacher)} returned another answer to request {index} than it told on_result: answers "
                    "must stand in the order of the requests"
                )
        return returned


def _in_rounds(
    teacher: Teacher, requests: Sequence[ContinuationRequest], on_answer: OnResult | None, observer: CallObserver
) -> list[Continuations]:
    """What the observer admits at once is one round; what has to wait is asked in the next."""
    model = _model(teacher)
    calls = [
        Call(index, model, most_usd=teacher.most_usd(request) if isinstance(teacher, NamesPrices) else None)
        for index, request in enumerate(requests)
    ]
    answers: list[Continuations | None] = [None] * len(requests)

    def settle(index: int, answer: Continuations) -> None:
        answers[index] = answer
        if on_answer is not None:
            on_answer(index, answer)

    waiting = list(range(len(requests)))
    while waiting:
        by_admission: dict[Admission, list[int]] = {admission: [] for admission in Admission}
        try:
            for index in waiting:
                by_admission[observer.before(calls[index])].append(index)
        except BaseException:
            for index in by_admission[Admission.ALLOW]:
                observer.after(calls[index], Outcome())
            raise
        for index in by_admission[Admission.DENY]:
            settle(index, Continuations((), problem=BUDGET, served_model=model))
        waiting = by_admission[Admission.WAIT]
        if now := by_admission[Admission.ALLOW]:
            _round(teacher, [requests[index] for index in now], [calls[index] for index in now], settle, observer)
        elif waiting:
            time.sleep(_POLL_S)  # another batch holds the money
    return checked(teacher, requests, answers)


def _round(
    teacher: Teacher,
    requests: Sequence[ContinuationRequest],
    calls: Sequence[Call],
    settle: OnResult,
    observer: CallObserver,
) -> None:
    def on_answer(place: int, answer: Continuations) -> None:
        written = observer.after(calls[place], whole(requests[place], answer))
        if written is not None:
            written.result()
        settle(calls[place].request, answer)
        most, paid = calls[place].most_usd, answer.usage.cost_usd
        if most is not None and paid > most:
            raise TeacherError(
                f"{_name(teacher)} said that a request costs {dollars(most)} at most, and it cost "
                f"{dollars(paid - most)} more: no budget can be held with a price that is too low"
            )

    received = _Received(teacher, requests, on_answer)
    returned = teacher.continue_from(requests, received.on_answer)
    unreported = received.answers.count(None)
    received.checked(returned)
    if unreported:
        raise TeacherError(
            f"{_name(teacher)} returned {len(requests)} answers and told on_result of {len(requests) - unreported}: it "
            "must call on_result(index, answer) for each as it arrives, or what is paid for is lost when it fails later"
        )


def _model(teacher: Teacher) -> str:
    """What a ledger calls a teacher that does not show its calls."""
    name = getattr(teacher, "name", None) or getattr(teacher, "model", None)
    return name if isinstance(name, str) else type(teacher).__name__


def _name(teacher: Teacher) -> str:
    model, kind = _model(teacher), type(teacher).__name__
    return f"the teacher {kind}" if model == kind else f"the teacher {kind} ({model!r})"
