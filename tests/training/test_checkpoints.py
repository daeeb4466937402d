"""A checkpoint is visible whole or not at all, and one that was damaged is noticed and passed over."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from omniopd.errors import CheckpointError
from omniopd.training.trl import checkpoints
from omniopd.training.trl.checkpoints import (
    checkpoint_path,
    commit,
    newest_valid,
    problem,
    rotate,
    staged,
    staging_path,
    step_of,
)


def write(folder: Path, step: int, weights: bytes = b"weights" * 1000) -> Path:
    final = checkpoint_path(folder, step)
    with staged(final) as staging:
        (staging / "model.safetensors").write_bytes(weights)
        (staging / "inner").mkdir()
        (staging / "inner" / "rng_state.pth").write_bytes(bytes(range(256)))
    return final


def test_a_committed_checkpoint_is_whole_and_named_by_its_step(tmp_path):
    path = write(tmp_path, 20)
    assert path.name == "step-000020"
    assert step_of(path) == 20
    assert problem(path) is None
    assert newest_valid(tmp_path) == path
    files = json.loads((path / "checkpoint.json").read_text())["files"]
    assert {name: facts["bytes"] for name, facts in files.items()} == {
        "model.safetensors": 7000,
        "inner/rng_state.pth": 256,
    }


def test_without_checkpoints_there_is_no_newest(tmp_path):
    assert newest_valid(tmp_path) is None
    assert newest_valid(tmp_path / "not there") is None


def test_an_error_while_writing_leaves_the_earlier_ones_only(tmp_path):
    first = write(tmp_path, 20)
    with pytest.raises(IsADirectoryError), staged(checkpoint_path(tmp_path, 40)) as staging:
        staging.write_bytes(b"a folder is not a file")
    assert [p.name for p in tmp_path.iterdir()] == [first.name]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence_that_names_the_folder(tmp_path, error):
    first = write(tmp_path, 20)
    with pytest.raises(CheckpointError, match=f"the disk of {tmp_path} is full"), staged(checkpoint_path(tmp_path, 40)):
        raise error
    assert [p.name for p in tmp_path.iterdir()] == [first.name]


@pytest.mark.parametrize(
    "words",
    ["PytorchStreamWriter failed writing file data/0", "[enforce fail at inline_container.cc:672] unexpected pos 2"],
)
def test_what_torch_says_of_a_short_file_means_a_full_disk_where_nothing_is_free(tmp_path, monkeypatch, words):
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(CheckpointError, match="is full"), staged(checkpoint_path(tmp_path, 20)):
        raise RuntimeError(words)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match=re.escape(words)), staged(checkpoint_path(tmp_path, 20)):
        raise RuntimeError(words)


# The writer ends its own life with SIGKILL: inside the body, or just before a system call that Python announces.
WRITER = """
import os, signal, sys
from pathlib import Path
from omniopd.training.trl.checkpoints import checkpoint_path, rotate, staged

folder, step, event, count = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watch(name, args):
    global count
    if name == event and "step-" in str(args[0]):
        count -= 1
        if count == 0:
            die()

sys.addaudithook(watch)
with staged(checkpoint_path(folder, step)) as staging:
    (staging / "optimizer.pt").write_bytes(b"o" * 5000)
    with open(staging / "model.safetensors", "wb") as file:
        file.write(b"half a fi")
        file.flush()
        if event == "body":
            die()
        file.write(b"le, now whole")
rotate(folder)
"""


@pytest.mark.parametrize(
    ("step", "event", "count", "newest"),
    [
        pytest.param(60, "body", 1, 40, id="while a file is written"),
        pytest.param(60, "os.rename", 1, 40, id="everything written, not yet renamed"),
        pytest.param(40, "os.rename", 2, 40, id="between the two renames that replace a checkpoint"),
        pytest.param(60, "os.rename", 2, 60, id="before the oldest is removed"),
        pytest.param(60, "shutil.rmtree", 2, 60, id="while the oldest is removed"),
    ],
)
def test_a_kill_never_leaves_an_unusable_newest_checkpoint(tmp_path, step, event, count, newest):
    for earlier in (20, 40):
        write(tmp_path, earlier)
    words = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(step), event, str(count)]
    done = subprocess.run(words, check=False, cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    found = newest_valid(tmp_path)
    assert found is not None
    assert step_of(found) == newest
    visible = [p for p in tmp_path.iterdir() if p.name.startswith("step-")]
    assert all(problem(p) is None for p in visible)
    # The next writer goes on from there and clears what was left.
    write(tmp_path, 80)
    rotate(tmp_path)
    assert [step_of(p) for p in sorted(tmp_path.iterdir(), key=step_of)] == [max(newest, 40), 80]


def test_a_flipped_byte_anywhere_is_noticed(tmp_path):
    path = write(tmp_path, 20)
    rng = random.Random(0)
    files = [p for p in path.rglob("*") if p.is_file()]
    for _ in range(60):
        file = rng.choice(files)
        before = file.read_bytes()
        place, mask = rng.randrange(len(before)), rng.randrange(1, 256)
        file.write_bytes(before[:place] + bytes([before[place] ^ mask]) + before[place + 1 :])
        assert problem(path) is not None, (file, place, mask)
        file.write_bytes(before)
    assert problem(path) is None


def test_every_flip_of_the_manifest_is_noticed(tmp_path):
    path = write(tmp_path, 20)
    manifest = path / "checkpoint.json"
    before = manifest.read_bytes()
    for place in range(len(before)):
        manifest.write_bytes(before[:place] + bytes([before[place] ^ 7]) + before[place + 1 :])
        assert problem(path) is not None, place


def test_a_cut_or_missing_file_is_named(tmp_path):
    path = write(tmp_path, 20)
    os.truncate(path / "model.safetensors", 6999)
    assert problem(path) == f"{path / 'model.safetensors'} has 6999 bytes instead of 7000"
    (path / "model.safetensors").unlink()
    assert problem(path) == f"{path / 'model.safetensors'} is missing"
    (path / "checkpoint.json").unlink()
    assert "was not finished" in problem(path)


def test_a_damaged_newest_is_passed_over_with_a_sentence(tmp_path, caplog):
    write(tmp_path, 20)
    good, bad = write(tmp_path, 40), write(tmp_path, 60)
    os.truncate(bad / "model.safetensors", 10)
    with caplog.at_level(logging.WARNING):
        assert newest_valid(tmp_path) == good
    assert str(bad / "model.safetensors") in caplog.text
    assert "older checkpoint" in caplog.text


def test_rotation_keeps_the_newest_whole_ones_and_never_fewer_than_two(tmp_path):
    for step in (20, 40, 60, 80):
        write(tmp_path, step)
    removed = rotate(tmp_path, keep=1)
    assert [p.name for p in removed] == ["step-000040", "step-000020"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000060", "step-000080"]


def test_rotation_counts_damaged_ones_for_nothing(tmp_path):
    for step in (20, 40, 60, 80):
        write(tmp_path, step)
    for step in (40, 60, 80):
        os.truncate(checkpoint_path(tmp_path, step) / "model.safetensors", 10)
    rotate(tmp_path, keep=2)
    assert newest_valid(tmp_path) == checkpoint_path(tmp_path, 20)


def test_rotation_removes_nothing_where_nothing_is_whole(tmp_path):
    for step in (20, 40, 60):
        os.truncate(write(tmp_path, step) / "model.safetensors", 10)
    assert rotate(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 3


def test_a_step_written_again_replaces_the_one_before(tmp_path):
    write(tmp_path, 20, b"one")
    path = write(tmp_path, 20, b"two")
    assert problem(path) is None
    assert (path / "model.safetensors").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_a_checkpoint_is_refused(tmp_path):
    final = checkpoint_path(tmp_path, 20)
    with pytest.raises(CheckpointError, match="is not a folder beside"):
        commit(staging_path(final), final)
    staging_path(final).mkdir()
    with pytest.raises(CheckpointError, match="is empty"):
        commit(staging_path(final), final)
    with pytest.raises(CheckpointError, match="not named like a checkpoint"):
        commit(staging_path(final), tmp_path / "last")
    assert "not named like a checkpoint" in problem(tmp_path / "last")
