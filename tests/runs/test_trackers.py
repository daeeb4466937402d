"""A tracker gets every number that a run records, under readable names, and no more; training does not depend on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.pipeline import run as job
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs import Run
from omniopd.runs import trackers as tracking
from tests.small_runs import STEPS, as_words, small_recipe

MISSING = [name for name in ("tensorboard", "wandb", "trackio") if find_spec(name) is None]
EVAL = EvalRecord(
    "control: self_teacher", "stories", "test", 0.3, 2, 0, 8,
    (ProblemResult("a", 1, 2, readable=2, mean_tokens=4.0), ProblemResult("b", 0, 2, truncated=2, mean_tokens=6.0)),
)  # fmt: skip


class PartialResults:
    """Where a tracker's numbers go in these tests."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def send(self, numbers: Mapping[str, float], step: int) -> None:
        self.numbers.append((step, dict(numbers)))

    def close(self) -> None:
        self.closed += 1


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, tracker: tracking.Tracker) -> Run:
    @contextmanager
    def ours(run: Run) -> Iterator[tracking.Tracker]:
        yield tracker
        tracker.close()

    monkeypatch.setattr(job, "tracking", ours)
    return job.run_training(small_recipe(), folder, show=False)


def test_every_step_and_every_evaluation_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = PartialResults()
    run = trained(tmp_path, monkeypatch, tracking.Tracker(kept.send, kept.close, "ours"))
    losses = [(step, numbers["train/loss"]) for step, numbers in kept.numbers if "train/loss" in numbers]
    assert losses == [(s.step, s.loss) for s in run.steps()]
    named = "eval/student/test-3/T1/accuracy"
    accuracies = [(step, numbers[named]) for step, numbers in kept.numbers if named in numbers]
    assert accuracies == [(e.step, e.accuracy) for e in run.evals() if (e.model, e.temperature) == ("student", 1.0)]
    assert len(kept.numbers) == STEPS + len(run.evals())
    assert kept.closed == 1


def test_names_say_what_and_where() -> None:
    record = StepRecord(4, 1.5, 1.0, 0.5, {"targets/mean": 0.2}, {"timeout": 2, "refused": 1}, seconds={"teacher": 3.0})
    step = tracking.step_numbers(record)
    assert step["train/targets/mean"] == 0.2
    assert step["train/seconds/teacher"] == 3.0
    assert (step["train/failures"], step["train/cost_usd"]) == (3, 0.0)
    found = tracking.eval_numbers(EVAL)
    where = "eval/control_self_teacher/test-2/T0.3"
    assert found[f"{where}/accuracy"] == 0.25
    assert found[f"{where}/cut_off"] == found[f"{where}/readable"] == 0.5
    assert found[f"{where}/pass_at_2"] == 0.5
    assert found[f"{where}/mean_tokens"] == 5.0


def test_a_tracker_that_breaks_costs_a_warning_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(numbers: Mapping[str, float], step: int) -> None:
        raise OSError("the disk is full")

    with caplog.at_level(logging.WARNING):
        run = trained(tmp_path, monkeypatch, tracking.Tracker(broken, lambda: None, "ours"))
    assert run.state == "finished"
    [said] = [r.getMessage() for r in caplog.records if r.name == "omniopd.runs.trackers"]
    assert said == "ours gets nothing more of this run: OSError: the disk is full"


@pytest.mark.skipif(not MISSING, reason="every tracker is installed")
def test_a_missing_tracker_is_told_before_a_run_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = as_words(training__report_to=MISSING[0])
    assert main(["train", "embedded", *words, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f'training.report_to is "{MISSING[0]}", which is not installed: pip install {MISSING[0]}' in said
    assert "pip install 'omniopd[trackers]'" in said
    assert not list(tmp_path.iterdir())


def test_an_unknown_tracker_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"training.report_to is 'tensorbord': did you mean 'tensorboard'\?"):
        small_recipe(training__report_to="tensorbord")


def test_no_address_is_sent() -> None:
    recipe = small_recipe(teacher__api_base="https://secret.example:8443/v1")
    sent = tracking._config(SimpleNamespace(recipe=recipe, manifest=SimpleNamespace(created="now")))
    assert sent["audit.samples"] == 2
    assert not any("secret.example" in str(value) for value in sent.values())


def test_tensorboard_s_files_stand_in_the_run_and_a_resumed_one_replaces_its_later_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = job.run_training(small_recipe(training__report_to="tensorboard"), tmp_path, show=False)
    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == [1, 2, 3]
    assert [event.step for event in read.Scalars("eval/student/test-3/T1/accuracy")] == [0, 3]
    run.set_status(step=1)
    with tracking.tracking(run) as again:
        assert again is not None
        again.show(run.steps()[1])
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == [1, 2]


@pytest.mark.skipif("trackio" in MISSING or "wandb" in MISSING, reason="trackio or wandb is not installed")
def test_trackio_and_wandb_write_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    for name, files in (("trackio", "trackio/omniopd.db"), ("wandb", "wandb/offline-run-*/*.wandb")):
        run = job.run_training(small_recipe(training__report_to=name), tmp_path, name, show=False)
        assert list(run.path.glob(files)), name
