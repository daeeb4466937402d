"""A run is one process's at a time, from before anything of it is looked at until that process ends, whatever clocks
say: real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import omniopd
from omniopd.config import Recipe
from omniopd.errors import RunError
from omniopd.runs import create_run, open_run
from omniopd.runs.files.claims import LOCK, claim, release
from omniopd.runs.status import start_of
from omniopd.runs.store import Run, take_up

ROOT = Path(__file__).parents[2]
PAIRS = 22

# Takes up one run a line of its input, at the moment that the line names, and keeps what it got.
TAKES = """
import sys, time
from omniopd.errors import RunError
from omniopd.runs.store import take_up

print("ready", flush=True)
for line in sys.stdin:
    moment, path = line.split(maxsplit=1)
    while time.time() < float(moment):
        pass
    try:
        run = take_up(path.strip())
        run.set_status(state="running", step=run.status.step + 1)
        print("took it", flush=True)
    except RunError as error:
        print(error, flush=True)
"""


@pytest.fixture
def two() -> Iterator[list[subprocess.Popen[str]]]:
    words = [sys.executable, "-c", TAKES]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    children = [subprocess.Popen(words, **pipes) for _ in range(2)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    yield children
    for child in children:
        child.kill()
        child.communicate()


def stopped(folder: Path, name: str) -> Run:
    run = create_run(folder, Recipe(), name)
    run.set_status(state="interrupted", step=3)
    return run


def ask(child: subprocess.Popen[str], run: Run, moment: float = 0.0) -> None:
    child.stdin.write(f"{moment} {run.path}\n")
    child.stdin.flush()


def test_of_two_that_resume_a_run_at_once_one_goes_on_and_the_other_says_who(tmp_path: Path, two) -> None:
    for number in range(PAIRS):
        run = stopped(tmp_path, f"run-{number}")
        moment = time.time() + 0.02
        for child in two:
            ask(child, run, moment)
        said = [child.stdout.readline().strip() for child in two]
        assert said.count("took it") == 1, said
        winner, loser = two[said.index("took it")], said[1 - said.index("took it")]
        assert loser.startswith(f"{run.path} is being run by process {winner.pid}: stop that one first")
        assert (run.state, run.status.pid, run.status.step) == ("running", winner.pid, 4)


def test_a_clock_that_is_set_makes_no_living_run_lost_and_a_kill_does_at_once(tmp_path: Path, two) -> None:
    run = stopped(tmp_path, "run")
    ask(two[0], run)
    two[0].stdout.readline()
    status = json.loads((run.path / "status.json").read_text())
    for started in (status["pid_started"] - 3600, status["pid_started"] + 7200, time.time(), 0.0):
        (run.path / "status.json").write_text(json.dumps(status | {"pid_started": started}))
        assert run.state == "running"
        assert omniopd.runs.table(tmp_path).loc["run", "state"] == "running"
        with pytest.raises(RunError, match=f"process {two[0].pid}"):
            take_up(run.path)
    two[0].send_signal(signal.SIGKILL)
    two[0].wait()
    # Its number may be given to a process that began when it did: this one.
    own = {"pid": os.getpid(), "pid_started": start_of(os.getpid())}
    (run.path / "status.json").write_text(json.dumps(status | own))
    assert (run.state, run.status.state) == ("lost", "running")
    ask(two[1], run)
    assert two[1].stdout.readline() == "took it\n"


def test_a_run_of_an_older_version_goes_on_as_long_as_its_process_lives(tmp_path: Path) -> None:
    import psutil

    run = stopped(tmp_path, "run")
    (run.path / LOCK).unlink()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    status = json.loads((run.path / "status.json").read_text()) | {"state": "running", "pid": child.pid}
    status["pid_started"] = psutil.Process(child.pid).create_time()  # as that version wrote it
    (run.path / "status.json").write_text(json.dumps(status))
    assert run.state == "running"
    child.kill()
    child.wait()
    assert run.state == "lost"
    assert take_up(run.path).status.step == 3
    release(run.path)


def test_who_says_that_a_run_goes_on_has_it_in_hand_until_it_says_otherwise(tmp_path: Path, two) -> None:
    run = create_run(tmp_path, Recipe(), "mine")
    with pytest.raises(RunError, match=f"by process {os.getpid()}"):
        take_up(run.path)  # another thread's, or a cell's that was begun before
    ask(two[0], run)
    assert f"by process {os.getpid()}" in two[0].stdout.readline()
    run.set_status(state="failed")
    ask(two[0], run)
    assert two[0].stdout.readline() == "took it\n"
    with pytest.raises(RunError, match=f"by process {two[0].pid}"):
        run.set_status(state="running")
    with pytest.raises(RunError, match=f"by process {two[0].pid}"):
        claim(run.path)


def test_a_child_that_inherits_keeps_the_claim_of_a_process_that_was_killed(tmp_path: Path) -> None:
    run = stopped(tmp_path, "run")
    forks = "import os, sys, time\nfrom omniopd.runs.store import take_up\ntake_up(sys.argv[1])\n" \
            "child = os.fork()\nif child:\n    print(child, flush=True)\ntime.sleep(60)"  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", forks, str(run.path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with pytest.raises(RunError, match="is being run by process"):
        take_up(run.path)
    os.kill(child, signal.SIGKILL)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            take_up(run.path)
            break
        except RunError:
            time.sleep(0.02)
    release(run.path)
    assert time.monotonic() < until


def test_two_that_make_a_run_of_one_name_at_once_make_one(tmp_path: Path) -> None:
    makes = "import sys\nfrom omniopd.config import Recipe\nfrom omniopd.runs import create_run\n" \
            "from omniopd.errors import RunError\nprint('ready', flush=True)\nsys.stdin.readline()\n" \
            "for i in range(6):\n    try:\n        create_run(sys.argv[1], Recipe(), f'run-{i}', ())\n" \
            "        print(i, flush=True)\n    except RunError:\n        pass"  # fmt: skip
    words = [sys.executable, "-c", makes, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    both = [subprocess.Popen(words, **pipes) for _ in range(2)]
    for child in both:
        child.stdout.readline()
    for child in both:
        child.stdin.write("go\n")
        child.stdin.flush()
    made = [int(word) for child in both for word in child.communicate(timeout=60)[0].split()]
    assert sorted(made) == list(range(6))
    assert all(open_run(tmp_path / f"run-{i}").recipe == Recipe() for i in range(6))


def test_a_folder_that_cannot_be_locked_is_one_sentence(tmp_path: Path) -> None:
    run = stopped(tmp_path, "run")
    (run.path / LOCK).unlink()
    (run.path / LOCK).mkdir()
    with pytest.raises(RunError, match=r"run\.lock cannot be locked .*: copy the run to a folder that you may write"):
        take_up(run.path)
    assert run.state == "interrupted"
