"""Around any teacher: every answer is remembered as it comes, so that nothing paid for is ever asked for twice.

    record   what is on the disk is not asked for; what is missing is asked for, and written before it is used
    replay   the teacher is not asked: a recorded run runs again to the same bits, with the network off

A draw is found by endpoint, model, handover, sampling settings, prompt, prefix, length, seed and its own number. What
failed or was refused is not written: it is asked for again. Knows no provider and no money.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError
from omniopd.teachers.asking import ask, checked
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
from omniopd.teachers.cache.identity import beyond_text, identity_of
from omniopd.teachers.hosted.calls import Admission, Call, CallObserver, ObservableTeacher, OnResult, Outcome, then
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage

MODES = ("record", "replay")
NOT_RECORDED, DAMAGED = "not recorded", "damaged in the cache"


class CachedTeacher(ObservableTeacher):
    """Remembers the answers of `teacher` in the file `path` (SQLite; several processes may share it).

    Answers that cost nothing now have `cached` set and no usage. In "replay", what is not in the file has the problem
    "not recorded", as what failed in the recorded run had one. Raises TeacherError where the served model is another
    than the one whose answers the file holds.
    """

    def __init__(self, teacher: Teacher, path: str | Path, mode: str = "record") -> None:
        if mode not in MODES:
            raise ConfigError(f"the mode of a CachedTeacher is {mode!r}: it must be one of {', '.join(MODES)}")
        if mode == "replay" and not os.path.exists(path):
            raise ConfigError(f"{path} is to be replayed, and there is no such file: record a run first")
        self.teacher, self.mode = teacher, mode
        self.answers = AnswerStore(path, read_only=mode == "replay")
        identity = dict(identity_of(teacher))
        self.handover = str(identity.get("handover", "raw"))
        self._identity = json.dumps(identity, sort_keys=True)
        self._served: str | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        return identity_of(self.teacher)

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        """Texts that are in the file come first, and cost nothing; `observer` sees every call that is made."""
        return _Lookup(self, requests, on_result).execute(observer)

    def missing(self, request: ContinuationRequest) -> list[tuple[int, int]]:
        """The draws that asking would fetch now, as runs of numbers: (first, how many)."""
        if self.mode == "replay":
            return []
        return _runs(set(_numbers(request)) - set(self.answers.of(self.question(request))))

    def question(self, request: ContinuationRequest) -> str:
        """What a draw is found by, but for its number, as one hash."""
        parts = [
            self._identity, request.prompt.id, [dict(m) for m in request.prompt.messages], request.prefix,
            request.max_tokens, request.seed,
        ]  # fmt: skip
        if (more := beyond_text(self.teacher, request)) is not None:
            parts.append(more)
        if request.draft is not None:
            # Where a text ends may depend on it: what was left at one draft's difference may be too short for another.
            parts.append({"draft": request.draft, "draft_ids": request.draft_ids})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def store(self, question: str, outcome: Outcome) -> Future[None]:
        """Writes a call's texts; done when they are on the disk."""
        drawn = {
            draw.number: StoredAnswer(
                draw.text, draw.stopped, outcome.served_name, outcome.handover, outcome.exact, draw.echoes,
                draw.token_ids,
            )
            for draw in outcome.draws
        }
        served = outcome.served_model
        if served == self._served:
            return self.answers.add_soon(question, drawn)
        done = self.answers.add_soon(question, drawn, self._identity, served)
        done.add_done_callback(lambda written: self._recognise(written, served))
        return done

    def _recognise(self, written: Future[None], served: str) -> None:
        if written.exception() is None:
            self._served = served


class _Lookup:
    """One call of `fetch`. A question that several requests ask is asked once: a recorded draw has one text."""

    def __init__(
        self, cached: CachedTeacher, requests: Sequence[ContinuationRequest], on_result: OnResult | None
    ) -> None:
        self.cached, self.requests, self.on_result = cached, requests, on_result
        self.questions = [cached.question(request) for request in requests]
        self.askers: dict[str, list[int]] = defaultdict(list)
        for index, question in enumerate(self.questions):
            self.askers[question].append(index)
        self.known = {question: cached.answers.of(question) for question in self.askers}
        self.results: list[Continuations | None] = [None] * len(requests)
        self.usage: dict[str, Usage] = {}
        self.problems: dict[str, str] = {}
        self.pending: dict[str, int] = defaultdict(int)

    def execute(self, observer: CallObserver | None) -> list[Continuations]:
        missing: list[tuple[str, ContinuationRequest]] = []
        for question, askers in self.askers.items():
            wanted = {n for index in askers for n in _numbers(self.requests[index])} - set(self.known[question])
            for first, samples in _runs(wanted):
                request = replace(self.requests[askers[0]], first_sample=first, samples=samples)
                missing.append((question, request))
                self.pending[question] += 1
            if not wanted or self.cached.mode == "replay":
                self._answer(question)
        if missing and self.cached.mode == "record":

            def on_answer(index: int, answer: Continuations) -> None:
                question = missing[index][0]
                self.usage[question] = self.usage.get(question, Usage()) + answer.usage
                if answer.problem is not None:
                    self.problems[question] = answer.problem
                self.pending[question] -= 1
                if not self.pending[question]:
                    self._answer(question)

            recording = _Recording(self.cached, [question for question, _ in missing], observer)
            ask(self.cached.teacher, [request for _, request in missing], on_answer, recording)
        return checked(self.cached, self.requests, self.results)

    def _answer(self, question: str) -> None:
        """What the file holds now is the answer to everybody who asked this."""
        is_new = question in self.usage
        draws = self.cached.answers.of(question) if is_new else self.known[question]
        usage = self.usage.get(question, Usage())
        for index in self.askers[question]:
            request = self.requests[index]
            known = [draws[n] for n in _numbers(request) if n in draws]
            problem = None
            if len(known) < request.samples:
                missing = DAMAGED if question in self.cached.answers.damaged else NOT_RECORDED
                problem = self.problems.get(question, missing)
            ids = tuple(draw.token_ids for draw in known)
            some = known[0] if known else StoredAnswer("", False, "", "", True)
            answer = Continuations(
                texts=tuple(draw.text for draw in known),
                stopped=tuple(draw.stopped for draw in known),
                usage=usage,
                problem=problem,
                served_model=some.served,
                handover=some.handover or self.cached.handover,
                exact=all(draw.exact for draw in known),
                cached=not is_new,
                echoes=sum(draw.echoes for draw in known),
                token_ids=ids if all(ids) else (),
            )
            usage = Usage()  # paid once, whoever else asked
            self.results[index] = answer
            if self.on_result is not None:
                self.on_result(index, answer)


class _Recording(CallObserver):
    """Writes each answer down before anybody uses it; passes every call on to who watches from outside."""

    def __init__(self, cached: CachedTeacher, questions: Sequence[str], observer: CallObserver | None) -> None:
        self.cached, self.questions, self.observer = cached, questions, observer or CallObserver()

    def before(self, call: Call) -> Admission:
        return self.observer.before(call)

    def after(self, call: Call, outcome: Outcome) -> Future[None] | None:
        if not outcome.draws:
            return self.observer.after(call, outcome)
        written = self.cached.store(self.questions[call.request], outcome)
        return then(written, lambda: self.observer.after(call, outcome))


def _numbers(request: ContinuationRequest) -> range:
    return range(request.first_sample, request.first_sample + request.samples)


def _runs(numbers: set[int]) -> list[tuple[int, int]]:
    """Consecutive numbers as (first, how many), ascending."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and sum(runs[-1]) == number:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((number, 1))
    return runs
