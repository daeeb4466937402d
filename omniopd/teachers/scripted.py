"""A teacher that says what it is told to: for tests, for notebooks, and for trying an objective with a known answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omniopd.errors import ConfigError
from omniopd.types import ContinuationRequest, Continuations, Usage

Script = Callable[[ContinuationRequest], Sequence[str] | Continuations]


class ScriptedTeacher:
    """Answers from a list or by a function; `requests` holds what it was asked, in order.

    A list is drawn from in turn: draw number d is `texts[d % len(texts)]`, whatever the prefix and the seed. A function
    gets the request and returns its texts (fewer than asked for are an unanswered fork), or whole Continuations.
    """

    def __init__(self, texts_or_function: Sequence[str] | Script) -> None:
        if isinstance(texts_or_function, str) or not (callable(texts_or_function) or texts_or_function):
            raise ConfigError(
                f"a ScriptedTeacher got {texts_or_function!r}: give it a list with at least one text, or a function"
            )
        self._script = texts_or_function
        self.requests: list[ContinuationRequest] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it says, or the name of the function that says it."""
        script = self._script
        if callable(script):
            return {"kind": "scripted", "function": f"{script.__module__}.{getattr(script, '__qualname__', script)}"}
        return {"kind": "scripted", "texts": list(script)}

    def most_usd(self, request: ContinuationRequest) -> float | None:
        """A list costs nothing; what a function will report as its cost is not known in advance."""
        return None if callable(self._script) else 0.0

    def continue_from(
        self,
        requests: Sequence[ContinuationRequest],
        on_result: Callable[[int, Continuations], None] | None = None,
    ) -> list[Continuations]:
        """One answer per request, at once."""
        results = []
        for index, request in enumerate(requests):
            self.requests.append(request)
            results.append(self._answer(request))
            if on_result is not None:
                on_result(index, results[-1])
        return results

    def _answer(self, request: ContinuationRequest) -> Continuations:
        if callable(self._script):
            said = self._script(request)
            if isinstance(said, Continuations):
                return said
            texts = tuple(said)
        else:
            draws = range(request.first_sample, request.first_sample + request.samples)
            texts = tuple(self._script[draw % len(self._script)] for draw in draws)
        return Continuations(texts, (False,) * len(texts), Usage(calls=1), served_model="scripted")
