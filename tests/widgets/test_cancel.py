"""What goes on behind the workbench can be cancelled, also before a dead provider, and ends when it is closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from omniopd.teachers.hosted import background
from omniopd_widgets._parts.worker import Worker
from tests.widgets.lab import ROOT
from tests.widgets.test_workbench import workbench


def test_a_thousand_cancels_do_not_end_the_thread() -> None:
    class Shown:
        busy = problem = ""

    worker = Worker(Shown(), "cancelled")
    going = True

    def cancel() -> None:
        while going:
            worker.cancel()

    other = threading.Thread(target=cancel)
    other.start()
    for _ in range(1000):
        worker.do("something …", lambda: sum(range(200)))
        worker.wait(20)
    going = False
    other.join()
    done = []
    worker.do("the last …", lambda: done.append(True))
    worker.wait(20)
    assert done == [True]
    worker.close(drop=True)


@pytest.mark.parametrize("cancels", [False, True])
def test_a_profiler_or_a_debugger_does_not_wait_for_a_cancel_that_is_over(cancels: bool) -> None:
    script = f"""
import sys, time
from types import SimpleNamespace
from omniopd_widgets._parts.worker import Worker
view = SimpleNamespace(busy="", problem="")
worker = Worker(view, "traced")
for number in range(50):
    worker.do("something …", lambda: time.sleep(0.001))
    if {cancels}:
        worker.cancel()
    worker.wait(20)
sys.setprofile(lambda *_: None)
worker.do("another …", lambda: None)
worker.wait(20)
worker.close(drop=True)
print("done")
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "widgets")])
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_closing_ends_what_goes_on() -> None:
    begun, ended = threading.Event(), threading.Event()

    class Slow:
        def continue_from(self, requests, on_result=None):
            begun.set()
            try:
                while True:
                    threading.Event().wait(0.01)
            finally:
                ended.set()

    made = workbench(Slow())
    made.ask()
    assert begun.wait(20)
    made.close()
    assert ended.wait(20)


def test_what_goes_on_can_be_cancelled_and_the_bench_goes_on() -> None:
    begun, released = threading.Event(), threading.Event()

    class Dead:
        """A provider that never answers."""

        def continue_from(self, requests, on_result=None):
            begun.set()
            while not released.wait(0.01):
                pass
            raise AssertionError("nobody cancelled")

    made = workbench(Dead())
    made.ask()
    assert begun.wait(20)
    made.bar.press("cancel")
    made.wait(20)
    assert "cancelled: the teacher continues" in made.bar.problem
    assert made.bar.busy == ""
    made.answer()
    made.wait()
    assert made.bar.problem == ""
    released.set()
    made.close()


def test_a_thread_that_waits_for_a_provider_is_interrupted_at_once() -> None:
    begun, ended = threading.Event(), []

    async def never(caller):
        begun.set()
        await asyncio.sleep(60)

    def wait() -> None:
        try:
            background.run(never)
        except KeyboardInterrupt:
            ended.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(10)
    assert background.interrupt(thread.ident)
    thread.join(10)
    assert ended == [True]
    assert not background.interrupt(thread.ident)
