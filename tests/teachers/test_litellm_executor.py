"""A call that is given up leaves nothing behind, wherever it was: no request that was built and that nobody awaits."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from omniopd.teachers.hosted.litellm_executor import InlineExecutor, building
from omniopd.teachers.hosted.transport import send
from tests.teachers.faulty_server import Served


async def request() -> str:
    return "sent"


async def built_and_sent(build: Callable[[], Coroutine[Any, Any, str]], at_once: bool) -> str:
    """What litellm does: a function builds the request, and the loop awaits it afterwards."""
    with building(at_once):
        made = await asyncio.get_running_loop().run_in_executor(None, functools.partial(build))
        return await made


async def cancelled_after(turns: int, call: Coroutine[Any, Any, Any]) -> bool:
    """Whether the call was still going on after so many turns of the loop, and was cancelled."""
    asyncio.get_running_loop().set_default_executor(InlineExecutor())
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return cancelled


def nothing_unawaited(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = asyncio.run(main())
        gc.collect()
    assert [str(w.message) for w in said if "never awaited" in str(w.message)] == []
    return found


@pytest.mark.parametrize("at_once", [True, False])
def test_a_request_that_is_not_given_up_is_sent(at_once: bool) -> None:
    async def main() -> str:
        asyncio.get_running_loop().set_default_executor(InlineExecutor())
        return await built_and_sent(request, at_once)

    assert nothing_unawaited(main) == "sent"


@pytest.mark.parametrize("turns", range(5))
def test_a_request_built_at_once_is_closed_wherever_the_call_is_cancelled(turns: int) -> None:
    nothing_unawaited(lambda: cancelled_after(turns, built_and_sent(request, at_once=True)))


def test_a_request_that_a_thread_still_builds_when_the_call_is_given_up_is_closed() -> None:
    going, free = threading.Event(), threading.Event()

    def build() -> Coroutine[Any, Any, str]:
        going.set()
        free.wait(10)
        return request()

    async def main() -> None:
        task = asyncio.ensure_future(cancelled_after(2, built_and_sent(build, at_once=False)))
        while not going.is_set():
            await asyncio.sleep(0.001)
        await task
        free.set()

    nothing_unawaited(main)


@pytest.mark.parametrize("model", ["hosted_vllm/m", "anthropic/claude-haiku-4-5"])
def test_litellm_leaves_nothing_unawaited_in_whichever_turn_a_call_is_cancelled(model: str) -> None:
    with Served(faults=lambda number, body: "hang") as server:
        call = {"model": model, "api_base": server.url, "api_key": "none", "max_tokens": 4}
        asked = {**call, "messages": [{"role": "user", "content": "Go on."}]}
        for turns in range(8):
            nothing_unawaited(lambda turns=turns: cancelled_after(turns, send(asked, 30.0)))
