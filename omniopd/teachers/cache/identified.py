"""Any teacher with what a cache needs, for one that was given as an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omniopd.teachers.asking import ask
from omniopd.teachers.hosted.calls import OnResult
from omniopd.types import ContinuationRequest, Continuations, Teacher


class Identified:
    """A teacher with an identity, its own or that of its kind, and a call for each answer as it arrives."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    @property
    def identity(self) -> Mapping[str, Any]:
        identity = getattr(self.teacher, "identity", None)
        return identity if isinstance(identity, Mapping) else {"kind": type(self.teacher).__name__}

    def continue_from(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None = None
    ) -> list[Continuations]:
        return ask(self.teacher, requests, on_result)
