"""A name alone says whether a teacher runs here or behind an API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe, override
from omniopd.costs.consent import price_first
from omniopd.costs.recipe import estimate_of
from omniopd.errors import ConfigError, Refused
from omniopd.pipeline.build import build_hosted_teacher
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.registry import teacher_named
from tests.builders import request
from tests.small_runs import lab


def test_a_folder_and_a_shipped_model_run_here() -> None:
    folder = teacher_named(str(lab() / "teacher"))
    assert isinstance(folder, LocalTeacher)
    assert len(folder.continue_from([request("a", 2)])[0].texts) == 2
    assert isinstance(teacher_named("embedded:teacher"), LocalTeacher)


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash", "openai/gpt-4.1"])
def test_what_litellm_reaches_is_behind_an_api(name: str) -> None:
    teacher = teacher_named(name)
    assert isinstance(teacher, HostedTeacher)
    assert teacher.price is not None


def test_a_server_needs_its_address_and_an_unknown_name_is_looked_for_on_the_hub() -> None:
    with pytest.raises(ConfigError, match="gets raw prompts, which need its chat template"):
        teacher_named("hosted_vllm/Qwen/Qwen3-32B")
    with pytest.raises(ConfigError, match="somebody/some-model"):
        teacher_named("somebody/some-model")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./no-such-folder", "does not exist as a folder: give the folder of a saved model"),
        ("/no/such/folder", "does not exist as a folder"),
        ("~/no-such-folder", "does not exist as a folder"),
        ("C:\\models\\teacher", "does not exist as a folder"),
        ("runs/mine/studnet", "did you mean 'runs/mine/student'?"),
        ("./runs/mine/studnet", "did you mean 'runs/mine/student'?"),
        ("notes.txt", "is a file, and a teacher is a folder"),
        ("embeded:teacher", "did you mean 'embedded:teacher'?"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 'did you mean "local:HuggingFaceTB/SmolLM2-135M-Instruct"'),
        ("Qwen/Qwen3-32B", 'did you mean "local:Qwen/Qwen3-32B", a model of the hub?'),
        ("no-such-provider/model", "litellm knows no provider of it"),
        ("gpt", "litellm knows no provider of it: give embedded:teacher"),
    ],
)
def test_a_mistyped_teacher_is_no_paid_api(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "mine" / "student").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    recipe = override(load_recipe("labels"), [f"teacher.model={name}"])
    # Every way in: the price, the object of a recipe, a name given in Python; and the command, which makes no run.
    for ask in (lambda: price_first(recipe), lambda: estimate_of(recipe), lambda: build_hosted_teacher(recipe)):
        with pytest.raises(ConfigError, match=re.escape(said)):
            ask()
    if "folder" in said or "file" in said:
        with pytest.raises(ConfigError, match=re.escape(said)):
            teacher_named(name)
    assert main(["train", "embedded", f"teacher.model={name}", "--yes"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "price" not in err
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_a_price_that_nobody_knows_may_be_that_of_a_model_of_the_hub() -> None:
    recipe = override(load_recipe("labels"), ["teacher.model=openai/gpt-oss-20b"])
    with pytest.raises(Refused, match=r"its price is not known here: .* is written local:openai/gpt-oss-20b"):
        price_first(recipe)
