"""A follower sees each record once, whole, and begins again where records were set aside."""

from __future__ import annotations

import os
import shutil

import pytest

from omniopd.config import Recipe
from omniopd.records import EvalRecord, RolloutRecord, StepRecord, record_json
from omniopd.runs import create_run
from omniopd.runs.following import Follower
from omniopd.runs.store import Run


def step(number: int, loss: float = 0.5) -> StepRecord:
    return StepRecord(number, loss, 0.4, 0.1)


@pytest.fixture
def run(tmp_path) -> Run:
    return create_run(tmp_path, Recipe(), name="run")


def test_a_new_run_has_nothing_yet(run):
    update = Follower(run.path).look()
    assert (update.steps, update.evals, update.rollout_steps) == ((), (), ())
    assert update.state == "running"
    assert not update.is_over


def test_each_record_comes_once(run):
    follower = Follower(run.path)
    run.append(step(1))
    assert [s.step for s in follower.look().steps] == [1]
    assert follower.look().steps == ()
    run.append(step(2))
    run.append(step(3))
    run.append(EvalRecord("student", "stories", "test", 1.0, 1, 0, 64, (), 3))
    run.write_rollouts(3, [RolloutRecord(0, 3, "p", (), ("a",), (-0.5,), (0.5,))])
    update = follower.look()
    assert [s.step for s in update.steps] == [2, 3]
    assert [e.step for e in update.evals] == [3]
    assert update.rollout_steps == (3,)
    assert [s.step for s in follower.steps] == [1, 2, 3]
    assert not update.restarted


def test_a_line_arrives_when_it_is_whole(run):
    follower = Follower(run.path)
    line = record_json(step(1)).encode() + b"\n"
    for cut in range(len(line)):
        (run.path / "steps.jsonl").write_bytes(line[:cut])
        assert follower.look().steps == ()
    (run.path / "steps.jsonl").write_bytes(line)
    assert follower.look().steps == (step(1),)


def test_after_a_resume_the_follower_begins_again(run):
    follower = Follower(run.path)
    for number in range(1, 6):
        run.append(step(number))
    follower.look()
    run.set_aside_after(3)
    run.append(step(4, 0.9))
    update = follower.look()
    assert update.restarted
    assert [(s.step, s.loss) for s in update.steps] == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.9)]
    assert follower.steps == list(update.steps)


def test_a_resumed_run_that_has_grown_past_the_old_length_is_noticed_even_in_the_same_file(run):
    follower = Follower(run.path)
    for number in range(1, 4):
        run.append(step(number))
    follower.look()
    file = run.path / "steps.jsonl"
    text = "".join(record_json(step(number, 0.7)) + "\n" for number in range(1, 9))
    with open(file, "r+") as handle:  # the same inode, longer than before
        handle.write(text)
    update = follower.look()
    assert update.restarted
    assert len(update.steps) == 8


def test_everything_set_aside_is_a_restart_to_nothing(run):
    follower = Follower(run.path)
    run.append(step(1))
    follower.look()
    run.set_aside_after(0)
    update = follower.look()
    assert update.restarted
    assert follower.steps == []
    assert not follower.look().restarted


def test_a_line_that_cannot_be_read_is_named_and_passed_over(run):
    follower = Follower(run.path)
    run.append(step(1))
    with open(run.path / "steps.jsonl", "a") as file:
        file.write("not a record\n")
    run.append(step(2))
    update = follower.look()
    assert [s.step for s in update.steps] == [1, 2]
    assert update.problems[0].startswith("line 2 of steps.jsonl cannot be read")


def test_a_run_whose_files_are_gone_gives_nothing_and_does_not_fail(run):
    follower = Follower(run.path)
    run.append(step(1))
    follower.look()
    for name in ("steps.jsonl", "status.json"):
        os.remove(run.path / name)
    update = follower.look()
    assert update.restarted
    assert update.steps == ()
    assert (update.status.step, update.state) == (0, "running")  # this process has it in hand, whatever its files say
    shutil.rmtree(run.path)
    assert follower.look().status is None


def test_it_is_over_when_the_run_says_so(run):
    follower = Follower(run)
    run.set_status(state="finished")
    assert follower.look().is_over
