"""The command line: one sentence for a mistake, light until a command runs."""

import subprocess
import sys

import pytest

from omniopd.cli.main import COMMANDS, main
from omniopd.config import load_recipe
from omniopd.runs.store import create_run


def said(capsys, *words):
    code = main(words)
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "embeded"], "no recipe 'embeded': neither a file nor a shipped name; did you mean 'embedded'?"),
        (["train", "embedded", "audit.sample=4"], "audit.sample in the command line is not a setting; the nearest is"),
        (["train", "embedded", "audit.samples"], "'audit.samples' is not a setting: write key=value"),
        (["train", "labels", "audit.chunk_tokens=900"], "audit.chunk_tokens is 900, longer than a rollout (96)"),
        (["train"], "train needs a recipe or --resume RUN, and not both"),
        (["train", "embedded", "--resume", "x"], "train needs a recipe or --resume RUN, and not both"),
        (["train", "--resume", "/nowhere"], "/nowhere is not a run"),
        (["demo", "trainig.steps=4"], "trainig in the command line is not a setting; the nearest is training"),
        (["runs", "/nowhere"], "/nowhere is not a folder"),
        (["recipes", "papr"], "did you mean 'paper'?"),
        (["evaluate", "/nowhere/model"], "student.model: the model folder /nowhere/model does not exist"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_without_a_traceback(capsys, words, sentence):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("omniopd: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_shipped_recipes_are_listed_and_spelled_out(capsys, tmp_path):
    code, out, _ = said(capsys, "recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "recipes,", "embedded", "gsm8k", "labels", "long", "paper", "smollm2",
        "studies,", "ablations", "embedded", "frontier", "long", "smollm2",
    ]  # fmt: skip
    said(capsys, "recipes", "paper")
    main(["recipes", "paper"])
    copy = tmp_path / "copy.toml"
    copy.write_text(capsys.readouterr().out)
    assert load_recipe(copy) == load_recipe("paper")


def test_an_empty_folder_of_runs_says_how_to_make_one(capsys, tmp_path):
    assert (
        said(capsys, "runs", str(tmp_path))[1]
        == f"no runs in {tmp_path}: `omniopd demo` or `omniopd train` makes one\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: omniopd {command}" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    script = "import sys; from omniopd.cli.main import parser; parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "transformers", "pandas", "papermill", "nbconvert"}.isdisjoint(loaded)


def test_settings_may_stand_behind_options_and_nothing_else_may(capsys):
    from omniopd.cli.main import _parsed

    options = _parsed(["train", "embedded", "training.steps=2", "--runs", "x", "audit.samples=4", "seed=1"])
    assert options.settings == ["training.steps=2", "audit.samples=4", "seed=1"]
    assert (options.recipes, options.runs) == (["embedded"], "x")
    for words in (["train", "embedded", "--runs", "x", "more"], ["train", "embedded", "--rnus=x"]):
        with pytest.raises(SystemExit):
            _parsed(words)
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "hint"), [("trian", "did you mean 'train'?"), ("frks", "did you mean 'forks'?"), ("xyz", "there are demo")]
)
def test_the_nearest_command_is_told(capsys, word, hint):
    with pytest.raises(SystemExit) as ended:
        main([word])
    assert ended.value.code == 2
    assert f"'{word}' is not a command; {hint}" in capsys.readouterr().err


def test_the_nearest_run_is_told(capsys, tmp_path):
    create_run(tmp_path, load_recipe("embedded"), "labels-seed-3").set_status(state="finished")
    code, _, err = said(capsys, "train", "--resume", str(tmp_path / "lables-seed-3"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"did you mean {tmp_path / 'labels-seed-3'}?" in err


def test_the_help_begins_with_what_it_is_for(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Distil a teacher that you can only read into a student that you own" in said
    assert "modules" not in said  # what a developer of the package needs to know
