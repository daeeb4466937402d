"""A run that release 0.1.0 stopped in its middle goes on with today's code, as if nothing lay between.

`fixtures/stopped` was stopped by a signal after step 2 of 4; `fixtures/whole.json` says what the same release made of
steps 3 and 4 where it was not stopped. The student is tiny and random (`fixtures/start`), the teacher the shipped one:

    omniopd train embedded student.model=start student.max_tokens=24 audit.forks=3 audit.samples=2 task.prompts=16 \\
        training.steps=4 training.rollouts=4 training.micro_batch=2 training.learning_rate=0.01 training.save_every=2 \\
        training.record_every=1 training.probe_prompts=1 evaluation.problems=2 evaluation.samples=1 \\
        evaluation.temperatures=[0.0] evaluation.controls=[] --quiet --runs . --name stopped
"""

import json
import shutil
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.runs.store import open_run

FIXTURES = Path(__file__).parent / "fixtures"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The old run, a copy, from where it was started: its student's folder stands beside it."""
    for name in ("start", "stopped"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return Path("stopped")


def test_its_records_are_read(stopped):
    run = open_run(stopped)
    assert (run.state, run.status.step, run.status.steps) == ("interrupted", 2, 4)
    assert [record.step for record in run.steps()] == run.rollout_steps() == [1, 2]
    assert all(rollout.audits for rollout in run.rollouts(2))
    assert [(record.model, record.step) for record in run.evals()] == [("student", 0), ("teacher", 0)]


def test_its_remaining_steps_are_those_of_the_run_that_was_not_stopped(stopped, capsys):
    before = (stopped / "steps.jsonl").read_bytes()
    assert main(["train", "--resume", str(stopped), "--quiet"]) == 0
    capsys.readouterr()

    run, whole = open_run(stopped), json.loads((FIXTURES / "whole.json").read_text(encoding="utf-8"))
    assert run.state == "finished"
    assert (stopped / "steps.jsonl").read_bytes().startswith(before)
    assert [record.step for record in run.steps()] == [1, 2, 3, 4]
    for record, expected in zip(run.steps()[2:], whole["steps"], strict=True):
        # Another processor may round the last digits otherwise; a lost optimizer state changes the first ones.
        for name in ("loss", "chunk_loss", "anchor_loss"):
            assert getattr(record, name) == pytest.approx(expected[name], rel=1e-4), name
        assert record.metrics["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
        assert record.output_tokens == expected["output_tokens"]
        assert ["".join(rollout.pieces) for rollout in run.rollouts(record.step)] == expected["answers"]
    assert [(record.model, record.step) for record in run.evals()] == [("student", 0), ("teacher", 0), ("student", 4)]
