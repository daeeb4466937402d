"""`omniopd train base.toml over.toml key=value`: words apart, and one whole recipe in the run."""

from __future__ import annotations

import pytest

from omniopd.cli.composed import apart
from omniopd.cli.main import main
from omniopd.config import compose, load_recipe
from tests.cli.terminal import only_run
from tests.small_runs import as_words


def test_what_has_an_equals_sign_is_a_setting_but_for_a_recipe_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=3").mkdir()
    (tmp_path / "lr=3" / "base.toml").write_text("seed = 3\n")
    words = ["lr=3/base.toml", "paper", "seed=4", "over.toml", "student.model=none.toml"]
    assert apart(words) == (["lr=3/base.toml", "paper", "over.toml"], ["seed=4", "student.model=none.toml"])


def test_a_run_of_several_files_holds_one_whole_recipe(tmp_path):
    base, over = tmp_path / "base.toml", tmp_path / "over.toml"
    base.write_text('name = "base"\n[task]\nname = "stories"\n[student]\nmax_tokens = 9\n[audit]\nforks = 3\n')
    over.write_text('name = "over"\n[student]\nmax_tokens = 8\n')
    words = [w for w in as_words(training__steps=1, evaluation__problems=1) if not w.startswith("student.max")]
    assert main(["train", str(base), str(over), *words, "--runs", str(tmp_path / "runs"), "--quiet"]) == 0
    run = only_run(tmp_path / "runs")
    asked = compose([base, over], words)
    assert (asked.name, asked.student.max_tokens) == ("over", 8)
    assert run.recipe == asked
    assert run.path.name.endswith("_over")
    assert load_recipe(run.path / "recipe.toml") == load_recipe(run.path / "manifest.json") == asked


def test_the_composed_recipe_can_be_looked_at_first(tmp_path, capsys):
    over = tmp_path / "over.toml"
    over.write_text("[audit]\nforks = 3\n")
    assert main(["recipes", "paper", str(over), "seed=7"]) == 0
    (copy := tmp_path / "copy.toml").write_text(capsys.readouterr().out)
    assert load_recipe(copy) == load_recipe("paper", **{"audit.forks": 3, "seed": 7})


@pytest.mark.parametrize("command", ["train", "demo"])
def test_a_file_that_is_not_there_is_named_before_anything_is_made(tmp_path, capsys, command):
    first = ["embedded"] if command == "train" else []
    assert main([command, *first, "task.toml", "--runs", str(tmp_path)]) == 2
    assert "no recipe 'task.toml': neither a file nor a shipped name" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_is_measured_by_recipes_that_lie_over_each_other(tmp_path, capsys):
    over = tmp_path / "over.toml"
    over.write_text("[evaluation]\nproblems = 0\ntemperatures = []\n")
    words = ["evaluate", "embedded:student", "--recipe", "embedded", "--recipe", str(over)]
    assert main([*words, "evaluation.at=[1]", "evaluation.controls=[]"]) == 2
    assert "evaluation.temperatures is empty" in capsys.readouterr().err
