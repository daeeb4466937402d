"""Jobs through submitit, in real processes of this machine: preempted, killed, found again, refused."""

from __future__ import annotations

import os
import re
import signal
import sys

import psutil
import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.runs import open_run
from tests.cli.terminal import start
from tests.launch.small_notebooks import until
from tests.sweeps.small_study import figures, small_study, steps_of

pytest.importorskip("submitit", reason="submitit is not installed: pip install omniopd[cluster]")
from omniopd.sweeps.executors.slurm import SlurmExecutor

HERE = ["--executor", "slurm", "--slurm", "cluster=local", "timeout_min=20"]
STEPS = 12


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    small_study(tmp_path, STEPS)
    return tmp_path


def job_of(path):
    """The process that submitit's queue started for a run that goes on."""
    return psutil.Process(open_run(path).status.pid).parent()


def test_a_preempted_job_is_requeued_and_goes_on_and_figures_are_the_local_executors(here):
    sweep = start(["sweep", "small.toml", *HERE])
    first, second = (here / f"runs/small/plain/seed={seed}" for seed in (0, 1))
    until(lambda: steps_of(first) >= 2)
    pid = open_run(first).status.pid
    # As SLURM does that takes a node back: it tells all processes of the job, and then submitit's by its own signal.
    job = job_of(first)
    for each in [*job.children(recursive=True), job]:
        each.send_signal(signal.SIGTERM)
    job.send_signal(signal.SIGUSR2)
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert "2 jobs were put into the queue" in err
    assert "plain, seed 1: finished after" in err
    assert "(2 of 2 done)" in err
    run = open_run(first)
    assert run.status.pid != pid
    said = first.with_name("seed=0.log").read_text()
    assert re.search(r"interrupted at step [1-9]\d* of 12", said), said
    assert "once more: at once" in said
    assert [record.step for record in run.steps()] == list(range(1, STEPS + 1))
    assert main(["sweep", "small.toml", "--seeds", "0", "--name", "local"]) == 0
    assert figures(first) == figures(here / "runs/local/plain/seed=0")
    assert open_run(second).state == "finished"


def test_a_killed_job_fails_its_run_and_the_same_command_resumes_it(here):
    words = ["sweep", "small.toml", "--seeds", "0", *HERE]
    sweep = start(words)
    path = here / "runs/small/plain/seed=0"
    until(lambda: steps_of(path) >= 2)
    job_of(path).kill()
    _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    # The run itself ended with its job, and left a checkpoint.
    assert "plain, seed 0: interrupted" in err or "plain, seed 0: failed" in err, err
    until(lambda: open_run(path).state == "interrupted")
    assert main(words) == 0
    assert [record.step for record in open_run(path).steps()] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"timeout_min": 5, "partitoin": "x"}, "partitoin is not a parameter of submitit's; did you mean 'partition'"),
        ({"partition": "gpu"}, "SLURM must know how long a job may take: give minutes, --slurm timeout_min=240"),
        ({"timeout_min": 5, "cluster": "lsf"}, "cluster is 'lsf': it is slurm, or local to try the same"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(parameters, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SlurmExecutor(parameters)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--executor", "slurm", "--slurm", "time=5"], "SLURM's queue cannot be used from here: Could not detect"),
        (["--executor", "slurm", "--slurm", "timeout_min=x", "cluster=local"], 'Parameter "timeout_min" expected type'),
        (["--slurm", "timeout_min=5"], "--slurm belongs to --executor slurm, and this sweep is local: give both"),
        (["--executor", "slurm", "--jobs", "2"], "--jobs belongs to this machine, and slurm has its own: leave it out"),
        (["--executor", "slurm", "--device", "cpu"], "--device belongs to this machine, and slurm has its own"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_nothing_is_begun(here, monkeypatch, capsys, words, sentence):
    monkeypatch.setenv("PATH", "")  # no machine of a SLURM cluster
    assert main(["sweep", "small.toml", *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "the same command goes on" not in line]
    assert len(said) == 1
    assert sentence in said[0]
    assert not list(here.glob("runs/small/plain/*"))


def test_an_executor_whose_library_is_missing_names_the_extra(here, monkeypatch, capsys):
    for name in ("submitit", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
        executor = "slurm" if name == "submitit" else name
        assert main(["sweep", "small.toml", "--executor", executor]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"--executor {executor} needs {name}, which is not installed" in said
        assert said.endswith("pip install omniopd[cluster]")


def test_a_folder_that_cannot_be_written_is_refused(here, capsys):
    (here / "runs").write_text("a file")
    assert main(["sweep", "small.toml", *HERE]) == 2
    assert "runs/small cannot be written (Not a directory)" in capsys.readouterr().err
