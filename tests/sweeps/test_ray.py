"""Jobs in a real Ray cluster of two nodes: one is lost in mid-study, then the driver; and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.io.locks import is_locked, lock
from omniopd.runs import open_run
from tests.cli.terminal import start
from tests.launch.small_notebooks import until
from tests.sweeps.ray_cluster import ENVIRONMENT
from tests.sweeps.small_study import figures, small_study, steps_of

pytest.importorskip("ray", reason="ray is not installed: pip install omniopd[cluster]")
from omniopd.sweeps.executors.ray import RayExecutor, _probe

STEPS = 12


@pytest.fixture(scope="module")
def cluster():
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "tests.sweeps.ray_cluster"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("127.0.0.1:"), "no cluster was started"
        process.address = address
        yield process
        process.stdin.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    small_study(tmp_path, STEPS)
    return tmp_path


def test_a_study_outlives_its_driver_and_a_node_and_figures_are_the_local_executors(here, cluster):
    assert main(["sweep", "small.toml", "--name", "local"]) == 0
    words = ["sweep", "small.toml", "--executor", "ray", "--address", cluster.address]
    paths = [here / f"runs/small/plain/seed={seed}" for seed in (0, 1)]
    driver = start(words)
    until(lambda: all(steps_of(path) for path in paths), 300)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    again = start(words)
    # Ray ends the tasks of the driver that is gone; those of the new one go on with the same runs.
    begun = [open_run(path).status.pid for path in paths]
    until(lambda: any(open_run(path).status.pid != pid for path, pid in zip(paths, begun, strict=True)), 300)
    cluster.stdin.write("kill 1\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "killed\n"
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert "2 tasks are in the Ray cluster" in err
    assert "(2 of 2 done)" in err
    for path in paths:
        assert [record.step for record in open_run(path).steps()] == list(range(1, STEPS + 1))
        assert figures(path) == figures(here / "runs/local/plain" / path.name)
    # More than any node has is not waited for.
    wide = subprocess.run(
        [sys.executable, "-m", "omniopd.cli.main", *words, "--name", "wide", "--ray", "num_cpus=64"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert wide.returncode == 2
    assert "no node of the cluster has 64 CPUs and 0 GPUs for a run; the most are 1 and 0" in wide.stderr


def test_an_address_without_a_cluster_is_one_sentence_before_anything_starts(here, capsys):
    assert main(["sweep", "small.toml", "--executor", "ray", "--address", "127.0.0.1:9"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "no Ray cluster answers at 127.0.0.1:9 (" in said
    assert "start one, `ray start --head`" in said
    assert not list(here.glob("runs/small/plain/*"))
    with pytest.raises(ConfigError, match="num_cpu is not an option of a Ray task here; did you mean 'num_cpus'"):
        RayExecutor("auto", {"num_cpu": 1})


def test_a_node_says_what_keeps_it_from_a_study(tmp_path, monkeypatch):
    probe, file = _probe(), tmp_path / "sweep.lock"
    assert probe(str(file), "9.9") == "has omniopd 0.1.0, and the sweep 9.9: install one version everywhere"
    assert probe(str(file), "0.1.0") == f"does not see {tmp_path}: give a folder that all nodes share, --runs"
    with lock(file):
        assert probe(str(file), "0.1.0") == ""
        assert is_locked(file)
        monkeypatch.setattr("os.access", lambda *_: False)
        assert probe(str(file), "0.1.0") == f"may not write {tmp_path}: give a folder that all nodes may write, --runs"
        monkeypatch.undo()
    assert probe(str(file), "0.1.0").startswith(f"does not see the locks of {tmp_path}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert probe(str(file), "0.1.0") == "lacks the package: pip install omniopd==0.1.0 there"
