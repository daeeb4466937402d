"""The line of an evaluation counts problems, right answers and time, and starts where an earlier one stopped."""

from __future__ import annotations

import re

from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs import progress
from omniopd.runs.progress import Measuring, Progress


class Lines:
    """A sink that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, str]] = []
        self.closed = False

    def update(self, done: int, doing: str, facts: str) -> None:
        self.told.append((done, doing, facts))

    def close(self) -> None:
        self.closed = True


def results(count: int, right: int, samples: int) -> list[ProblemResult]:
    return [ProblemResult(f"p{at}", right, samples) for at in range(count)]


def test_problems_accuracy_and_time_left() -> None:
    lines = Lines()
    bar = Measuring([(0.0, 1), (1.0, 4)], problems=1000, sink=lines)
    bar.begin(0.0)
    bar.show(results(600, 1, 1))
    bar.show(results(400, 0, 1))
    bar.begin(1.0)
    bar.show(results(250, 2, 4))
    bar.close()
    assert [told[:2] for told in lines.told] == [
        (0, "temperature 0, 0 of 1,000 problems"), (600, "temperature 0, 600 of 1,000 problems"),
        (1000, "temperature 0, 1,000 of 1,000 problems"),
        (1000, "temperature 1, 0 of 1,000 problems"), (2000, "temperature 1, 250 of 1,000 problems"),
    ]  # fmt: skip
    assert re.fullmatch(r".* s left · 100\.0% right", lines.told[1][2])  # what a narrow terminal cuts off is the end
    assert lines.told[2][2].endswith(" left · 60.0% right")
    assert lines.told[4][2].endswith(" left · 50.0% right")
    assert lines.closed


def test_what_an_earlier_call_found_says_nothing_about_the_speed() -> None:
    lines = Lines()
    bar = Measuring([(1.0, 2)], problems=10, sink=lines)
    bar.begin(1.0)
    bar.show(results(4, 1, 2), found=True)
    assert lines.told[-1] == (8, "temperature 1, 4 of 10 problems", "50.0% right")
    bar.show(results(2, 2, 2))
    assert re.fullmatch(r".* s left · 66\.7% right", lines.told[-1][2])


def test_of_a_training_the_time_left_comes_first() -> None:
    lines = Lines()
    bar = Progress(10, sink=lines)
    bar.show(EvalRecord("student", "stories", "test", 0.0, 1, 0, 96, tuple(results(4, 1, 1)), 0, 20.0))
    assert lines.told[-1] == (0, "starting", "accuracy 100.0% at temperature 0")
    bar.show(StepRecord(1, 0.5, 0.5, 0.0, {"step_time": 2.0}))
    bar.show(StepRecord(2, 0.25, 0.25, 0.0, {"step_time": 4.0}))
    # 8 steps of 3 s, and the last evaluation; what a narrow terminal cuts off is the end
    assert lines.told[-1] == (2, "training", "44 s left · loss 0.2500 · accuracy 100.0% at temperature 0")
    bar.close("finished")
    assert lines.told[-1] == (2, "finished", "loss 0.2500 · accuracy 100.0% at temperature 0")


def test_a_pipe_gets_lines_and_no_carriage_return(monkeypatch, capsys) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    sink = progress.default_sink(40)
    for step in range(1, 41):
        now += 1.0
        sink.update(step, "training", "1 s left · loss 0.1000")
    sink.close()
    said = capsys.readouterr().err
    assert "\r" not in said
    steps = (1, 11, 21, 31, 40)
    assert said.splitlines() == [f"training: {step} of 40 steps · 1 s left · loss 0.1000" for step in steps]
