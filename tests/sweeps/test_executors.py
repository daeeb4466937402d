"""A sweep of a study's arms in real processes: killed and gone on with, stopped, refused where settings are mixed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace

import pytest

from omniopd.errors import ConfigError, RunError
from omniopd.io.locks import is_locked
from omniopd.launch.devices import devices_here
from omniopd.runs import create_run, open_run
from omniopd.runs.files.claims import lock_file, start_lock
from omniopd.runs.status import is_alive
from omniopd.sweeps import load_study, sweep_study
from omniopd.sweeps.executors import LocalExecutor
from omniopd.sweeps.sweep import devices_for, refuse_mixed
from tests.cli.terminal import start, wait_for
from tests.launch.small_notebooks import until
from tests.small_runs import settings

STEPS = 20


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = settings(training__steps=STEPS, training__threads=1, evaluation__before=False, evaluation__problems=4)
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in small.items()]
    text = f"""# A study for tests
recipe = "embedded"
reference = "plain"
seeds = [0, 1]
[settings]
{chr(10).join(lines)}
[trials]
seeds = [9]
[arms.plain]
evaluation.at = [10]
trials = [{{ training.steps = 12 }}]
[arms.shuffled]
seeds = [0]
like = "plain"
settings.objective.control = "shuffled"
[arms.broken]
seeds = [0]
settings.student.model = "nowhere/model"
[arms.endless]
seeds = [0]
settings.training.steps = 1000000
"""
    (tmp_path / "small.toml").write_text(text)
    return tmp_path


def steps_of(path):
    return path.joinpath("steps.jsonl").read_bytes().count(b"\n") if path.joinpath("steps.jsonl").exists() else 0


def test_two_sweeps_begun_together_carry_out_each_run_once(here):
    words = ["sweep", "small.toml", "--arms", "plain", "--seeds", "0", "--set", "training.steps=10"]
    both = [start(words), start(words)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("started" in words for words in said) == [False, True]
    assert any("goes on in another process" in words for words in said)
    run = open_run(here / "runs/small/plain/seed=0")
    assert (run.state, len(run.steps())) == ("finished", 10)


def test_a_claim_ends_with_the_process_that_holds_it(tmp_path):
    path = tmp_path / "runs/seed=0"
    own = lock_file(start_lock(path))
    assert own is not None
    assert is_locked(start_lock(path))
    assert lock_file(start_lock(path)) is None
    child = subprocess.Popen(["sleep", "60"], pass_fds=(own.fileno(),))
    own.close()
    assert is_locked(start_lock(path))
    child.kill()
    child.wait()
    assert not is_locked(start_lock(path))
    assert not is_locked(start_lock(tmp_path / "elsewhere"))


def test_a_sweep_killed_with_one_of_its_runs_goes_on_where_it_was(here):
    sweep = start(["sweep", "small.toml", "--arms", "plain", "shuffled", "--jobs", "2"])
    first, second = (here / "runs/small" / name / "seed=0" for name in ("plain", "shuffled"))
    wait_for(sweep, lambda: steps_of(first) and second.joinpath("manifest.json").exists())
    os.kill(sweep.pid, signal.SIGKILL)
    os.kill(open_run(first).status.pid, signal.SIGKILL)
    sweep.communicate()
    until(lambda: open_run(first).state == "lost")
    orphan = open_run(second).status

    said = []
    done = sweep_study(here / "small.toml", here / "runs", arms=["plain", "shuffled", "broken"], log=said.append)

    states = {str(one.planned): one.state for one in done.ended}
    assert states == {
        "plain, seed 0": "finished", "shuffled, seed 0": "finished", "broken, seed 0": "failed",
        "plain, seed 1": "finished",
    }  # fmt: skip
    [failed] = done.failed
    assert "nowhere/model" in failed.message
    assert any(line.startswith("plain, seed 0: resumed") for line in said)
    # The one that lived on without its sweep was waited for, not begun again.
    assert open_run(second).status.pid == orphan.pid
    assert any(line.startswith("plain, seed 1: finished after") and "of 4 done" in line for line in said)
    assert not failed.path.exists()  # what could not begin is not a run
    for one in done.ended:
        if one.state == "finished":
            run = open_run(one.path)
            assert run.recipe == one.planned.recipe
            assert [record.step for record in run.steps()] == list(range(1, STEPS + 1))
            at = (10, STEPS) if one.planned.arm == "plain" else (STEPS,)
            assert [(e.step, e.temperature) for e in run.evals()] == [(s, t) for s in at for t in (0.0, 1.0)]

    # Once more does nothing but what failed.
    before = {one.path: one.path.joinpath("status.json").read_bytes() for one in done.ended if one.state == "finished"}
    again = []
    done = sweep_study(here / "small.toml", here / "runs", arms=["plain", "shuffled"], log=again.append)
    assert done.failed == []
    assert len(again) == 1
    assert all(path.joinpath("status.json").read_bytes() == status for path, status in before.items())


def test_ctrl_c_stops_the_runs_with_a_checkpoint_and_the_command_says_130(here):
    sweep = start(["sweep", "small.toml", "--arms", "endless"])
    path = here / "runs/small/endless/seed=0"
    wait_for(sweep, lambda: steps_of(path) >= 2)
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert "Stopping the runs after their steps" in err
    run = open_run(path)
    assert run.state == "interrupted"
    assert not is_alive(run.status.pid, run.status.pid_started)
    assert run.checkpoints.joinpath(f"step-{run.status.step:06d}").is_dir()


def test_trials_are_run_and_judged(here):
    sweep = start(["sweep", "small.toml", "--trials", "--set", "evaluation.problems=2"])
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert "plain: steps=12 is best, and the study's tuned is none of the trials" in out
    assert "10 steps  12 steps" in out
    run = open_run(here / "runs/small/trials/plain/steps=12 seed=9")
    assert {len(e.problems) for e in run.evals()} == {2}


def test_a_run_of_other_settings_is_never_mixed_in(here):
    study = load_study(here / "small.toml")
    [planned] = study.runs(["plain"], [0])
    audit = replace(planned.recipe.audit, samples=7)
    training = replace(planned.recipe.training, threads=2)
    place = here / "runs" / planned.place
    create_run(place.parent, replace(planned.recipe, training=training), place.name).set_status(state="finished")
    # Where it computed may differ.
    assert [one.state for one in LocalExecutor(["cpu"]).run([planned], here / "runs")] == ["finished"]
    with pytest.raises(RunError, match=r"plain/seed=0 was run with audit.samples = 2, and the plan says 7: give the"):
        refuse_mixed([replace(planned, recipe=replace(planned.recipe, audit=audit))], here / "runs")
    with pytest.raises(RunError, match=r"was run with evaluation.problems = 4, and the plan says 5"):
        sweep_study("small.toml", "runs", ".", settings=["evaluation.problems=5"], log=print)
    assert not (here / "runs/shuffled").exists()


def test_a_run_that_was_killed_before_it_was_one_is_begun_anew(here, monkeypatch):
    [planned] = load_study(here / "small.toml").runs(["broken"])
    path = here / "runs" / planned.place
    path.joinpath("rollouts").mkdir(parents=True)
    path.joinpath("recipe.toml").write_text("half of a")
    [ended] = LocalExecutor(["cpu"]).run([planned], here / "runs")
    assert ended.state == "failed"
    assert "nowhere/model" in ended.message
    assert not path.exists()
    assert (here / "runs/broken/seed=0.log").read_text().count("omniopd: ") == 1


def test_as_many_runs_at_a_time_as_devices_or_cores(here, monkeypatch):
    [planned, *_] = load_study(here / "small.toml").runs()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)

    def trained(**changes):
        return replace(planned, recipe=replace(planned.recipe, training=replace(planned.recipe.training, **changes)))

    on_two, anywhere = trained(threads=2), trained(device="auto")
    assert devices_for([planned]) == ["cpu"] * 6
    assert devices_for([planned, on_two]) == ["cpu"] * 3
    assert devices_for([planned], jobs=1) == ["cpu"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert devices_here() == ["cuda:0", "cuda:1"]
    assert devices_for([anywhere]) == ["cuda:0", "cuda:1"]
    assert devices_for([planned]) == ["cpu"] * 6
    assert devices_for([anywhere], jobs=3, devices=["cuda:1", "cpu"]) == ["cuda:1", "cpu", "cuda:1"]
    with pytest.raises(ConfigError, match="jobs is 0: run at least one at a time"):
        devices_for([planned], jobs=0)
    with pytest.raises(ConfigError, match="'gpu' names no device"):
        devices_for([planned], devices=["gpu"])
