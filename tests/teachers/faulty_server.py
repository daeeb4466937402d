"""A server on loopback that speaks the OpenAI wire format: known latency, texts by seed, faults to order.

Its texts are a function of the question and the seed: choice j of a call with seed s is the text of seed s + j, as
vLLM draws them; a stream comes token by token (`streams.py`). Every request is kept in `seen`. It runs in a thread of
the test (`with Served() as server`), or in a process of its own (`in_a_process`), where `GET /seen` tells what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.teachers.streams import Streams

SENTENCE = "so we have the sum of 12 and 7 is then 19 apples left over each box holds half that number = 38 / 2 ."
WORDS = SENTENCE.split(" ")
REFUSAL = "I'm sorry, but I can't help with that."
RETRY_AFTER_S = 1
FAULTS = (
    "429", "500", "529", "reset", "hang", "truncated", "html", "empty", "null", "fewer", "other model", "refusal",
    "thinking",
)  # fmt: skip
Faults = Callable[[int, dict[str, Any]], str | None]


@dataclass(slots=True)
class Seen:
    """One request: when it came and was answered (time.monotonic), what it asked, which fault it met; how many
    tokens its text has, and how many of a stream were written."""

    came: float
    question: str
    seed: int | None
    samples: int
    fault: str | None
    body: dict[str, Any]
    answered: float | None = None
    written: int = 0
    wanted: int = 0


@dataclass
class Served:
    """`latency_s` before each answer; `faults(number, body)` names a fault of FAULTS, a status such as "400", or None.

    `answer(body, seed)` writes a text; by default a few words drawn by question and seed. `model` is what answers are
    signed with, `hang_s` how long a hanging call is kept, `counts` whether answers say what they took. `streams` is how
    it streams, None where it does not; `finish` is how texts end, with a token of its own where that is "stop".
    """

    latency_s: float = 0.0
    faults: Faults | None = None
    answer: Callable[[dict[str, Any], int], str] | None = None
    model: str = "served-1"
    fingerprint: str | None = None
    hang_s: float = 3600.0
    words: int = 6
    counts: bool = True
    streams: Streams | None = None
    finish: str = "length"
    seen: list[Seen] = field(default_factory=list)
    open_now: int = 0
    most_open: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Served:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.serve(started.set))
        self._loop.close()

    async def serve(self, started: Callable[[], Any]) -> None:
        """Until it is stopped."""
        self._stopping = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        started()
        await self._stopping.wait()
        server.close()
        await asyncio.sleep(0)  # a connection that has just been made begins its talk, which can then be ended
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(task)
            self.open_now -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if first.startswith("GET"):
            told = {"seen": [asdict(s) for s in self.seen], "open": self.open_now, "most_open": self.most_open}
            return await _send(writer, 200, json.dumps(told).encode())
        if first.startswith("DELETE"):
            self.seen, self.most_open = [], self.open_now
            return await _send(writer, 200, b"{}")
        return await self._answer(json.loads(raw), "/chat/" in first, reader, writer)

    async def _answer(
        self, body: dict[str, Any], is_chat: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        fault = self.faults(len(self.seen), body) if self.faults else None
        question = json.dumps(body.get("messages") or body.get("prompt"))
        seen = Seen(time.monotonic(), question, body.get("seed"), body.get("n") or 1, fault, body)
        self.seen.append(seen)
        if fault == "hang":
            # Whoever goes away while nothing comes is let go.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), self.hang_s)
            return False
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        seen.answered = time.monotonic()
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "html":
            return await _send(writer, 200, b"<html><body>Bad gateway</body></html>", "text/html")
        if fault is not None and fault.isdigit():
            more = f"retry-after: {RETRY_AFTER_S}\r\n" if fault == "429" else ""
            told = {"error": {"message": f"told to fail with {fault}", "type": "error", "code": fault}}
            return await _send(writer, int(fault), json.dumps(told).encode(), more=more)
        if body.get("stream") and self.streams is not None:
            return await self.streams.send(writer, self._payload(body, is_chat, fault), body, seen, fault)
        payload = json.dumps(self._payload(body, is_chat, fault)).encode()
        if fault == "truncated":
            return await _send(writer, 200, payload[: len(payload) // 2])
        return await _send(writer, 200, payload)

    def _payload(self, body: dict[str, Any], is_chat: bool, fault: str | None) -> dict[str, Any]:
        seed = body.get("seed")
        first = random.getrandbits(31) if seed is None else seed
        samples = 1 if fault == "fewer" else body.get("n") or 1
        texts: list[str | None] = [(self.answer or self._words)(body, first + n) for n in range(samples)]
        if fault == "refusal":
            texts = [REFUSAL] * samples
        elif fault in ("null", "thinking"):
            texts = [None if is_chat else ""] * samples
        elif fault == "empty":
            texts = []
        choices: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            said: dict[str, Any] = {"text": text}
            if is_chat:
                said = {"message": {"role": "assistant", "content": text}}
                if fault == "thinking":
                    said["message"]["reasoning_content"] = "hmm"
            choices.append({"index": index, "finish_reason": self.finish, "logprobs": None, **said})
        written = sum(len((text or "").split()) + (self.finish == "stop") for text in texts)
        read = len(json.dumps(body.get("messages") or body.get("prompt"))) // 4
        counted = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return {
            "id": f"answer-{len(self.seen)}",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": 1,
            "model": "another-model" if fault == "other model" else self.model,
            **({"system_fingerprint": self.fingerprint} if self.fingerprint else {}),
            "choices": choices,
            **({"usage": counted} if self.counts else {}),
        }

    def _words(self, body: dict[str, Any], seed: int) -> str:
        asked = json.dumps([body.get("messages") or body.get("prompt"), seed]).encode()
        draw = random.Random(hashlib.sha256(asked).digest())
        return " " + " ".join(draw.choice(WORDS) for _ in range(self.words))


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json", more: str = ""
) -> bool:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


def some_faults(share: float, seed: int = 0, kinds: tuple[str, ...] = FAULTS) -> Faults:
    """A fault on `share` of the calls, every kind equally often, never the same kind twice for one draw.

    Twice another model is a changed teacher, and a refusal that is repeated is the teacher's word: neither is a fault.
    Nor is another model's answer before there was one.
    """
    chance = random.Random(seed)
    met: dict[tuple[str, int | None], set[str]] = {}

    def fault(number: int, body: dict[str, Any]) -> str | None:
        draw = (json.dumps(body.get("messages") or body.get("prompt")), body.get("seed"))
        kind = chance.choice(kinds) if chance.random() < share else None
        if kind in met.setdefault(draw, set()) or (kind == "other model" and number < 64):
            kind = "500"
        if kind is not None:
            met[draw].add(kind)
        return kind

    return fault


@contextlib.contextmanager
def in_a_process(**settings: Any) -> Iterator[str]:
    """The same server in a process of its own; yields its address. `faults` are the arguments of `some_faults`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_alone, args=(there, settings), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join(10)


def told(url: str) -> dict[str, Any]:
    """What a server in another process has seen."""
    with urllib.request.urlopen(url + "/seen", timeout=60) as answer:
        return json.loads(answer.read())


def _serve_alone(pipe: Any, settings: dict[str, Any]) -> None:
    if "faults" in settings:
        settings["faults"] = some_faults(*settings["faults"])
    server = Served(**settings)
    asyncio.run(server.serve(lambda: pipe.send(server.port)))
