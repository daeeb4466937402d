"""What passes between litellm and the network during one call: one request, one origin, no redirect, no flood.

litellm reaches providers by many clients, its own and an SDK's, each with ideas of its own about redirects, second
tries and decompression. All of them send through httpx's transports, and there, below those ideas, a call in progress
is watched; other requests of the process pass untouched. Knows no provider and no format.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from omniopd.errors import ConfigError

ERROR_BYTES = 64 * 1024  # of an error page; the rest is not read
# Of that, litellm gets the beginning: it searches errors for keys, which takes 12 µs a byte, on the event loop.
_SHOWN_BYTES = 1024
_ENCODINGS = "gzip, deflate"  # those that can be unpacked piece by piece, up to a limit
_REWRITTEN = ("content-encoding", "content-length", "transfer-encoding")
_STREAM, _NO_MORE = "text/event-stream", b"data: [DONE]\n\n"


class Stopped(Exception):
    """Raised through litellm where a call must not go on; `Traffic` says why."""


class StreamReader(Protocol):
    """Takes a streamed body while it comes. Both methods raise ValueError with what is wrong."""

    parted: bool

    def feed(self, data: bytes) -> bool:
        """Whether more is wanted: if not, the connection is closed."""
        ...

    def answer(self) -> Any: ...


@dataclass(slots=True)
class Traffic:
    """One call as the network saw it. `read` makes of a body the `answer` in it and what litellm is to see of it, or
    raises ValueError with what is wrong; `stream`, where it is given, does so of a streamed one. `host`, where it is
    given, is the only one that may be asked: what litellm makes of an address and a model's name may be another.

    `status`, `headers` and `body` (unpacked) are those of the last response, 0 where none came. `redirected` is where a
    response pointed to, `broken` why one could not be read, `lost` what became of the connection, `unsent` why a
    request was held back."""

    most_bytes: int
    read: Callable[[bytes], tuple[Any, bytes]]
    host: str = ""
    stream: StreamReader | None = None
    answer: Any = None
    origin: str = ""
    requests: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    redirected: str = ""
    broken: str = ""
    lost: str = ""
    unsent: str = ""


_CALL: ContextVar[Traffic | None] = ContextVar("omniopd_traffic", default=None)


@contextmanager
def watching(traffic: Traffic) -> Iterator[None]:
    """Inside, one call of litellm's, whose requests and responses go through `traffic`."""
    token = _CALL.set(traffic)
    try:
        yield
    finally:
        _CALL.reset(token)


def prepare() -> Any:
    """litellm, imported so that it fetches nothing and prints nothing. Raises ConfigError where it is missing."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # How many calls are in flight is decided here, not by a pool that lets some of them wait unseen.
    os.environ.setdefault("AIOHTTP_CONNECTOR_LIMIT", "65536")
    os.environ.setdefault("AIOHTTP_CONNECTOR_LIMIT_PER_HOST", "65536")
    try:
        import litellm
    except ImportError as error:
        raise ConfigError("a hosted teacher needs litellm, which is not installed: pip install litellm") from error
    litellm.suppress_debug_info = True
    _install()
    return litellm


def provider_of(model: str, api_base: str | None = None) -> tuple[str, str] | None:
    """The provider that litellm would send a model's calls to, and the address ("": not said); None for no provider."""
    litellm = prepare()
    try:
        _, provider, _, base = litellm.get_llm_provider(model, api_base=api_base or None)
    except Exception:  # litellm has an error of its own for each kind of mistake
        return None
    return str(provider), base or ""


def _install() -> None:
    """Puts the guard under every client of this process; doing it again changes nothing."""
    import httpx
    from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport

    for transport in (LiteLLMAiohttpTransport, httpx.AsyncHTTPTransport):
        _under(transport, "handle_async_request", _guarded)
    _under(httpx.HTTPTransport, "handle_request", _guarded_sync)


def _under(transport: type, name: str, guard: Any) -> None:
    send = getattr(transport, name)
    if not hasattr(send, "__wrapped__"):
        setattr(transport, name, guard(send))


def _guarded(send: Any) -> Any:
    @functools.wraps(send)
    async def handle_async_request(self: Any, request: Any) -> Any:
        traffic = _CALL.get()
        if traffic is None:
            return await send(self, request)
        _may_go(traffic, request)
        # What is packed may be held back on the way until there is enough of it.
        request.headers["accept-encoding"] = _ENCODINGS if traffic.stream is None else "identity"
        try:
            response = await send(self, request)
            try:
                body, stream = _begun(traffic, response), _stream_in(traffic, response)
                async with aclosing(response.aiter_raw()) as chunks:
                    async for chunk in chunks:
                        if not body.add(chunk) or not (stream is None or _feed(traffic, stream, body)):
                            break
            finally:
                await response.aclose()
        except Stopped:
            raise
        except Exception as error:
            traffic.lost = str(error) or type(error).__name__
            raise
        return _whole(traffic, response, body, request, stream)

    return handle_async_request


def _guarded_sync(send: Any) -> Any:
    """What a call asks on the way, in a thread: a token for a cloud, what a server can do. It may go elsewhere."""

    @functools.wraps(send)
    def handle_request(self: Any, request: Any) -> Any:
        traffic = _CALL.get()
        if traffic is None:
            return send(self, request)
        if _is_elsewhere(traffic, request) and "authorization" in request.headers:
            traffic.unsent = f"a key would have been sent to {request.url.host}, and its address is at {traffic.host}"
            raise Stopped(traffic.unsent)
        request.headers["accept-encoding"] = _ENCODINGS
        response = send(self, request)
        aside = Traffic(ERROR_BYTES * 16, lambda body: (None, body))
        try:
            body = _begun(aside, response)
            for chunk in response.iter_raw():
                if not body.add(chunk):
                    break
        finally:
            response.close()
            if aside.redirected:
                traffic.status, traffic.redirected = aside.status, aside.redirected
        return _whole(aside, response, body, request)

    return handle_request


def _may_go(traffic: Traffic, request: Any) -> None:
    """A call is one request, since each may be billed. Only one that was answered may be followed by another (a result
    that is fetched later), and only where the first one went: an answer does not decide who gets the key."""
    origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
    if traffic.requests and not 200 <= traffic.status < 300:
        traffic.unsent = traffic.unsent or "it would have been sent twice"
    elif traffic.origin and origin != traffic.origin:
        traffic.unsent = f"an answer of {traffic.origin} pointed to {origin}"
    elif _is_elsewhere(traffic, request):
        traffic.unsent = f"it would have been sent to {request.url.host}, and its address is at {traffic.host}"
    if traffic.unsent:
        raise Stopped(traffic.unsent)
    traffic.origin = origin
    traffic.requests += 1
    traffic.status, traffic.headers, traffic.body = 0, {}, b""


def _is_elsewhere(traffic: Traffic, request: Any) -> bool:
    return bool(traffic.host) and request.url.host.rstrip(".") != traffic.host


def _begun(traffic: Traffic, response: Any) -> _Body:
    """A response whose head has come. Raises Stopped for a redirect, and for an encoding that was not asked for."""
    traffic.status, traffic.headers = response.status_code, response.headers
    if 300 <= response.status_code < 400:
        traffic.redirected = response.headers.get("location", "") or "nowhere"
        raise Stopped("a redirect")
    is_error = response.status_code >= 400
    try:
        return _Body(ERROR_BYTES if is_error else traffic.most_bytes, response.headers.get("content-encoding", ""))
    except ValueError as error:
        traffic.broken = str(error)
        raise Stopped("an unreadable answer") from None


def _stream_in(traffic: Traffic, response: Any) -> StreamReader | None:
    """Who reads this body as it comes; None where it is to be read whole, as an error is, and an answer of a server
    that does not stream."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return traffic.stream if 200 <= response.status_code < 300 and kind == _STREAM else None


def _feed(traffic: Traffic, stream: StreamReader, body: _Body) -> bool:
    try:
        return stream.feed(body.fresh())
    except ValueError as error:
        traffic.broken = str(error)
        raise Stopped("an unreadable answer") from None


def _whole(traffic: Traffic, response: Any, body: _Body, request: Any, stream: StreamReader | None = None) -> Any:
    """The response anew, plain, with the body that was read. Of an error page its beginning is enough, and of a stream
    nothing: it has been read."""
    import httpx

    traffic.body = shown = bytes(body.data)
    if response.status_code >= 400:
        shown = shown[:_SHOWN_BYTES]
    else:
        try:
            if stream is None:
                body.check()
                traffic.answer, shown = traffic.read(shown)
            else:
                if not stream.parted:
                    body.check()
                traffic.answer, shown = stream.answer(), _NO_MORE
        except ValueError as error:
            traffic.broken = str(error)
            raise Stopped("an unreadable answer") from None
    headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _REWRITTEN]
    return httpx.Response(
        response.status_code, headers=headers, stream=httpx.ByteStream(shown), extensions=response.extensions,
        request=request,
    )  # fmt: skip


class _Body:
    """A body as it comes in: `limit` bytes at most, packed and unpacked. Raises ValueError for an unknown encoding."""

    def __init__(self, limit: int, encoding: str) -> None:
        self.data = bytearray()
        self._limit, self._received, self._seen = limit, 0, 0
        self._unpack: Any = None
        self._is_damaged = False
        packed = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        if packed and (len(packed) > 1 or packed[0] not in ("gzip", "x-gzip", "deflate")):
            raise ValueError(f"it came as {', '.join(packed)[:40]!r}, which was not asked for")
        if packed:
            self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as its head says

    def add(self, chunk: bytes) -> bool:
        """False when nothing more is wanted."""
        left = self._limit + 1 - len(self.data)
        try:
            plain = chunk if self._unpack is None else self._unpack.decompress(chunk, left)
        except zlib.error:
            if self._received:
                self._is_damaged = True
                return False
            self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)  # what some servers call deflate
            self._received = 1
            return self.add(chunk)
        self._received += len(chunk)
        self.data += plain[:left]
        return max(len(self.data), self._received) <= self._limit

    def fresh(self) -> bytes:
        """What has come since this was asked before."""
        since, self._seen = self._seen, len(self.data)
        return bytes(self.data[since:])

    def check(self) -> None:
        """Raises ValueError for a body that is too long, or no whole one."""
        if max(len(self.data), self._received) > self._limit:
            raise ValueError(f"it is longer than the {self._limit:,} bytes that the texts asked for can take")
        if self._is_damaged or (self._unpack is not None and self._received and not self._unpack.eof):
            raise ValueError("its compressed body is damaged")
