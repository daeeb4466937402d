"""A stream says what its whole answer would: on every wire, however the network cuts it, and nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.finish import BROKEN, LENGTH, PARTED, REFUSED, STOP, UNSAID
from omniopd.teachers.hosted.streamed import Streamed, StreamedAnswer
from omniopd.teachers.hosted.transport import send
from tests.wire.breaking import FOREVER, Breaking, redirect
from tests.wire.saying import KEY

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 5}}


def event(data: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def chat(texts: list[str], word: Any = "stop", usage: Any = USAGE, **more: Any) -> bytes:
    names = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": None}
    frames = [names | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    frames += [names | {"choices": [{"index": 0, "delta": {"content": t}, "finish_reason": None}]} for t in texts]
    frames.append(names | {"choices": [{"index": 0, "delta": more, "finish_reason": word}]})
    frames += [names | {"choices": [], "usage": usage}] if usage else []
    return b": hello\n\n" + b"".join(map(event, frames)) + b"data: [DONE]\n\n"


def completion(texts: list[str], word: Any = "stop", usage: Any = USAGE) -> bytes:
    frames = [{"model": "m", "choices": [{"index": 0, "text": t, "finish_reason": None}]} for t in texts]
    frames.append({"model": "m", "choices": [{"index": 0, "text": "", "finish_reason": word}], "usage": usage})
    return b"".join(map(event, frames))


def anthropic(texts: list[str], word: Any = "end_turn", usage: Any = USAGE) -> bytes:
    read = {"input_tokens": 4, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 1}
    events = [{"type": "message_start", "message": {"type": "message", "model": "m", "content": [], "usage": read}}]
    events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    events += [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in texts]
    events += [{"type": "content_block_stop", "index": 0}, {"type": "ping"}]
    events.append({"type": "message_delta", "delta": {"stop_reason": word}, "usage": {"output_tokens": 4}})
    events.append({"type": "message_stop"})
    return b"".join(event(e, e["type"]) for e in events)


def gemini(texts: list[str], word: Any = "STOP", usage: Any = USAGE) -> bytes:
    def frame(number: int, text: str, **more: Any) -> dict[str, Any]:
        counted = {"promptTokenCount": 9, "candidatesTokenCount": number, "totalTokenCount": 9 + number,
                   "cachedContentTokenCount": 5}  # fmt: skip
        said = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        return {"candidates": [said], "modelVersion": "m", "usageMetadata": counted}

    frames = [frame(n, t) for n, t in enumerate(texts, 1)]
    return b"".join(map(event, [*frames, frame(4, "", finishReason=word)])).replace(b"\n", b"\r\n")


WIRES: dict[str, Callable[..., bytes]] = {
    "chat": chat, "completions": completion, "Anthropic": anthropic, "Gemini": gemini
}  # fmt: skip
TEXTS = [" a caf", "é 🙂", " and", " 12"]


def read(data: bytes, size: int = 10**6, enough: Callable[[str], bool] = lambda text: False) -> StreamedAnswer:
    stream = Streamed(enough)
    for at in range(0, len(data), size):
        if not stream.feed(data[at : at + size]):
            break
    return stream.answer()


def text_of(answer: StreamedAnswer) -> str:
    [choice] = answer.choices
    return choice.text if hasattr(choice, "text") else choice.message.content


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 10**6])
def test_a_stream_cut_anywhere_is_its_text_its_end_and_its_counts(wire: str, size: int) -> None:
    answer = read(WIRES[wire](TEXTS), size)
    assert (text_of(answer), answer.model) == ("".join(TEXTS), "m")
    assert [end.kind for end in answer.ends] == [STOP]
    taken = answer.taken
    assert (taken.read, taken.written, taken.cached, taken.is_told, taken.is_parted) == (9, 4, 5, True, False)


@pytest.mark.parametrize(
    ("wire", "word", "kind"),
    [
        ("chat", "length", LENGTH), ("chat", "content_filter", REFUSED), ("chat", "a new word", UNSAID),
        ("chat", "abort", BROKEN), ("chat", None, UNSAID), ("completions", "length", LENGTH),
        ("Anthropic", "max_tokens", LENGTH), ("Anthropic", "refusal", REFUSED), ("Anthropic", None, UNSAID),
        ("Gemini", "MAX_TOKENS", LENGTH), ("Gemini", "SAFETY", REFUSED), ("Gemini", None, UNSAID),
    ],
)  # fmt: skip
def test_the_end_of_a_stream_is_the_providers_word(wire: str, word: Any, kind: str) -> None:
    assert [end.kind for end in read(WIRES[wire](TEXTS, word)).ends] == [kind]


@pytest.mark.parametrize("wire", WIRES)
def test_what_was_left_is_the_text_until_then_and_what_had_been_written(wire: str) -> None:
    answer = read(WIRES[wire](TEXTS), 8, lambda text: "🙂" in text)
    assert text_of(answer) == " a café 🙂"
    assert ([end.kind for end in answer.ends], answer.parted, answer.taken.is_parted) == ([PARTED], True, True)
    told = answer.taken
    # Anthropic says first what it has read; Gemini counts as it goes; the others count at the end, which never came.
    assert (told.read, told.cached) == ((9, 5) if wire in ("Anthropic", "Gemini") else (0, 0))
    assert told.written == (2 if wire == "Gemini" else 4)  # four bytes are a token: " a café 🙂" are 13
    assert told.is_told == (wire == "Gemini")


def test_a_text_that_has_ended_by_then_is_not_left() -> None:
    answer = read(chat(TEXTS), enough=lambda text: True)
    assert (text_of(answer), answer.parted, answer.taken.written) == ("".join(TEXTS), False, 4)


def test_halves_of_a_character_are_waited_for_and_joined() -> None:
    seen: list[str] = []
    data = chat(["a", "\ud83d", "\ude42", " b\ufffd", "c"])
    answer = read(data, 1, lambda text: bool(seen.append(text)))
    assert text_of(answer) == "a🙂 b\ufffdc"
    assert seen == ["a", "a", "a🙂", "a🙂 b", "a🙂 b\ufffdc"]


def test_a_thought_is_told_apart_from_the_answer_as_in_whole_answers() -> None:
    seen: list[str] = []
    answer = read(chat(["<thi", "nk>so", "</think>", " 12"]), enough=lambda text: bool(seen.append(text)))
    [choice] = answer.choices
    assert (choice.message.content, choice.message.reasoning_content, seen) == (" 12", "so", ["", " 12"])
    data = chat([" 12"]).replace(b'"content": ""', b'"content": null, "reasoning_content": "hm"')
    assert read(data).choices[0].message.reasoning_content


BROKEN_STREAMS = {
    "no JSON": b"data: {not JSON\n\n",
    "a list": b"data: [1, 2]\n\n",
    "an error": event({"error": {"message": "told to fail"}}),
    "an error in Anthropic's form": event({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
    "HTML": b"<html><body>Bad gateway</body></html>\n\n",
    "nothing": b"",
    "another form": event({"type": "response.output_text.delta", "delta": {"text": "a"}}),
    "choices that are none": event({"choices": ["a"]}),
    "a delta that is none": event({"choices": [{"index": 0, "delta": "a"}]}),
    "a text that is none": event({"choices": [{"index": 0, "text": ["a"]}]}),
    "two texts": event({"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]}),
    "counts that are none": event({"choices": [], "usage": {"prompt_tokens": 1.5}}),
    "a candidate that is none": event({"candidates": ["a"]}),
    "nested": b'data: {"choices": ' + b"[" * 100_000 + b"\n\n",
}


@pytest.mark.parametrize("kind", BROKEN_STREAMS)
def test_what_is_no_stream_of_a_known_form_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(BROKEN_STREAMS[kind])


def _head(kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _flood(data: bytes) -> Any:
    yield _head()
    while True:
        yield _chunk(data)


CALL = {"model": "hosted_vllm/m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 16, "api_key": KEY}
_GOOD = chat(TEXTS)
STREAMS = {
    "cut": (lambda body: [_head(), _chunk(_GOOD[:200]), None], "connection lost"),
    "no last chunk": (lambda body: [_head(), _chunk(_GOOD[:200])], "connection lost"),
    "silence": (lambda body: [_head(), _chunk(_GOOD[:200]), FOREVER], "no answer in time"),
    "a flood of frames": (lambda body: _flood(event({"choices": [], "pad": "x" * 4000})), "unreadable answer"),
    "a flood in one line": (lambda body: _flood(b"x" * 65536), "unreadable answer"),
    "a redirect": (lambda body: redirect(307, "http://there/"), "a redirect"),
    "garbage": (lambda body: [_head(), _chunk(BROKEN_STREAMS["no JSON"]), FOREVER], "unreadable answer"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("model", ["hosted_vllm/m", "openai/m", "text-completion-openai/m"])
def test_a_stream_is_held_to_the_limits_of_an_answer(kind: str, model: str, litellm_is_loaded: None) -> None:
    fault, reason = STREAMS[kind]
    words = {**CALL, "model": model}
    if model.startswith("text-completion"):
        words["prompt"] = words.pop("messages")[0]["content"]
    with Breaking(fault) as server:
        told = run(lambda desk: send({**words, "api_base": server.url + "/v1"}, 2, lambda text: False))
        assert (told.reason, len(server.requests)) == (reason, 1), told
        assert KEY not in str(told)
    assert server.written < 2**24  # what lies in the buffers between the two, and no more
