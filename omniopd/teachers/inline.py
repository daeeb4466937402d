"""An executor that runs some work at once, in the thread that hands it in.

litellm has a thread build every request and waits for it. With many calls in flight those threads and the loop's fight
for the interpreter, which costs more time than the building does. Other work goes to threads as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

# Set while a call begins whose building reads no disk and no network.
AT_ONCE: ContextVar[bool] = ContextVar("omniopd_at_once", default=False)


class InlineExecutor(ThreadPoolExecutor):
    """Runs a `functools.partial` (litellm's way to hand in a call) at once where AT_ONCE is set."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        if not (AT_ONCE.get() and isinstance(fn, functools.partial)):
            return super().submit(fn, *args, **options)
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **options))
        except Exception as error:
            done.set_exception(error)
        return done
