"""A local HTTP server that answers as a function says, and remembers what it was asked.

It runs in a thread with an event loop of its own, so that tests may call from any loop or none.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in; `at` is the server's monotonic clock, in seconds."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    query: dict[str, str] = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` as JSON, or as it is if it is a string. `wait_s` passes before it; `drop` closes instead."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drop: bool = False


Answering = Callable[[Received], Reply]


class WireServer:
    """`with WireServer(answer) as server:` listens at `server.url`; `server.received` is the log of requests."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire server", daemon=True)

    def __enter__(self) -> WireServer:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> str:
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        received = Received(request.path, dict(request.headers), body, dict(request.query), time.monotonic())
        self.received.append(received)
        reply = self.answer(received)
        if reply.wait_s:
            await asyncio.sleep(reply.wait_s)
        if reply.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if isinstance(reply.body, str):
            return web.Response(text=reply.body, status=reply.status, headers=reply.headers)
        return web.json_response(reply.body, status=reply.status, headers=reply.headers)
