"""A run in several processes that another one starts, as a notebook's kernel does: followed, stopped, gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from omniopd.errors import ConfigError, RunError
from omniopd.launch import attach, notebook_path, parameters_of, resume
from omniopd.launch.devices import device_of_several
from omniopd.launch.parameters import checked
from omniopd.models.sampling import sample
from omniopd.pipeline import together
from omniopd.pipeline.build import build_prompts, build_student, build_teacher
from omniopd.pipeline.processes import PROGRAM
from omniopd.pipeline.run import run_training
from omniopd.pipeline.session import Session
from omniopd.pipeline.together import execute_in
from omniopd.runs.files.claims import is_claimed, release
from omniopd.runs.store import Run, create_run, open_run
from omniopd.training.trl.checkpoints import newest_valid, step_of
from tests.cli.terminal import only_run, start, wait_for
from tests.launch.small_notebooks import until
from tests.pipeline.test_processes_end import texts
from tests.small_runs import as_words, small_recipe
from tests.teachers.faulty_server import in_a_process

processes_end = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
PATIENCE_S, SOON_S = 300, 30
QUICK = {"evaluation__temperatures": []}


def of_the_run(path: Path) -> list[psutil.Process]:
    """The processes that were started with the run's folder among their words."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(path) in words and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_two_processes_that_another_starts_make_the_run_of_one_which_is_never_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = run_training(small_recipe(**QUICK), tmp_path, "one", show=False)
    made = create_run(tmp_path, small_recipe(**QUICK), "two")
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            seen.add(open_run(made.path).state)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        two = execute_in(made, 2)
    finally:
        over.set()
        watcher.join()
    assert seen <= {"running", "finished"}
    assert two.state == "finished"
    assert two.manifest.hardware["processes"] == 2
    assert texts(two) == texts(one)
    assert "3 of 3 steps" in capsys.readouterr().err


@processes_end
def test_a_demo_of_two_processes_stops_with_a_checkpoint_goes_on_and_ends_with_its_kernel(tmp_path: Path) -> None:
    words = ["demo", *as_words(training__steps=2000, evaluation__temperatures="[]"), "--runs", str(tmp_path)]
    process = start([*words, "--processes", "2"])
    wait_for(process, lambda: list(tmp_path.glob("*/steps.jsonl")))
    run = only_run(tmp_path)
    assert len([p for p in of_the_run(run.path) if "RANK" in p.environ()]) == 2
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert run.state == "interrupted"
    assert f"interrupted at step {run.status.step} of 2000" in err
    done = step_of(newest_valid(run.checkpoints) or Path())
    assert 1 <= done == len(run.steps()) < 2000
    assert not of_the_run(run.path)

    launched = resume(run.path)
    until(lambda: len(run.steps()) > done or not launched.is_running(), PATIENCE_S)
    assert run.state == "running"
    os.kill(launched.process.kernel_pid, signal.SIGKILL)
    since = time.monotonic()
    assert launched.wait(PATIENCE_S)
    until(lambda: not of_the_run(run.path), SOON_S)
    assert time.monotonic() - since < SOON_S
    assert run.state in ("failed", "interrupted")
    assert attach(run.path).exit_code == 137


@processes_end
def test_processes_whose_launcher_is_killed_end_and_the_run_says_so(tmp_path: Path) -> None:
    words = ["demo", *as_words(training__steps=2000, evaluation__temperatures="[]"), "--runs", str(tmp_path)]
    process = start([*words, "--processes", "2"])
    wait_for(process, lambda: list(tmp_path.glob("*/steps.jsonl")))
    run = only_run(tmp_path)
    [launcher] = [p for p in of_the_run(run.path) if PROGRAM in p.cmdline()]
    launcher.kill()
    since = time.monotonic()
    process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - since < SOON_S
    assert process.returncode != 0
    assert run.state in ("interrupted", "failed")
    assert not of_the_run(run.path)


@processes_end
def test_an_interrupt_before_there_are_processes_ends_the_run(tmp_path: Path) -> None:
    words = ["demo", *as_words(training__steps=2000, evaluation__temperatures="[]"), "--runs", str(tmp_path)]
    process = start([*words, "--processes", "2"])

    def launched() -> bool:
        return any(PROGRAM in p.cmdline() for path in tmp_path.iterdir() for p in of_the_run(path))

    wait_for(process, launched)
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - since < SOON_S
    assert process.returncode == 130
    assert only_run(tmp_path).state == "interrupted"


@processes_end
def test_a_launcher_that_has_started_nothing_is_interrupted_itself() -> None:
    words = "try:\n    p._pass_on(signal.SIGINT, None)\nexcept KeyboardInterrupt:\n    print('told')"
    code = f"import signal, {PROGRAM} as p\n{words}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "told\n"


@pytest.mark.parametrize("broken", ["write_manifest", "set_status"])
def test_a_run_that_cannot_be_written_is_given_back(broken: str, tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise RunError("the disk is full")

    made = create_run(tmp_path, small_recipe(**QUICK), "one")
    release(made.path)
    monkeypatch.setattr(*((together, broken) if broken == "write_manifest" else (Run, broken)), full)
    with pytest.raises(RunError, match="the disk is full"):
        execute_in(made, 2)
    assert not is_claimed(made.path)


def test_a_teacher_that_a_notebook_has_asked_and_forgotten_leaves_the_ledger_to_the_training(tmp_path: Path) -> None:
    with in_a_process(words=2) as url:
        recipe = small_recipe(
            **QUICK, teacher__model="hosted_vllm/m", teacher__api_base=url, teacher__handover="instruction",
            teacher__usd_per_million_output=1.0, training__steps=1,
        )  # fmt: skip
        made = create_run(tmp_path, recipe, "hosted")
        student = build_student(recipe)
        [problem] = build_prompts(recipe)[:1]
        [rollout] = sample(student.model, student.tokenizer, [problem], max_tokens=8)
        looked_at = Session(recipe, student, build_teacher(recipe, None, made.path))
        looked_at.take(rollout)
        assert looked_at.ask_everywhere().audits
        del looked_at
        assert execute_in(made, 2, show=False).state == "finished"
    assert sum(step.output_tokens for step in open_run(made.path).steps()) > 0


def test_what_cannot_be_shared_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    parameters = parameters_of(notebook_path("train"))
    assert checked(parameters, {"processes": "2"}) == ({"processes": 2}, {})
    _, problems = checked(parameters, {"processes": "3", "recipe": "labels"})
    assert "which 3 processes cannot share" in problems["processes"]
    _, problems = checked(parameters, {"processes": 0})
    assert problems["processes"] == "processes is 0: give at least 1"
    made = create_run(tmp_path, small_recipe())
    with pytest.raises(ConfigError, match="which 3 processes cannot share"):
        execute_in(made, 3)


def test_processes_on_gpus_wait_for_no_single_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert [device_of_several(word, 2) for word in ("auto", "cpu", "none")] == ["none", "cpu", "none"]
    assert device_of_several("cuda:1", 1) == "cuda:1"
    with pytest.raises(ConfigError, match="device is 'cuda:1' and processes 2"):
        device_of_several("cuda:1", 2)
