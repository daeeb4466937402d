"""A run killed at any moment and resumed ends as if nothing had happened, to the bit."""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from omniopd.config import load_recipe
from omniopd.pipeline.run import resume_training, run_training
from omniopd.runs.store import open_run
from omniopd.teachers.local import LocalTeacher
from omniopd.training.trl import checkpoints

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

# Two steps go once over all prompts: a run is killed and resumed in its second or third epoch.
SMALL = {
    "training.steps": 6, "training.rollouts": 4, "training.micro_batch": 2, "training.save_every": 2,
    "training.record_every": 1, "training.device": "cpu", "training.threads": 1, "student.max_tokens": 48,
    "audit.forks": 3, "audit.samples": 2, "audit.chunk_tokens": 3, "task.prompts": 8, "evaluation.problems": 2,
    "evaluation.samples": 1, "evaluation.temperatures": [0.0], "evaluation.controls": [], "training.probe_prompts": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert in_a_child(run_training, load_recipe("labels", **SMALL), folder, show=False) == 0
    return run_in(folder)


@pytest.mark.parametrize("moment", ["while the teacher answers", "while a checkpoint is written", "after a step"])
def test_a_killed_and_resumed_run_ends_bit_identical(whole, tmp_path, moment):
    status = in_a_child(run_training, load_recipe("labels", **SMALL), tmp_path, show=False, kill=moment)
    assert status == -signal.SIGKILL
    killed = run_in(tmp_path)
    assert killed.state == "lost"
    assert in_a_child(resume_training, killed.path, show=False) == 0

    resumed = open_run(killed.path)
    assert resumed.state == "finished"
    assert digests(resumed) == digests(whole)
    assert [comparable(r) for r in resumed.steps()] == [comparable(r) for r in whole.steps()]
    assert [r.step for r in resumed.steps()] == list(range(1, 7))
    for step in range(1, 7):
        assert resumed.rollouts(step) == whole.rollouts(step)


def in_a_child(work, *arguments, kill=None, **options):
    """Runs `work` in a forked process, which shares this one's imports; returns its exit status."""

    def child():
        if kill:
            arm(kill)
        work(*arguments, **options)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


def arm(moment):
    """Has this process kill itself at a moment in the middle of the run."""

    def killing(original, call):
        calls = iter(range(1, 1000))

        def wrapped(*arguments, **options):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return wrapped

    if moment == "while the teacher answers":
        # In step 3: of its probe, which is asked about after the batch.
        LocalTeacher.continue_from = killing(LocalTeacher.continue_from, 6)
    elif moment == "while a checkpoint is written":
        checkpoints.commit = killing(checkpoints.commit, 2)
    else:
        from omniopd.runs.store import Run

        Run.write_rollouts = killing(Run.write_rollouts, 5)


def run_in(folder: Path):
    [manifest] = folder.glob("*/manifest.json")
    return open_run(manifest.parent)


def digests(run):
    """sha256 of every file with weights or optimizer state: of the last checkpoint, and of the student."""
    files = [*run.path.glob("checkpoints/step-000006/*"), *run.path.glob("student/*")]
    wanted = [f for f in files if f.suffix in (".safetensors", ".pt", ".pth")]
    assert len(wanted) >= 3
    return {f.relative_to(run.path).as_posix(): digest(f) for f in wanted}


def digest(file):
    content = file.read_bytes()
    if file.name == "rng_state.pth":
        # Python's own generator drives nothing here but the type checks of these tests, which draw what they look at.
        states = torch.load(file, weights_only=False)
        content = repr([states["numpy"][1].tolist(), states["numpy"][2:], states["cpu"].tolist()]).encode()
    return hashlib.sha256(content).hexdigest()


def comparable(record):
    """A step record without what a clock wrote."""
    timed = ("seconds", "time", "runtime", "per_second")
    metrics = {k: v for k, v in record.metrics.items() if not any(word in k for word in timed)}
    return dataclasses.replace(record, metrics=metrics, seconds={})
