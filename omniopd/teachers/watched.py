"""Around a teacher that shows its calls: how far it is, in words for whoever waits. Knows no view."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from omniopd.teachers.asking import ask
from omniopd.teachers.hosted.calls import Admission, Call, CallObserver, ObservableTeacher, OnResult, Outcome
from omniopd.types import ContinuationRequest, Continuations, Teacher

Tell = Callable[[str], None]


class WatchedTeacher(ObservableTeacher):
    """Tells of `teacher`, each time a call is over: "3 of 16 texts", "3 of 16 texts, attempt 2".

    `wanted` is how many texts are expected of all requests together, None where nobody knows, as in a scan: "3 texts".
    What a memory holds is not counted. Nothing is told once the answers are back, or the waiting was given up.
    """

    def __init__(self, teacher: Teacher, tell: Tell, wanted: int | None = None) -> None:
        self.teacher, self._tell, self._wanted = teacher, tell, wanted
        self._texts = 0

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        if not isinstance(self.teacher, ObservableTeacher):
            return ask(self.teacher, requests, on_result, observer)
        counting = _Counting(observer or CallObserver(), self._count)
        try:
            return ask(self.teacher, requests, on_result, counting)
        finally:
            counting.end()

    def _count(self, texts: int, attempt: int) -> None:
        self._texts += texts
        of = f" of {self._wanted:,}" if self._wanted else ""
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._tell(f"{self._texts:,}{of} {'text' if (self._wanted or self._texts) == 1 else 'texts'}{again}")


class _Counting(CallObserver):
    """Counts beside another observer; calls come from any thread, also after their batch was given up."""

    def __init__(self, beside: CallObserver, count: Callable[[int, int], None]) -> None:
        self._beside, self._count = beside, count
        self._failures: dict[int, int] = {}  # of the request, since its last text
        self._ended, self._guard = False, threading.Lock()

    def before(self, call: Call) -> Admission:
        return self._beside.before(call)

    def after(self, call: Call, outcome: Outcome) -> Future[None] | None:
        with self._guard:
            if not self._ended:
                failed = 0 if outcome.draws else self._failures.get(call.request, 0) + 1
                self._failures[call.request] = failed
                self._count(len(outcome.draws), 1 + max(self._failures.values()))
        return self._beside.after(call, outcome)

    def end(self) -> None:
        with self._guard:
            self._ended = True
