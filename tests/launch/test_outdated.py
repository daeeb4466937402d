"""A run that an older version launched is resumed by this one, though its notebook imports modules that have moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from omniopd.errors import RunError
from omniopd.launch import resume
from omniopd.launch.folder import Launch, part, source_of, write_launch
from omniopd.launch.notebooks import shipped_folder
from omniopd.launch.outdated import bring_up_to_date, missing_modules
from omniopd.runs.store import open_run

OLD = Path(__file__).with_name("train_before_the_move.ipynb")
FIXTURES = Path(__file__).parents[1] / "runs" / "fixtures"
# What the old notebook was given: the settings of the fixture's run (tests/runs/test_older_runs.py).
PARAMETERS = {"steps": 4, "problems": 2, "settings": [
    "student.model=start", "student.max_tokens=24", "audit.forks=3", "audit.samples=2", "task.prompts=16",
    "training.rollouts=4", "training.micro_batch=2", "training.learning_rate=0.01", "training.save_every=2",
    "training.record_every=1", "training.probe_prompts=1", "evaluation.samples=1", "evaluation.temperatures=[0.0]",
    "evaluation.controls=[]",
]}  # fmt: skip


def code_of(notebook: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture
def launched(tmp_path: Path) -> Path:
    """The run that 0.1.0 stopped after step 2 of 4, as if it had been launched from the notebook of that version."""
    for name in ("start", "stopped"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    write_launch(tmp_path / "stopped", Launch("train.ipynb", PARAMETERS, str(tmp_path), "cpu"))
    shutil.copyfile(OLD, source_of(tmp_path / "stopped"))
    return tmp_path / "stopped"


def test_what_a_notebook_imports_and_this_version_lacks_is_found() -> None:
    assert missing_modules(code_of(OLD))[0] == "omniopd.build"
    assert missing_modules(["%time 1\nfrom omniopd.cli.quiet import x", "!ls", "import omniopd.runs, json"]) == [
        "omniopd.cli.quiet"
    ]
    for shipped in sorted(shipped_folder().rglob("*.ipynb")):
        assert missing_modules(code_of(shipped)) == []


def test_an_older_launched_run_goes_on_to_its_end(launched: Path) -> None:
    resumed = resume(launched)
    resumed.wait()
    run = open_run(launched)
    assert run.state == "finished", (launched / "notebook.log").read_text()
    whole = json.loads((FIXTURES / "whole.json").read_text(encoding="utf-8"))
    assert [s.loss for s in run.steps()[2:]] == pytest.approx([s["loss"] for s in whole["steps"]], rel=1e-4)
    assert (part(launched) / "source_1.ipynb").read_bytes() == OLD.read_bytes()


@pytest.mark.parametrize("name", ["mine.ipynb", "train.ipynb"])
def test_a_notebook_of_ones_own_is_named_and_left_as_it_is(name: str, launched: Path) -> None:
    write_launch(launched, Launch(name, {}, str(launched), "cpu"))
    mine = nbformat.read(OLD, as_version=4)
    mine.cells.append(nbformat.v4.new_code_cell("my_own = 1"))
    nbformat.write(mine, source_of(launched))
    before = source_of(launched).read_bytes()
    lacks = r"imports omniopd\.build, which this version of omniopd does not have: resume it"
    with pytest.raises(RunError, match=lacks):
        bring_up_to_date(launched)
    assert source_of(launched).read_bytes() == before


def test_parameters_that_are_not_taken_any_more_are_named(launched: Path) -> None:
    write_launch(launched, Launch("train.ipynb", {"colour": "red"}, str(launched), "cpu"))
    with pytest.raises(RunError, match=r"train\.ipynb does not take its parameters \(.*colour"):
        bring_up_to_date(launched)


@pytest.mark.parametrize("broken", ["", "no JSON", "[]", None])
def test_a_notebook_that_cannot_be_read_is_named(broken: str | None, launched: Path) -> None:
    source_of(launched).unlink()
    if broken is not None:
        source_of(launched).write_text(broken)
    with pytest.raises(RunError, match=r"source\.ipynb cannot be read .*: launch the notebook anew"):
        bring_up_to_date(launched)


def test_a_notebook_of_today_is_left_alone(launched: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import omniopd.runs\n%time 1")]),
                   source_of(launched))  # fmt: skip
    before = source_of(launched).read_bytes()
    bring_up_to_date(launched)
    assert source_of(launched).read_bytes() == before
