"""A teacher that sees more than the student: the worked solution, an instruction, examples.

Two wrappers that change the prompt of a request on its way to the teacher, and nothing else: the beginning of the
answer stays the student's own text and ids. What is shown travels in requests alone, never in a rollout or a record.
It is part of a cache's key, wherever in a stack of wrappers they stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omniopd.config.sees import Sees
from omniopd.errors import ConfigError, DataError
from omniopd.method.controls import differ, differing
from omniopd.method.forks import Permutation
from omniopd.models.text.shown import shown
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.identity import beyond_text, identity_of, layers
from omniopd.teachers.hosted.calls import CallObserver, ObservableTeacher, OnResult
from omniopd.teachers.local import LocalTeacher
from omniopd.types import ContinuationRequest, Continuations, Prompt, Teacher


class ShowsOtherwise(ObservableTeacher):
    """A base: has `teacher` continue the student's text under another prompt than the student's."""

    teacher: Teacher

    def shown(self, prompt: Prompt) -> Prompt:
        """A hook: the prompt that the teacher below gets. Raises DataError for one that cannot be shown."""
        raise NotImplementedError

    @property
    def identity(self) -> Mapping[str, Any]:
        return identity_of(self.teacher)

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """The messages that the teacher reads, as a hash, beside what it adds itself."""
        inner = self._changed(request)
        messages = json.dumps([dict(message) for message in inner.prompt.messages], sort_keys=True)
        mark = hashlib.sha256(messages.encode()).hexdigest()[:16]
        return {"shown": mark, **(beyond_text(self.teacher, inner) or {})}

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        return ask(self.teacher, [self._changed(request) for request in requests], on_result, observer)

    def _changed(self, request: ContinuationRequest) -> ContinuationRequest:
        return replace(request, prompt=self.shown(request.prompt))


class PrivilegedTeacher(ShowsOtherwise):
    """Shows `teacher` the text `sees` in place of the user's last message, and `system` before the conversation.

    `{question}`, `{solution}` and `{answer}` in them stand for the prompt's own. Raises ConfigError for a `sees`
    without `{question}`; a prompt that lacks what it needs is a DataError where it is asked about.
    """

    def __init__(self, teacher: Teacher, sees: str = "", system: str = "") -> None:
        self.teacher, self.sees = teacher, Sees(sees, system).check()

    def shown(self, prompt: Prompt) -> Prompt:
        return shown(self.sees, prompt)

    @property
    def identity(self) -> Mapping[str, Any]:
        written = json.dumps([self.sees.template, self.sees.system])
        return {**identity_of(self.teacher), "sees": hashlib.sha256(written.encode()).hexdigest()[:16]}


class OtherContext(ShowsOtherwise):
    """The control `other_context`: each of `prompts` is asked about with the solution and answer of another of them, by
    one derangement drawn by `permutation`. What is shown of them differs from the prompt's own: of rows that share a
    solution none sees it. A prompt that is none of them gets those of one of them, always the same.

    Raises ConfigError for fewer than two prompts, for one from which no other differs, and for a teacher that sees
    nothing of either.
    """

    def __init__(self, teacher: Teacher, prompts: Sequence[Prompt], permutation: Permutation) -> None:
        seen = (layer.sees.needs for layer in layers(teacher) if isinstance(layer, PrivilegedTeacher))
        self._needs = sorted(frozenset[str]().union(*seen))
        if not self._needs:
            raise ConfigError(
                'control is "other_context", and the teacher sees neither {solution} nor {answer}, so that nothing '
                'would change: show it one (teacher.sees; in Python, PrivilegedTeacher), or set control="none"'
            )
        self.teacher, self._prompts = teacher, list({prompt.id: prompt for prompt in prompts}.values())
        if len(self._prompts) < 2:
            raise ConfigError(
                f'control is "other_context" and there are {len(self._prompts)} prompts: it shows another row\'s '
                "solution, so give two or more (task.prompts)"
            )
        self._other: dict[str, Prompt] = {}
        order = differing([self._parts(prompt) for prompt in self._prompts], permutation)
        for prompt, at in zip(self._prompts, order, strict=True):
            if at is None:
                raise ConfigError(self._alike(prompt))
            self._other[prompt.id] = self._prompts[at]

    def shown(self, prompt: Prompt) -> Prompt:
        other = self._other.get(prompt.id)
        if other is None:
            start, own = int.from_bytes(hashlib.sha256(prompt.id.encode()).digest()[:8], "big"), self._parts(prompt)
            in_turn = (self._prompts[(start + n) % len(self._prompts)] for n in range(len(self._prompts)))
            other = next((p for p in in_turn if differ(own, self._parts(p))), None)
        if other is None:
            raise DataError(self._alike(prompt))
        return replace(prompt, solution=other.solution, answer=other.answer)

    def _parts(self, prompt: Prompt) -> tuple[str, ...]:
        return tuple((getattr(prompt, part) or "").strip() for part in self._needs)

    def _alike(self, prompt: Prompt) -> str:
        return (
            f'control is "other_context" and no row has another {" and another ".join(self._needs)} than prompt '
            f'{prompt.id!r}, so that the teacher would see the right one: give rows that differ, or set control="none"'
        )


def as_shown(teacher: object, prompt: Prompt) -> Prompt:
    """The prompt as it reaches the model at the bottom of a stack of wrappers."""
    for layer in layers(teacher):
        if isinstance(layer, ShowsOtherwise):
            prompt = layer.shown(prompt)
    return prompt


def local_below(teacher: object) -> LocalTeacher | None:
    """A teacher that runs here, where nothing stands around it but what changes its prompts."""
    while isinstance(teacher, ShowsOtherwise):
        teacher = teacher.teacher
    return teacher if isinstance(teacher, LocalTeacher) else None


def sees_more(teacher: object) -> bool:
    """Whether somewhere in a stack of wrappers a prompt is shown otherwise than the student reads it."""
    return any(isinstance(layer, ShowsOtherwise) for layer in layers(teacher))
