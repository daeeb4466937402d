"""A recipe that names a model behind an API trains through it, asks nothing twice, and replays with nobody there."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omniopd.config import Recipe, load_recipe
from omniopd.errors import ConfigError, OmniOPDError, Refused
from omniopd.pipeline.build import ANSWERS, build_hosted_teacher, build_teacher
from omniopd.pipeline.run import resume_training, run_training
from omniopd.runs.store import open_run
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.ledger import Ledger
from tests.small_runs import STEPS, lab, small_recipe
from tests.teachers.faulty_server import Served


def hosted_recipe(url: str, **more: object) -> Recipe:
    return small_recipe(
        **{"teacher__model": "hosted_vllm/m", "teacher__api_base": url, "teacher__handover": "instruction"} | more
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "student" / "model.safetensors")


def test_a_run_is_replayed_to_the_bit_with_the_server_gone(tmp_path: Path) -> None:
    with Served() as server:
        run = run_training(hosted_recipe(server.url), tmp_path, "live", show=False)
        url = server.url
        asked = len(server.seen)
    assert asked >= STEPS
    assert all(step.failures == {} for step in run.steps())
    recorded = str(run.path / ANSWERS)
    again = run_training(
        hosted_recipe(url, teacher__replay=True, teacher__cache=recorded), tmp_path, "again", show=False
    )
    first, second = weights(run.path), weights(again.path)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [s.loss for s in again.steps()] == [s.loss for s in run.steps()]


@pytest.mark.parametrize("fault", ["401", "500"])
def test_a_failed_run_says_so_and_no_file_holds_the_key(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = "canary-5f0e9d1c7a"
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", key)
    with Served(faults=lambda number, body: fault if number >= 2 else None) as server:
        recipe = hosted_recipe(server.url, teacher__batch_deadline_s=2.0, audit__samples=3, audit__forks=1)
        with pytest.raises(OmniOPDError) as told:
            run_training(recipe, tmp_path, "failed", show=False)
        assert len(server.seen) > 2
    assert open_run(tmp_path / "failed").state == "failed"
    assert key not in "".join(traceback.format_exception(told.value))
    assert key not in "".join(capfd.readouterr())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_run_out_of_money_goes_on_with_more_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    priced = {"teacher__usd_per_million_output": 1e6}  # a dollar a token: the server writes two
    with Served(words=2) as server:
        whole = run_training(hosted_recipe(server.url, **priced), tmp_path, "whole", show=False)
        paid = sum(s.samples * 2.0 for s in server.seen)
        server.seen.clear()
        with pytest.raises(Refused, match=r"budget of .* is used up"):
            run_training(
                hosted_recipe(server.url, **priced, teacher__budget_usd=paid / 2), tmp_path, "poor", show=False
            )
        poor = open_run(tmp_path / "poor")
        assert poor.state == "failed"
        for file in (poor.path / "recipe.toml", poor.path / "manifest.json"):
            file.write_text(file.read_text().replace(f"{paid / 2}", f"{paid * 2}"))
        resumed = resume_training(poor.path, show=False)
        assert sum(s.samples * 2.0 for s in server.seen) == paid
        assert sum(s.usd for s in Ledger(poor.path / "teacher_ledger.jsonl").by_model()) == paid
    first, second = weights(whole.path), weights(resumed.path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_settings_reach_the_teacher(tmp_path: Path) -> None:
    recipe = load_recipe(
        "labels",
        **{"teacher.model": "anthropic/claude-haiku-4-5", "teacher.temperature": 0.7, "teacher.concurrency": 7,
           "teacher.call_timeout_s": 9.0, "teacher.batch_deadline_s": 99.0, "teacher.strict": True,
           "teacher.requests_per_minute": 50.0, "teacher.budget_usd": 3.0},
    )  # fmt: skip
    teacher = build_hosted_teacher(recipe)
    assert (teacher.handover.name, teacher.temperature, teacher.batch_deadline_s) == ("prefill", 0.7, 99)
    assert (teacher.endpoint.concurrency, teacher.endpoint.call_timeout_s, teacher.endpoint.strict) == (7, 9, True)
    assert teacher.price is not None
    whole = build_teacher(recipe, folder=tmp_path)
    assert isinstance(whole, BudgetedTeacher)
    assert (whole.usd, type(whole.teacher)) == (3.0, CachedTeacher)


def test_a_server_of_ones_own_needs_no_price_for_a_budget(tmp_path: Path) -> None:
    with Served() as server:
        run = run_training(hosted_recipe(server.url, teacher__budget_usd=1.0), tmp_path, "free", show=False)
    assert run.state == "finished"


def test_a_served_models_template_is_that_of_its_own_tokenizer() -> None:
    url = "http://127.0.0.1:1/v1"
    named = small_recipe(
        teacher__model="hosted_vllm/m", teacher__api_base=url, teacher__tokenizer=str(lab() / "teacher")
    )
    assert build_hosted_teacher(named).handover.name == "raw"
    with pytest.raises(ConfigError, match=r"its own chat template, and teacher.tokenizer is ''"):
        build_hosted_teacher(small_recipe(teacher__model="hosted_vllm/some/model", teacher__api_base=url))
    with pytest.raises(ConfigError, match="a server of your own"):
        build_hosted_teacher(small_recipe(teacher__model="hosted_vllm/m", teacher__tokenizer=str(lab() / "teacher")))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"teacher.handover": "prefil"}, "did you mean 'prefill'"),
        ({"teacher.concurrency": 0}, r"teacher.concurrency is 0: it must be at least 1"),
        ({"teacher.call_timeout_s": 0.0}, "teacher.call_timeout_s is 0.0: it must be above 0"),
        ({"teacher.replay": True}, "name the file of the recorded run"),
    ],
)
def test_settings_that_cannot_work_are_found_before_anything_runs(setting, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_recipe("labels", **setting)
