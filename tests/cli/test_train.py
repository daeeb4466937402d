"""`omniopd train` from a terminal's point of view, and what the other commands say of its run."""

import signal

import pytest

from omniopd.cli.main import main
from omniopd.runs.evaluated import evaluated_since
from tests.cli.terminal import only_run, start, wait_for
from tests.small_runs import as_words


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", "embedded", *as_words(), "--runs", str(folder), "--quiet"]) == 0
    return only_run(folder)


def test_the_outcome_is_printed(trained, capsys):
    from omniopd.reports.summary import loading_lines, outcome

    said = outcome(trained)
    assert "student before" in said
    assert "student after" in said
    assert "of 3 held-out problems" in said
    assert "The teacher was asked" in said
    assert f" {sum(s.input_tokens for s in trained.steps()):,} tokens" in said
    scope: dict = {}
    exec(loading_lines(trained), scope)
    assert scope["model"].config.model_type == "qwen3"


def test_runs_are_listed(trained, capsys):
    assert main(["runs", str(trained.path.parent)]) == 0
    out = capsys.readouterr().out
    assert trained.path.name in out
    assert "finished" in out
    assert "3/3" in out


def test_a_trained_student_can_be_measured_again(trained, capsys):
    assert main(["evaluate", str(trained.path), "evaluation.problems=2"]) == 0
    assert "on 2 held-out problems of stories" in capsys.readouterr().out
    assert {record.step for record in evaluated_since(trained.path)} == {trained.recipe.training.steps}


def test_ctrl_c_in_a_terminal_leaves_a_run_and_says_how_to_go_on(tmp_path):
    words = ["train", "embedded", *as_words(training__steps=500), "--runs", str(tmp_path)]
    process = start(words)
    wait_for(process, lambda: list(tmp_path.glob("*/steps.jsonl")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    run = only_run(tmp_path)
    assert process.returncode == 130
    assert out == ""
    assert "Stopping after this step, with a checkpoint" in err
    assert "Traceback" not in err
    assert f"interrupted at step {run.status.step} of 500; go on with: omniopd train --resume {run.path}" in err
    assert 1 <= run.status.step == len(run.steps()) < 500


def test_a_merge_is_asked_for_on_the_command_line(tmp_path):
    words = [
        "train",
        "embedded",
        *as_words(student__lora_rank=2, training__steps=1),
        "--runs",
        str(tmp_path),
        "--quiet",
    ]
    assert main([*words, "--merge"]) == 0
    assert not (only_run(tmp_path).student / "adapter_config.json").exists()
