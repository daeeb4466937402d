"""The students that a run has left behind are found by name, and one that it does not keep is a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omniopd.errors import RunError
from omniopd.runs import mirror
from omniopd.runs.checkpoints import checkpoint, kept
from omniopd.runs.store import open_run
from omniopd.training.trl.checkpoints import checkpoint_path
from tests.widgets import watched


@pytest.fixture
def run(tmp_path: Path):
    made = watched.run_in(tmp_path / "study", "seed=0", state="finished")
    for step in (20, 40):
        checkpoint_path(made.checkpoints, step).mkdir(parents=True)
        (checkpoint_path(made.checkpoints, step) / "config.json").write_text("{}")
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


def test_a_checkpoint_in_pieces_is_not_offered_and_named_it_is_one_sentence(run) -> None:
    (checkpoint_path(run.checkpoints, 30) / "pytorch_model_fsdp_0").mkdir(parents=True)
    assert kept(run) == ["0", "20", "40", ""]
    with pytest.raises(RunError, match=r"keeps its student of step 30 in pieces, .*fsdp2.*: name one of untrained, st"):
        checkpoint(f"{run.path}@30")


def test_a_run_at_an_address_has_its_first_student_and_says_that_no_weights_were_copied(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "_looked", {})
    monkeypatch.setattr(mirror, "_addresses", {})
    address = run.path.parent.as_uri()
    for name in (f"{address}/seed=0", f"{address}/seed=0@20", f"{address}/seed=0@best"):
        with pytest.raises(RunError, match=rf"{address}/seed=0 is a run that stands elsewhere, .*: copy the run here"):
            checkpoint(name)
    assert checkpoint(f"{address}/seed=0@0").model == "embedded:student"
    with pytest.raises(RunError, match=rf"{address}/seed=0 is a run that stands elsewhere"):
        checkpoint(mirror.here(address) / "seed=0")  # as a browser of the address has it
    with pytest.raises(RunError, match="holds no run"):
        checkpoint(f"{address}/seed=9")


def test_another_name_is_a_models(tmp_path: Path) -> None:
    assert checkpoint("embedded:teacher").model == "embedded:teacher"
    assert checkpoint("embedded:teacher").recipe is None
    assert checkpoint(tmp_path / "deep" / "folder" / "model").label == "folder/model"


def test_an_at_sign_may_stand_in_a_runs_own_name(tmp_path: Path) -> None:
    path = watched.run_in(tmp_path, "lr@3", state="finished").path
    open_run(path).student.mkdir()
    assert checkpoint(path).label.endswith("lr@3")
    assert checkpoint(f"{path}@0").model == "embedded:student"
