"""Watch a launched run from a terminal or a cell, until it ends; what ends the watcher asks the run to end.

Reads the run's folder, so it may be another process than the one that launched it.
"""

from __future__ import annotations

import signal
import sys
import time

from omniopd.io.interrupts import handled
from omniopd.launch.launched import Launched
from omniopd.runs.following import Follower, show_progress
from omniopd.runs.progress import Progress

PAUSE_S = 0.5


def watch(launched: Launched, progress: Progress | None = None) -> int:
    """Show the run's records as they come, until its process is over; returns its exit code.

    The first Ctrl-C (or SIGTERM, or a closed terminal) stops the run after its step, the second at once, the third
    kills it; KeyboardInterrupt is raised when it has ended. `progress` may be left out: it comes with the first record.
    """
    # The launched process has a session of its own: what ends this one must be passed on.
    with handled(signal.default_int_handler, "SIGINT", "SIGTERM", "SIGHUP"):
        return _Watcher(launched, progress).watch()


class _Watcher:
    def __init__(self, launched: Launched, progress: Progress | None) -> None:
        self.launched, self.progress = launched, progress
        self.follower: Follower | None = None
        self.shown = ""
        self.interrupts = 0

    def watch(self) -> int:
        while True:
            try:
                running = self.launched.is_running()
                self._look()
                if not running:
                    break
                time.sleep(PAUSE_S)
            except KeyboardInterrupt:
                self._pass_on()
        if self.progress is not None:
            self.progress.close(self.launched.state)
        if self.interrupts:
            raise KeyboardInterrupt
        code = self.launched.exit_code
        return 1 if code is None else code

    def _look(self) -> None:
        run = self.launched.run if self.follower is None else None
        if run is not None:
            self.follower = Follower(run)
        if self.follower is None:
            self._show(self._where())
            return
        update = self.follower.look()
        if self.progress is None and update.status is not None and update.status.steps:
            self.progress = Progress(update.status.steps, min(update.status.step, update.status.steps))
        if self.progress is not None:
            show_progress(update, self.progress)

    def _where(self) -> str:
        status, process = self.launched.status, self.launched.process
        if status.state == "queued":
            return status.message
        return f"cell {process.cell} of {process.cells}" if process.cell else "starting"

    def _show(self, words: str) -> None:
        if self.progress is not None:
            self.progress.doing(words)
        elif words != self.shown:
            print(words, file=sys.stderr, flush=True)
        self.shown = words

    def _pass_on(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            print("\nStopping after this step, with a checkpoint; once more: at once.", file=sys.stderr, flush=True)
            self.launched.stop()
        elif self.interrupts == 2:
            print("\nStopping at once; once more: killing it.", file=sys.stderr, flush=True)
            self.launched.interrupt()
        else:
            self.launched.kill()
