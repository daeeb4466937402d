"""A teacher's work beside the student's: audits in threads of their own, and how long they took.

Knows no trainer. A teacher that runs here would take turns with the student on one machine: it is asked at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from omniopd.io.interrupts import raise_in
from omniopd.teachers.hosted import background
from omniopd.types import AuditedRollout

Work = Callable[[], list[AuditedRollout]]


@dataclass(slots=True)
class Audits:
    """Those of some rows of a batch, `first` and the ones behind it: what will come of them, and when it was done."""

    first: int
    found: Future[list[AuditedRollout]]
    begun: float = field(default_factory=time.perf_counter)
    done: float = 0.0


class Background:
    """Does audits in `threads` threads; in the caller's own, at once, where that is 0."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._working: set[int] = set()  # idents of the threads that do

    def do(self, first: int, work: Work) -> Audits:
        """Begin the audits of the rows from `first` on. What they raise is raised by `found`."""
        audits = Audits(first, Future())
        audits.found.set_running_or_notify_cancel()
        if self.threads == 0:
            self._work(audits, work)
            return audits
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="omniopd-audits")
        self._pool.submit(self._work, audits, work)
        return audits

    def close(self, *, interrupted: bool = False) -> None:
        """No more audits. `interrupted`: those under way are ended as Ctrl-C would end them, and none is begun."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        for thread in list(self._working) if interrupted else ():
            if not background.interrupt(thread):
                raise_in(thread, KeyboardInterrupt)
        pool.shutdown()

    def _work(self, audits: Audits, work: Work) -> None:
        me = threading.get_ident()
        self._working.add(me)
        try:
            result = work()
        except BaseException as error:
            audits.done = time.perf_counter()
            audits.found.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            audits.done = time.perf_counter()
            audits.found.set_result(result)
        finally:
            self._working.discard(me)


def busy_seconds(audits: Sequence[Audits]) -> float:
    """How long at least one of them was under way."""
    total, until = 0.0, 0.0
    for each in sorted(audits, key=lambda each: each.begun):
        total += max(0.0, each.done - max(each.begun, until))
        until = max(until, each.done)
    return total
