"""One text as it is streamed, put together from the frames of three wires, and left once enough of it has come.

litellm's own reader of streams makes words up for how a text ended, takes special tokens out of it and hides what came
when a stream breaks; so the frames are read here, as whole answers are in `finish.py`. Knows no network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from omniopd.teachers.hosted.finish import PARTED, Ending, counts, endings
from omniopd.teachers.hosted.frames import Frames
from omniopd.teachers.spending.usage import Taken, read_usage

# What litellm takes from the front of a whole answer is taken from a streamed one too.
_THOUGHT = re.compile(r"<(?:think|thinking|budget:thinking)>(.*?)</(?:think|thinking|budget:thinking)>(.*)", re.DOTALL)
_OPENINGS = ("<think>", "<thinking>", "<budget:thinking>")
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """A streamed answer in the form that litellm gives to whole ones (`choices`, `model`, `usage`), its `ends`, and
    what was `taken`; `parted`: it was left before its end."""

    choices: tuple[Any, ...]
    model: str
    system_fingerprint: str
    ends: tuple[Ending, ...]
    taken: Taken
    parted: bool


class Streamed:
    """Takes the bytes of a stream. `enough(text)` says of what has been written so far that no more is wanted.

    The tokens of a stream that ends in a count of them are the provider's own. One that was left before its end is
    counted here: a token for each frame with text, and no fewer than one for four bytes, since some providers put
    several into a frame. Where a provider counts as it goes (vLLM, Gemini), or says first what it read (Anthropic),
    that counts.
    """

    def __init__(self, enough: Callable[[str], bool]) -> None:
        self.parted = False
        self._enough, self._frames = enough, Frames()
        self._texts: list[str] = []
        self._wanted: str | None = None  # the text at the moment when it was enough
        self._end: dict[str, Any] = {}  # what says how the text ended, in the provider's own form
        self._is_chat, self._has_thought, self._is_known, self._counts_at_the_end = False, False, False, False
        self._written = 0
        self._names: dict[str, str] = {}
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> bool:
        """Whether more is wanted. Raises ValueError for what is no stream of a known form."""
        for frame in self._frames.feed(data):
            self._take(frame)
        # A text that has ended by now costs nothing more, and its count is on its way.
        self.parted = self._wanted is not None and not self._has_ended
        return not self.parted

    def answer(self) -> StreamedAnswer:
        """What came. Raises ValueError where that is no text of a known form."""
        if not self.parted:
            for frame in self._frames.end():
                self._take(frame)
        if not self._is_known:
            raise ValueError("a stream whose form is not known")
        text = self._wanted if self.parted and self._wanted is not None else self._text
        ends = [Ending(None, PARTED)] if self.parted else endings(self._end) or []
        said = SimpleNamespace(content=text, reasoning_content="…" if self._has_thought else None)
        if self._is_chat and (found := _THOUGHT.match(text)):
            said = SimpleNamespace(content=found[2], reasoning_content=found[1] or None)
        choice = SimpleNamespace(message=said) if self._is_chat else SimpleNamespace(text=text)
        choices = (choice,) if ends else ()
        usage = self._usage or None
        told = read_usage(SimpleNamespace(choices=choices, usage=usage, service_tier=self._names.get("service_tier")))
        if not told.is_told or (self.parted and self._counts_at_the_end):
            told = replace(told, written=max(self._counted, 1), is_told=False)
        return StreamedAnswer(
            choices, self._names.get("model", ""), self._names.get("system_fingerprint", ""), tuple(ends),
            replace(told, is_parted=self.parted), self.parted,
        )  # fmt: skip

    @property
    def _has_ended(self) -> bool:
        return any(end.word or end.kind == PARTED for end in endings(self._end) or [])

    @property
    def _text(self) -> str:
        return _joined("".join(self._texts))

    @property
    def _counted(self) -> int:
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in self._texts)
        return max(self._written, math.ceil(size / _BYTES_A_TOKEN))

    def _take(self, frame: Mapping[str, Any]) -> None:
        if isinstance(frame.get("choices"), list):
            self._of_choices(frame)
        elif {"candidates", "usageMetadata", "promptFeedback"} & frame.keys():
            self._of_gemini(frame)
        elif isinstance(frame.get("type"), str):
            self._of_anthropic(frame)

    def _write(self, text: Any) -> None:
        if not text:
            return
        if not isinstance(text, str):
            raise ValueError("a stream with a text that is none")
        self._texts.append(text)
        self._written += 1
        if self._wanted is None and (whole := self._stable) is not None and self._enough(whole):
            self._wanted = whole

    @property
    def _stable(self) -> str | None:
        """The text without a character of which the rest is to come; None while it may be a thought."""
        text = self._text.rstrip("\ufffd")
        if text and "\ud800" <= text[-1] <= "\udbff":
            text = text[:-1]
        if self._is_chat and any(text.startswith(o) or o.startswith(text) for o in _OPENINGS):
            found = _THOUGHT.match(text)
            return found[2] if found else None
        return text

    def _of_choices(self, frame: Mapping[str, Any]) -> None:
        self._is_known = True
        self._name(frame)
        self._count(frame.get("usage"))
        for choice in frame["choices"]:
            delta = choice.get("delta") if isinstance(choice, Mapping) else None
            if not isinstance(choice, Mapping) or not isinstance(delta, Mapping | None):
                raise ValueError("a stream with a choice that is none")
            ended = self._end.setdefault("choices", [{"index": choice.get("index"), "message": {"content": None}}])[0]
            if choice.get("index") != ended["index"]:
                raise ValueError("a stream of several texts, and one was asked for")
            for name in ("finish_reason", "stop_reason"):
                if choice.get(name) is not None:
                    ended[name] = choice[name]
            if delta is None:
                self._write(choice.get("text"))
                continue
            self._is_chat = True
            self._has_thought |= bool(delta.get("reasoning_content") or delta.get("reasoning"))
            for name in ("refusal", "tool_calls", "function_call"):
                if delta.get(name):
                    ended["message"][name] = delta[name]
            self._write(delta.get("content"))

    def _of_gemini(self, frame: Mapping[str, Any]) -> None:
        self._is_known = self._is_chat = True
        self._name({"model": frame.get("modelVersion")})
        if isinstance(said := frame.get("usageMetadata"), Mapping):
            self._count({
                "prompt_tokens": said.get("promptTokenCount"), "total_tokens": said.get("totalTokenCount"),
                "completion_tokens": _sum(said, "candidatesTokenCount", "thoughtsTokenCount"),
                "prompt_tokens_details": {"cached_tokens": said.get("cachedContentTokenCount")},
                "completion_tokens_details": {"reasoning_tokens": said.get("thoughtsTokenCount")},
            })  # fmt: skip
        candidates = frame.get("candidates")
        if not candidates:
            if "promptFeedback" in frame:
                self._end["promptFeedback"] = frame["promptFeedback"]
            return
        candidate = candidates[0] if isinstance(candidates, list) else None
        content = candidate.get("content", {}) if isinstance(candidate, Mapping) else None
        parts = content.get("parts", []) if isinstance(content, Mapping) else None
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise ValueError("a stream with a candidate that is none")
        ended = self._end.setdefault("candidates", [{"content": {"parts": []}}])[0]
        if isinstance(candidate, Mapping) and candidate.get("finishReason") is not None:
            ended["finishReason"] = candidate["finishReason"]
        for part in parts:
            if part.get("functionCall"):
                ended["content"]["parts"].append(part)
            self._has_thought |= bool(part.get("thought"))
            self._write(None if part.get("thought") else part.get("text"))

    def _of_anthropic(self, frame: Mapping[str, Any]) -> None:
        said = frame.get({"message_start": "message"}.get(frame["type"], "delta"), {})
        if not isinstance(said, Mapping):
            raise ValueError("a stream with an event of another form")
        if frame["type"] == "message_start":
            self._is_known = self._is_chat = self._counts_at_the_end = True
            self._end = {"type": "message", "content": []}
            self._name(said)
            self._anthropic_usage(said.get("usage"))
        elif frame["type"] == "content_block_delta":
            self._has_thought |= "thinking" in str(said.get("type"))
            self._write(said.get("text") if said.get("type") == "text_delta" else None)
        elif frame["type"] == "message_delta":
            self._end["stop_reason"] = said.get("stop_reason")
            self._anthropic_usage(frame.get("usage"))

    def _anthropic_usage(self, said: Any) -> None:
        """Counted beside each other there: what was read anew, read from the cache, and put into it."""
        if not isinstance(said, Mapping):
            return
        known = self._usage.setdefault("of_anthropic", {})
        known.update({name: value for name, value in said.items() if value is not None})
        if not counts(known):
            raise ValueError("its usage is not a count of tokens")
        parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        self._usage |= {
            "prompt_tokens": _sum(known, *parts), "completion_tokens": known.get("output_tokens"),
            "total_tokens": _sum(known, *parts, "output_tokens"),
            "prompt_tokens_details": {
                "cached_tokens": known.get(parts[1]), "cache_write_tokens": known.get(parts[2]),
                "cache_creation_token_details": known.get("cache_creation"),
            },
            **{name: known[name] for name in ("service_tier", "server_tool_use", "inference_geo") if name in known},
        }  # fmt: skip

    def _count(self, usage: Any) -> None:
        if usage is None:
            return
        if not counts(usage):
            raise ValueError("its usage is not a count of tokens")
        self._usage = dict(usage)

    def _name(self, said: Mapping[str, Any]) -> None:
        names = ("model", "system_fingerprint", "service_tier")
        self._names |= {name: said[name] for name in names if isinstance(said.get(name), str)}


def _sum(said: Mapping[str, Any], *names: str) -> Any:
    """The counts together; as they are, for whoever reads counts to refuse, where one is no whole number."""
    found = [said[name] for name in names if said.get(name) is not None]
    wrong = [count for count in found if isinstance(count, bool) or not isinstance(count, int)]
    return wrong[0] if wrong else sum(found)


def _joined(text: str) -> str:
    """Two halves of a surrogate pair that came in different frames are one character."""
    if not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
