"""A server that breaks in every way a connection can: `with Breaking(fault) as server:` answers by `fault`.

A fault is written by hand to the socket, below any library. It gets the request's JSON and returns what is to be sent:
bytes, or an iterator of bytes and pauses (a float, in seconds; None aborts the connection).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

Sent = bytes | Iterable[bytes | float | None]
Fault = Callable[[dict[str, Any]], Sent]
FOREVER = 3600.0


class Breaking:
    """Listens at `url`; `requests` are the bodies that came, `heads` their heads, `written` the bytes sent."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.requests: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.written = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="breaking server", daemon=True)

    def __enter__(self) -> Breaking:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)

    async def _stop(self) -> None:
        self._server.close()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
                length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
                raw = await reader.readexactly(int(length[1])) if length else b""
                body = json.loads(raw) if raw.startswith(b"{") else {}
                self.requests.append(body)
                self.heads.append(head)
                sent = self.fault(body)
                for part in [sent] if isinstance(sent, bytes) else sent:
                    if part is None:
                        writer.transport.abort()
                        return
                    if isinstance(part, float):
                        await asyncio.sleep(part)
                        continue
                    writer.write(part)
                    self.written += len(part)
                    await writer.drain()
                if not isinstance(sent, bytes):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def response(body: bytes, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A whole response."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


def redirect(status: int, to: str) -> bytes:
    return response(b"{}", f"{status} Moved", location=to)


def _endless(head: str, chunk: bytes, pause_s: float = 0.0) -> Iterator[bytes | float]:
    yield head.encode()
    while True:
        yield chunk
        if pause_s:
            yield pause_s


def _cut(good: bytes) -> Iterator[bytes | None]:
    whole = response(good)
    yield whole[: len(whole) - len(good) // 2]


def _reset(good: bytes) -> Iterator[bytes | float | None]:
    whole = response(good)
    yield whole[: len(whole) - len(good) // 2]
    yield 0.02
    yield None


def _stall(begun: bytes) -> Iterator[bytes | float]:
    yield begun
    yield FOREVER


def _drip(good: bytes) -> Iterator[bytes | float]:
    whole = response(good + b" " * 10_000)
    for at in range(len(whole)):
        yield whole[at : at + 1]
        yield 0.02


def _chunked_cut(good: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    yield f"{len(good):x}\r\n".encode() + good[: len(good) // 2]


def bomb(how: str, megabytes: int = 64) -> bytes:
    """A JSON string of spaces that takes a thousandth of its size on the wire."""
    wide = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "raw deflate": -zlib.MAX_WBITS}[how]
    pack = zlib.compressobj(9, wbits=wide)
    space = b" " * 2**20
    return pack.compress(b'{"a": "') + b"".join(pack.compress(space) for _ in range(megabytes)) + pack.flush()


def _nested(depth: int = 200_000) -> bytes:
    return b'{"choices": ' + b"[" * depth + b"]" * depth + b"}"


BOMBS = {how: bomb(how) for how in ("gzip", "deflate", "raw deflate")}
_ENDLESS = "HTTP/1.1 {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"


def faults(good: bytes) -> dict[str, Fault]:
    """Ways to answer that bring no text, by name; `good` is the answer that a sound server would send."""
    half = good[: len(good) // 2]
    return {
        "broken JSON": lambda body: response(half),
        "a list": lambda body: response(b"[" + good + b"]"),
        "a number": lambda body: response(b"17"),
        "another form": lambda body: response(b'{"a": "' + b"x y " * 15_000 + b'"}'),
        "choices of another form": lambda body: response(b'{"choices": ["' + b"x y " * 15_000 + b'"]}'),
        "nested JSON": lambda body: response(_nested()),
        "not UTF-8": lambda body: response(good[:-1] + b',"x":"\xff\xfe"}'),
        "empty 200": lambda body: response(b""),
        "204": lambda body: b"HTTP/1.1 204 No Content\r\n\r\n",
        "HTML 200": lambda body: response(b"<html><body>Sign in</body></html>", kind="text/html"),
        "an error as 200": lambda body: response(b'{"error": {"message": "told to fail", "code": 500}}'),
        "no HTTP": lambda body: [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
        "cut": lambda body: _cut(good),
        "chunked, cut": lambda body: _chunked_cut(good),
        "reset": lambda body: [None],
        "reset in mid-body": lambda body: _reset(good),
        "silence": lambda body: [FOREVER],
        "silence in mid-head": lambda body: _stall(b"HTTP/1.1 200 OK\r\ncontent-type: app"),
        "silence in mid-body": lambda body: _stall(response(good)[:-20]),
        "a drip": lambda body: _drip(good),
        "a flood": lambda body: _endless(_ENDLESS.format("200 OK"), _CHUNK),
        "a flood of errors": lambda body: _endless(_ENDLESS.format("500 No"), _CHUNK),
        "a flood of headers": lambda body: _endless("HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 4000 + b"\r\n"),
        "a gzip bomb": lambda body: response(BOMBS["gzip"], content_encoding="gzip"),
        "a deflate bomb": lambda body: response(BOMBS["deflate"], content_encoding="deflate"),
        "a raw deflate bomb": lambda body: response(BOMBS["raw deflate"], content_encoding="deflate"),
        "a bomb in an error": lambda body: response(BOMBS["gzip"], "500 No", content_encoding="gzip"),
        "gzip twice": lambda body: response(gzip.compress(gzip.compress(good)), content_encoding="gzip, gzip"),
        "gzip, cut": lambda body: response(gzip.compress(good)[:-12], content_encoding="gzip"),
        "gzip that is none": lambda body: response(good, content_encoding="gzip"),
        "br": lambda body: response(good, content_encoding="br"),
        "zstd": lambda body: response(good, content_encoding="zstd"),
    }
