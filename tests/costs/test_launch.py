"""What a run will take, from what the last like it took here."""

import pytest

from omniopd.config import load_recipe
from omniopd.costs.consent import price_first
from omniopd.costs.launch import estimate
from omniopd.launch.parameters import parameters_of
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs import create_run
from omniopd.teachers.model_traits import runs_here
from tests.launch.small_notebooks import notebook

CELL = (
    'recipe: str = "embedded"\nsteps: int | None = 3\nproblems: int | None = 20\nteacher: str | None = None\n'
    "settings: list[str] = []\n"
)


@pytest.fixture
def ask(tmp_path):
    path = notebook(tmp_path / "n.ipynb", parameters=CELL)

    def asked(**values):
        return estimate(tmp_path / "runs", path, parameters_of(path), values)

    return asked


def test_time_is_that_of_the_last_finished_run_of_the_recipe(ask, tmp_path):
    assert ask().time == "unknown: no run of embedded has finished here yet"
    run = create_run(tmp_path / "runs", load_recipe("embedded", **{"evaluation.problems": 10}))
    for step in (1, 2):
        run.append(StepRecord(step, 1.0, 1.0, 0.0, {"step_time": 2.0}))
    problems = tuple(ProblemResult(f"p{i}", right=1, samples=1) for i in range(10))
    run.append(EvalRecord("student", "stories", "test", 0.0, 1, 0, 8, problems, seconds=5.0))
    assert ask().seconds is None
    run.set_status(state="finished")
    found = ask(steps=30, problems=20)
    assert found.seconds == 30 * 2.0 + 5.0 * 20 / 10
    assert found.time == "about 70 s: 30 steps of 2 s and 10 s of measuring, as in the last run of embedded here"


def test_the_last_run_may_be_one_of_a_study(ask, tmp_path):
    run = create_run(tmp_path / "runs" / "study" / "arm", load_recipe("embedded"), "seed=0")
    run.append(StepRecord(1, 1.0, 1.0, 0.0, {"step_time": 3.0}))
    run.set_status(state="finished")
    assert ask(steps=2).seconds == 6.0


def test_a_teacher_that_runs_here_is_free_and_one_behind_an_api_has_its_price(ask, tmp_path):
    assert (ask().usd, ask().is_paid, ask().price) == (0.0, False, "free: the teacher runs on this machine")
    few = ask(steps=10, teacher="anthropic/claude-haiku-4-5")
    many = ask(steps=20, teacher="anthropic/claude-haiku-4-5")
    assert few.is_paid
    assert many.usd > few.usd > 0
    assert "$" in many.price
    unknown = ask(teacher="openai/a-model-that-nobody-sells")
    assert unknown.usd is None
    assert unknown.is_paid
    assert "unknown price" in unknown.price
    assert ask(steps=-1).time == "unknown until the fields are right"


@pytest.mark.parametrize("teacher", ["gemini/gemini-2.5-pro", "anthropic/claude-sonnet-4-6", "hosted_vllm/mine"])
def test_a_form_and_the_run_name_the_same_sum(ask, teacher, capsys):
    recipe = load_recipe("embedded", **{"teacher.model": teacher, "training.steps": 3, "evaluation.problems": 20})
    assert ask(teacher=teacher).usd == price_first(recipe, yes=True).usd


def test_a_form_says_why_a_price_cannot_be_counted(ask, tmp_path):
    own = ["task.name=jsonl", f"task.path={tmp_path}/none.jsonl"]
    found = ask(teacher="anthropic/claude-haiku-4-5", settings=own)
    assert (found.usd, found.is_paid) == (None, True)
    assert "none.jsonl" in found.price


def test_who_runs_here(tmp_path):
    assert [runs_here(name) for name in ("embedded:teacher", "local:Qwen/Qwen3-4B", str(tmp_path), "openai/gpt-5")] == [
        True, True, True, False,
    ]  # fmt: skip
