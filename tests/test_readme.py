"""What the pages promise of studies, settings and served teachers holds. Links, lines and Python: `test_docs.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.config import SETTINGS, load_recipe
from omniopd.pipeline.build import is_one_checkpoint
from omniopd.sweeps.study import load_study

DOCS = Path(__file__).parents[1] / "docs"


def test_the_study_is_one_whose_arms_differ_in_one_setting(tmp_path: Path) -> None:
    page = (DOCS / "studies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(blocks), encoding="utf-8")
    study = load_study(file)  # with what the page says of clusters and searches
    assert (study.clusters["slurm"]["partition"], study.clusters["ray"]["num_gpus"]) == ("gpu", 0.5)
    assert (study.search.count, len(study.arms["labels"].ranges), study.trial_seeds) == (24, 3, (1000,))
    runs = study.runs()
    assert [str(run) for run in runs[:2]] == ["labels, seed 0", "no anchor, seed 0"]
    assert len(runs) == 6
    assert [run.recipe.objective.anchor_weight for run in runs[:2]] == [0.1, 0.0]
    assert study.reference == "labels"


def test_the_recipes_of_a_teacher_that_sees_more_are_recipes(tmp_path: Path) -> None:
    page = (DOCS / "sees-more.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    recipes = []
    for number, text in enumerate(blocks):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        recipes.append(load_recipe(file))
    assert len(recipes) == 4
    assert all(recipe.teacher.shown for recipe in recipes)
    assert [sorted(recipe.teacher.shown.needs) for recipe in recipes] == [["solution"], ["solution"], [], ["answer"]]
    assert [is_one_checkpoint(recipe) for recipe in recipes] == [False, True, True, False]


def test_the_command_lists_every_setting_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SETTINGS)
    assert all(setting.says in line for line, setting in zip(lines, SETTINGS.values(), strict=True))
    assert main(["recipes", "--settings", "audit"]) == 0
    assert {line.partition(".")[0] for line in capsys.readouterr().out.splitlines()} == {"audit"}
    assert main(["recipes", "--settings", "audt"]) == 2
    assert "there is no section 'audt'" in capsys.readouterr().err


def test_a_served_models_teacher_is_made_as_it_says() -> None:
    """The raw handover wants the served model's own template, by the name that the README gives it."""
    from omniopd import ChatTemplate, HostedTeacher
    from tests.builders import tiny_tokenizer

    teacher = HostedTeacher(
        "hosted_vllm/some/model", api_base="http://localhost:8000/v1", template=ChatTemplate(tiny_tokenizer())
    )
    assert teacher.handover.name == "raw"
    assert "ChatTemplate(tokenizer)" in (HostedTeacher.__doc__ or "")
