"""What `omniopd stop` says to go on with is the command that goes on with this run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.cli.stop import going_on_words
from omniopd.config import Recipe
from omniopd.launch.folder import Launch, write_launch
from omniopd.runs import create_run, open_run
from omniopd.runs.files.claims import held_words, lock_file, start_lock

ROOT = Path(__file__).parents[2]
GOES_ON = """
import signal, sys, time
from omniopd.runs.store import take_up
run = take_up(sys.argv[1])
run.set_status(state="running")
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    run.set_status(state="interrupted")
"""


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    run = create_run(tmp_path, Recipe(), "a run", command=())
    run.set_status(state="interrupted")
    return run.path


def test_the_words_are_those_of_the_kind_of_run(stopped: Path) -> None:
    assert going_on_words(str(stopped)) == f"omniopd train --resume '{stopped}'"
    with lock_file(start_lock(stopped)):  # as a study's sweep holds it
        assert going_on_words(str(stopped)) == f"the sweep that started it, or: omniopd train --resume '{stopped}'"
    write_launch(stopped, Launch("n.ipynb"))
    assert going_on_words(str(stopped)) == f"omniopd run --resume '{stopped}'"


@pytest.mark.parametrize("damage", [False, True])
def test_a_run_of_a_terminal_is_stopped_whatever_its_status_says(damage: bool, stopped: Path, capsys) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", GOES_ON, str(stopped)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    if damage:
        (stopped / "status.json").write_text("{")
    assert main(["stop", str(stopped)]) == 0
    assert child.wait(20) == 0
    child.stdout.close()
    assert open_run(stopped).state == "interrupted"
    assert f"go on with: omniopd train --resume '{stopped}'" in capsys.readouterr().err
    assert main(["stop", str(stopped)]) == 2
    assert "is not going on: it is interrupted" in capsys.readouterr().err


def test_the_run_of_another_machine_is_named_so_and_no_process_of_this_one_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:  # has here the number that the run's process has there
        with lock_file(tmp_path / "run.lock") as held:
            held.seek(0)
            held.write(f"{bystander.pid} node7".encode().ljust(100))
            assert main(["stop", "--kill", str(tmp_path)]) == 2
            said = capsys.readouterr().err
            assert f"{tmp_path} is being run on node7, which cannot be reached from here: stop it there" in said
            assert f"is being run by process {bystander.pid} on node7" in held_words(tmp_path)
            assert bystander.poll() is None
        bystander.kill()
