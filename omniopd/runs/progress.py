"""One line that shows how far a run or an evaluation is, fed with records by the caller.

In a terminal a tqdm bar; in a notebook one line of text that is rewritten in place, so that an executed notebook keeps
only its last state; in a file or a pipe a line now and then. What is left comes first: a narrow terminal cuts the end.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from omniopd.io.texts import one_line
from omniopd.io.units import duration
from omniopd.records import EvalRecord, ProblemResult, StepRecord

_RECENT = 10  # steps that the time left is estimated from
_APART_S = 10.0  # of lines in a log


class Progress:
    """Counts what it is shown. `steps` is how many the run has, `done` how many were done before."""

    def __init__(self, steps: int, done: int = 0, sink: Sink | None = None) -> None:
        self.steps, self.done = steps, done
        self._sink = sink or default_sink(steps, done)
        self._doing = "starting"
        self._loss = self._accuracy = ""
        self._durations: list[float] = []
        self._evaluation = 0.0  # seconds of the student's first evaluation: the last one takes as long

    def doing(self, what: str) -> None:
        """Say what is being done, such as "measuring the teacher"."""
        self._doing = what
        self._refresh()

    def show(self, record: StepRecord | EvalRecord) -> None:
        if isinstance(record, StepRecord):
            self.done = record.step
            self._doing = "training"
            self._loss = f"loss {record.loss:.4f}"
            seconds = record.metrics.get("step_time", sum(record.seconds.values()))
            self._durations = [*self._durations, seconds][-_RECENT:]
        elif record.model == "student":
            self._accuracy = f"accuracy {100 * record.accuracy:.1f}% at temperature {record.temperature:g}"
            self._evaluation += record.seconds if record.step == 0 else 0.0
        self._refresh()

    def close(self, last: str) -> None:
        """The last state: "finished", "interrupted"."""
        self._doing = last
        self._durations = []
        self._refresh()
        self._sink.close()

    def time_left(self) -> str:
        """How long the remaining steps and the last evaluation; "" where nothing is known yet."""
        if not self._durations:
            return ""
        seconds = (self.steps - self.done) * sum(self._durations) / len(self._durations) + self._evaluation
        return f"{duration(seconds)} left"

    def _refresh(self) -> None:
        facts = " · ".join(fact for fact in (self.time_left(), self._loss, self._accuracy) if fact)
        self._sink.update(self.done, self._doing, facts)


class Measuring:
    """Counts the answers of an evaluation at several temperatures: problems done, right answers so far, time left.

    `plan`: temperatures with their answers a problem; `problems` at each.
    """

    def __init__(self, plan: Sequence[tuple[float, int]], problems: int, sink: Sink | None = None) -> None:
        self._answers = {temperature: problems * samples for temperature, samples in plan}
        self._problems = problems
        self._sink = sink or default_sink(sum(self._answers.values()), unit="answers")
        self._before = 0  # answers of the temperatures that are through
        self._temperature, self._done, self._answered, self._right = math.nan, 0, 0, 0.0
        self._started, self._found = time.perf_counter(), 0

    def begin(self, temperature: float) -> None:
        """The next evaluation is at this temperature."""
        if temperature != self._temperature:
            self._before += self._answers.get(self._temperature, 0)
        self._temperature, self._done, self._answered, self._right = temperature, 0, 0, 0.0
        self._refresh("")

    def show(self, results: Sequence[ProblemResult], found: bool = False) -> None:
        """Problems that were answered; `found`: by an earlier call, so that they say nothing about the speed."""
        self._done += len(results)
        answers = sum(result.samples for result in results)
        self._answered += answers
        self._found += answers if found else 0
        self._right += math.fsum(result.right / result.samples for result in results)
        fresh, every = self._before + self._answered - self._found, sum(self._answers.values())
        seconds = (every - self._before - self._answered) * (time.perf_counter() - self._started) / max(fresh, 1)
        self._refresh(f"{duration(seconds)} left" if fresh else "")

    def close(self) -> None:
        self._sink.close()

    def _refresh(self, left: str) -> None:
        right = f"{100 * self._right / self._done:.1f}% right" if self._done else ""
        what = f"temperature {self._temperature:g}, {self._done:,} of {self._problems:,} problems"
        self._sink.update(self._before + self._answered, what, " · ".join(fact for fact in (left, right) if fact))


class Sink(Protocol):
    """Where the line appears."""

    def update(self, done: int, doing: str, facts: str) -> None: ...

    def close(self) -> None: ...


class TerminalSink:
    """A tqdm bar on stderr."""

    def __init__(self, steps: int, done: int = 0, unit: str = "steps") -> None:
        from tqdm import tqdm

        terminal = getattr(sys.stderr, "raw", sys.stderr)  # beneath what escapes: a bar moves the cursor
        self._bar: Any = tqdm(
            total=steps, initial=done, mininterval=0.1, dynamic_ncols=True, file=terminal,
            bar_format=f"{{desc}} {{bar:20}} {{n_fmt}}/{{total_fmt}} {unit}{{postfix}}",
        )  # fmt: skip

    def update(self, done: int, doing: str, facts: str) -> None:
        self._bar.set_description_str(one_line(doing), refresh=False)
        self._bar.set_postfix_str(one_line(facts), refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.refresh()
        self._bar.close()


class LineSink:
    """Plain lines on stderr, ten seconds apart at least, and the last state: what a log file or a pipe can hold."""

    def __init__(self, steps: int, unit: str = "steps") -> None:
        self._steps, self._unit = steps, unit
        self._said, self._line = -math.inf, ""

    def update(self, done: int, doing: str, facts: str) -> None:
        self._line = _line(done, self._steps, self._unit, doing, facts)
        if time.monotonic() - self._said >= _APART_S:
            self._say()

    def close(self) -> None:
        if self._line:
            self._say()

    def _say(self) -> None:
        print(self._line, file=sys.stderr, flush=True)
        self._said, self._line = time.monotonic(), ""


class NotebookSink:
    """One display in the cell's output, rewritten in place."""

    def __init__(self, steps: int, unit: str = "steps") -> None:
        from IPython import display

        show: Any = display.display
        self._steps, self._unit = steps, unit
        self._handle: Any = show({"text/plain": "starting"}, raw=True, display_id=True)

    def update(self, done: int, doing: str, facts: str) -> None:
        line = _line(done, self._steps, self._unit, doing, facts)
        self._handle.update({"text/plain": line}, raw=True)

    def close(self) -> None:
        self._handle = None


def default_sink(steps: int, done: int = 0, unit: str = "steps") -> Sink:
    """A notebook's where this process is a kernel, a terminal's where one reads, else plain lines."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    in_kernel = shell is not None and hasattr(shell, "kernel")
    if in_kernel:
        return NotebookSink(steps, unit)
    return TerminalSink(steps, done, unit) if sys.stderr.isatty() else LineSink(steps, unit)


def _line(done: int, steps: int, unit: str, doing: str, facts: str) -> str:
    return one_line(f"{doing}: {done} of {steps} {unit}" + (f" · {facts}" if facts else ""))
