"""`omniopd demo`: the notebook in a process of its own, its run, its page."""

import signal

import nbformat
import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError, Refused
from omniopd.launch import launch, notebook_path
from omniopd.runs import create_run
from omniopd.training.trl.checkpoints import newest_valid, step_of
from tests.cli.terminal import only_run, start, wait_for
from tests.small_runs import as_words, small_recipe


def test_the_demo_leaves_a_run_with_its_notebook_and_page(tmp_path, capsys):
    before = notebook_path("train").read_bytes()
    over = tmp_path / "over.toml"
    over.write_text('name = "no recipe has this name"\n[evaluation]\nproblems = 2\n')
    words = [word for word in as_words() if not word.startswith("evaluation.problems")]
    assert main(["demo", str(over), *words, "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    run = only_run(tmp_path)
    assert run.state == "finished"
    assert (run.recipe.name, run.recipe.evaluation.problems) == ("no recipe has this name", 2)
    assert "student after" in said.out
    assert f"The run as a page: {run.path / 'train.html'}" in said.out
    assert "finished: 3 of 3 steps" in said.err  # a pipe gets lines
    executed = nbformat.read(run.path / "train.ipynb", as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert "run = " in next(c.source for c in executed.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "student after" in (run.path / "train.html").read_text(encoding="utf-8")
    assert notebook_path("train").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_the_command_ends_its_notebook_with_a_checkpoint(tmp_path, number):
    words = ["demo", *as_words(training__steps=2000), "--runs", str(tmp_path)]
    process = start(words)
    wait_for(process, lambda: list(tmp_path.glob("*/steps.jsonl")))
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    run = only_run(tmp_path)
    assert process.returncode == 130
    assert (run.state, out) == ("interrupted", "")
    assert f"interrupted at step {run.status.step} of 2000; go on with: omniopd train --resume {run.path}" in err
    assert 1 <= step_of(newest_valid(run.checkpoints)) == len(run.steps()) < 2000


def test_a_run_that_fails_in_its_notebook_says_why(tmp_path, capsys):
    assert main(["demo", *as_words(student__max_tokens=500), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "more than the model's context (512)" in said
    assert "omniopd train --resume" in said
    assert only_run(tmp_path).state == "failed"


def test_secrets_are_no_parameters(tmp_path):
    run = create_run(tmp_path, small_recipe())
    for name, value in (("api_key", "x"), ("teacher", "sk-" + "a1" * 12)):
        with pytest.raises(Refused, match=f"parameter '{name}' looks like a secret"):
            launch("train", {name: value}, run=run)


def test_a_notebook_is_never_written_onto_itself(tmp_path):
    run = create_run(tmp_path, small_recipe())
    executed = run.path / "train.ipynb"
    executed.write_text("{}")
    with pytest.raises(ConfigError, match="execute the original, not the executed copy"):
        launch(executed, run=run)
    assert executed.read_text() == "{}"


def test_the_shipped_notebook_has_parameters_and_no_machine_in_it():
    text = notebook_path("train").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    [parameters] = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    for name in ("recipe", "steps", "seed", "teacher", "folder"):
        assert f"\n{name}: " in f"\n{parameters.source}"
    assert len(text) < 1_000_000
    assert "/home/" not in text
    assert "0x7f" not in text
