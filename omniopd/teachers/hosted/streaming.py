"""Whether a model's calls are streamed, and what is asked for with a stream: found out as the answers come.

A request with a draft is streamed where it can be: the call is left once the text has parted from the draft. A server
that refuses to stream, or to count tokens in a stream, is asked for less, and at last for whole texts. Sends nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from omniopd.config.settings import STREAMS
from omniopd.errors import ConfigError
from omniopd.teachers.model_traits import SERVERS

AUTO, ALWAYS, NEVER = STREAMS
# Providers whose streams are of a form that streamed.py reads; the second kind refuses to be asked for counts, or gives
# them unasked.
_COUNT_WHEN_ASKED = (
    "azure/", "deepseek/", "fireworks_ai/", "groq/", "openai/", "openrouter/", "together_ai/", "xai/",
)  # fmt: skip
_COUNT_UNASKED = ("anthropic/", "gemini/", "mistral/")
_AT_THE_END: Mapping[str, Any] = {"stream_options": {"include_usage": True}}
_AS_IT_GOES: Mapping[str, Any] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def is_streamed(model: str, mode: str = AUTO) -> bool:
    """Whether a call with a draft is sent as a stream at first."""
    return mode != NEVER and Streaming(model).way is not None


class Streaming:
    """How the calls with a draft to one model are sent. Calls of many threads are in flight at once."""

    def __init__(self, model: str, mode: str = AUTO) -> None:
        if mode not in STREAMS:
            raise ConfigError(f"teacher.stream is {mode!r}: it must be one of {', '.join(STREAMS)}")
        known = (
            [_AS_IT_GOES, _AT_THE_END, {}] if model.startswith(SERVERS)
            else [_AT_THE_END, {}] if model.startswith(_COUNT_WHEN_ASKED)
            else [{}] if model.startswith(_COUNT_UNASKED) else []
        )  # fmt: skip
        if mode == ALWAYS and not known:
            raise ConfigError(
                f'teacher.stream is "always", and how {model.partition("/")[0]!r} streams is not known here: set it to '
                '"auto", which asks for whole texts there'
            )
        self.model, self.mode = model, mode
        self._ways: list[Mapping[str, Any] | None] = [*(known if mode != NEVER else ()), None]
        if mode == ALWAYS:
            self._ways.pop()
        self._at, self._is_proven, self._lock = 0, False, threading.Lock()

    @property
    def ways(self) -> int:
        """How many calls it takes at most to find out: a server may refuse each way but the last."""
        return len(self._ways)

    @property
    def way(self) -> Mapping[str, Any] | None:
        """What goes into a call that streams; None where whole texts are asked for."""
        return self._ways[self._at]

    @property
    def is_demanded(self) -> bool:
        """Whether nothing but a stream will do, and none has come yet."""
        return self.mode == ALWAYS and not self._is_proven

    def answered(self, way: Mapping[str, Any] | None, streamed: bool) -> bool:
        """A call with a draft was answered; False where it had to be streamed and was not."""
        with self._lock:
            if way is not None and not streamed:
                if self.mode == ALWAYS:
                    return False
                self._at = len(self._ways) - 1
            self._is_proven = True
            return True

    def refused(self, way: Mapping[str, Any] | None) -> bool:
        """A call with a draft was refused: whether it may be so for its way of streaming, and another is tried."""
        with self._lock:
            if self._is_proven:
                return way is not self.way  # found out meanwhile
            place = next((n for n, known in enumerate(self._ways) if known is way), 0)
            if place == len(self._ways) - 1:
                self._at = 0  # streaming was not the reason
                return False
            self._at = max(self._at, place + 1)
            return True
