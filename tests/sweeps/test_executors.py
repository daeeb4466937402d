"""A sweep of a study's arms in real processes: killed and gone on with, stopped, refused where settings are mixed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from omniopd.cli.main import main
from omniopd.config import recipe_toml
from omniopd.errors import ConfigError, RunError
from omniopd.io.locks import is_locked
from omniopd.launch.devices import devices_here
from omniopd.runs import create_run, open_run
from omniopd.runs.files.claims import lock_file, start_lock
from omniopd.runs.status import is_alive
from omniopd.sweeps import load_study, sweep_study
from omniopd.sweeps.engine import carry_out
from omniopd.sweeps.executors.local import LocalExecutor
from omniopd.sweeps.sweep import devices_for, refuse_mixed
from tests.cli.terminal import start, wait_for
from tests.launch.small_notebooks import until
from tests.small_runs import small_recipe
from tests.sweeps.small_study import small_study, steps_of

STEPS = 20


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arms = """evaluation.at = [10]
trials = [{ training.steps = 12 }]
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
[trials]
seeds = [9]
"""
    small_study(tmp_path, STEPS, arms)
    return tmp_path


def test_of_two_sweeps_begun_together_one_is_refused_and_each_run_is_carried_out_once(here):
    words = ["sweep", "small.toml", "--arms", "plain", "--seeds", "0", "--set", "training.steps=10"]
    both = [start(words), start(words)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    [refused] = [words for process, words in zip(both, said, strict=True) if process.returncode == 2]
    assert re.search(r"runs/small is being carried out by another sweep \(process \d+\): wait for it, stop it", refused)
    run = open_run(here / "runs/small/plain/seed=0")
    assert (run.state, len(run.steps())) == ("finished", 10)


def test_each_printed_command_carries_out_its_run_alone_and_goes_on_where_it_was_stopped(here, capsys):
    sweep = ["sweep", "small.toml", "--arms", "plain", "shuffled", "--seeds", "0", "--print-jobs"]
    assert main(sweep) == 0
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert "2 of 2 runs of runs/small are to be done" in said.err
    path = here / "runs/small/plain/seed=0"
    assert shlex.split(first)[-2:] == ["job", str(path)]
    assert not path.exists()  # nothing was started
    # Wherever it is started, by any shell.
    job = subprocess.Popen(first, shell=True, cwd="/", stderr=subprocess.DEVNULL)
    until(lambda: steps_of(path))
    twin = subprocess.run(first, shell=True, cwd="/", capture_output=True, text=True)
    assert twin.returncode == 2
    assert f"{path} is being run by process {open_run(path).status.pid}: stop that one first" in twin.stderr
    os.kill(open_run(path).status.pid, signal.SIGTERM)
    assert job.wait() == 130
    assert subprocess.run(first, shell=True, cwd="/", capture_output=True).returncode == 0
    run = open_run(path)
    assert (run.state, [record.step for record in run.steps()]) == ("finished", list(range(1, STEPS + 1)))
    assert main(["job", str(path)]) == 0
    assert f"{path} has finished" in capsys.readouterr().err
    # The finished one is left out.
    assert main(sweep) == 0
    assert capsys.readouterr().out.splitlines() == [second]


def test_a_job_of_a_folder_that_no_sweep_has_planned_begins_nothing(tmp_path, capsys):
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=0" / "thesis.tex").write_text("years of work")
    assert main(["job", str(tmp_path / "seed=0")]) == 2
    assert "seed=0 is no run, and no sweep has left" in capsys.readouterr().err
    (tmp_path / "seed=0.toml").write_text(recipe_toml(small_recipe()))
    assert main(["job", str(tmp_path / "seed=0")]) == 2
    assert "holds files that are no run's" in capsys.readouterr().err
    assert (tmp_path / "seed=0" / "thesis.tex").read_text() == "years of work"


def test_a_job_that_is_tied_to_its_starter_ends_with_it(here):
    [planned] = load_study(here / "small.toml").runs(["endless"])
    path = here / "runs" / planned.place
    planned.prepare(path)
    starter = "import sys; from pathlib import Path; from omniopd.sweeps.job import attend, start; "
    starter += "attend(Path(sys.argv[1]), start(Path(sys.argv[1]), tied=True))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", starter, str(path)], env=environment)
    until(lambda: steps_of(path))
    process.kill()
    process.wait()
    until(lambda: open_run(path).state == "interrupted")
    assert not is_locked(start_lock(path))


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
    _, err = sweep.communicate(timeout=300)
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
    assert [one.state for one in carry_out([planned], here / "runs", LocalExecutor(["cpu"]))] == ["finished"]
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
    [ended] = carry_out([planned], here / "runs", LocalExecutor(["cpu"]))
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
