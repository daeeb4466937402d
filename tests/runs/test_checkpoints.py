"""The students that a run has left behind are found by name, and one that it does not keep is a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omniopd.errors import RunError
from omniopd.runs.checkpoints import checkpoint, kept
from omniopd.runs.store import open_run
from omniopd.training.trl.checkpoints import checkpoint_path
from tests.widgets import watched


@pytest.fixture
def run(tmp_path: Path):
    made = watched.run_in(tmp_path / "study", "seed=0", state="finished")
    for step in (20, 40):
        checkpoint_path(made.checkpoints, step).mkdir(parents=True)
    (made.checkpoints / ".staging-step-000060").mkdir()
    made.student.mkdir()
    return made


def test_a_run_alone_is_its_trained_student_and_0_the_one_it_began_with(run) -> None:
    assert checkpoint(run.path) == checkpoint(run)
    assert (checkpoint(run).model, checkpoint(run).label) == (str(run.student), "study/seed=0")
    before = checkpoint(f"{run.path}@0")
    assert (before.model, before.label, before.recipe) == ("embedded:student", "study/seed=0@0", run.recipe)


def test_a_step_is_the_folder_that_the_trainer_wrote(run) -> None:
    for written in ("20", "020"):
        found = checkpoint(f"{run.path}@{written}")
        assert (Path(found.model), found.label) == (checkpoint_path(run.checkpoints, 20), "study/seed=0@20")


def test_what_a_run_keeps_is_listed_in_order_and_what_is_being_written_is_not(run) -> None:
    assert kept(run) == ["0", "20", "40", ""]
    (run.path / "best").mkdir()
    assert kept(run) == ["0", "20", "40", "best", ""]
    assert Path(checkpoint(f"{run.path}@best").model) == run.path / "best"


def test_a_checkpoint_that_is_gone_is_one_sentence_with_those_that_are_there(run) -> None:
    shutil.rmtree(checkpoint_path(run.checkpoints, 20))
    with pytest.raises(RunError, match="keeps no student that is step 20: it has those that are untrained, step 40"):
        checkpoint(f"{run.path}@20")
    shutil.rmtree(run.student)
    with pytest.raises(RunError, match="keeps no student that is trained: it has those that are untrained, step 40"):
        checkpoint(run.path)
    with pytest.raises(RunError, match="is not a run"):
        checkpoint(f"{run.path.parent}/seed=9@20")


def test_another_name_is_a_models(tmp_path: Path) -> None:
    assert checkpoint("embedded:teacher").model == "embedded:teacher"
    assert checkpoint("embedded:teacher").recipe is None
    assert checkpoint(tmp_path / "deep" / "folder" / "model").label == "folder/model"


def test_an_at_sign_may_stand_in_a_runs_own_name(tmp_path: Path) -> None:
    path = watched.run_in(tmp_path, "lr@3", state="finished").path
    open_run(path).student.mkdir()
    assert checkpoint(path).label.endswith("lr@3")
    assert checkpoint(f"{path}@0").model == "embedded:student"
