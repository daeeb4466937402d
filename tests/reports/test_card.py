"""A model card says what the records say, to the digit, and nothing that somebody else wrote is markup in it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from mistune import create_markdown

from omniopd.config import Recipe, load_recipe, recipe_from
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.reports.card import hub_name, model_card
from omniopd.reports.summary import outcome_table, shown
from omniopd.runs.store import Run, create_run
from omniopd.teachers.spending.ledger import FILE, Ledger
from omniopd.types import Usage

REPO = "the-lab/my_student"
HOSTED = {"student.model": "Qwen/Qwen3-0.6B", "teacher.model": "anthropic/claude-haiku-4-5", "training.steps": 3}
HOSTILE = (
    "<script>alert(1)</script>", "![x](https://evil.example/a.png)", "[click](javascript:alert(1))", "`</code><b>b</b>",
    "https://evil.example/x", "www.evil.example", "a|b\n\n# Heading\n---\nlicense: mit", "$\\href{x}{y}$", "**bold**",
    "@everyone", "\u202egnp.exe", "```\n<img src=x>",
)  # fmt: skip


def made(folder: Path, recipe: Recipe, rights: dict[tuple[str, int], int] | None = None) -> Run:
    """A finished run of these many right answers, of ten greedy ones, by model and step."""
    run = create_run(folder, recipe, "one")
    for step in (1, 2, 3):
        run.append(
            StepRecord(step, 1.0, 1.0, 0.0, input_tokens=1000 * step, cached_tokens=100 * step, output_tokens=7 * step,
                       calls=step, cost_usd=0.125 * step)
        )  # fmt: skip
    given = rights or {("student", 0): 1, ("student", 3): 8, ("control: self_teacher", 3): 2, ("teacher", 0): 9}
    for (model, step), right in given.items():
        problems = tuple(ProblemResult(f"p{i}", int(i < right), 1, mean_tokens=5.0) for i in range(10))
        run.append(EvalRecord(model, "stories", recipe.task.test_split, 0.0, 1, 0, 8, problems, step=step))
    run.set_status(state="finished", step=3, steps=3)
    return run


def rendered(card: str) -> BeautifulSoup:
    """The card's body as a page that trusts it: HTML stays HTML, addresses become links, dollars mathematics."""
    page = create_markdown(escape=False, plugins=["table", "url", "strikethrough", "math", "footnotes", "task_lists"])
    return BeautifulSoup(str(page(card.split("---\n", 2)[2])), "html.parser")


def test_what_was_asked_and_paid_is_the_sum_of_the_records(tmp_path: Path) -> None:
    run = made(tmp_path, load_recipe("embedded", **HOSTED))
    book = Ledger(run.path / FILE)
    first = Usage(calls=5, input_tokens=4000, output_tokens=60, cached_tokens=1500, cost_usd=1.5)
    for usage in (first, Usage(calls=2, input_tokens=34, output_tokens=5, cached_tokens=0, cost_usd=0.75)):
        book.enter("claude-haiku-4-5", usage)
    book.remember("claude-haiku-4-5", 11)
    text = rendered(model_card(run, REPO, False)).get_text()
    lines = [json.loads(line) for line in (run.path / "steps.jsonl").read_text().splitlines()]
    names = ("calls", "input_tokens", "cached_tokens", "output_tokens", "cost_usd")
    calls, read, cached, wrote, usd = (math.fsum(line[name] for line in lines) for name in names)
    assert (f"In training: {calls:,.0f} calls, {read:,.0f} tokens read ({cached:,.0f} of them read before), "
            f"{wrote:,.0f} written, ${usd:,.2f}.") in text  # fmt: skip
    entries = [json.loads(line) for line in (run.path / FILE).read_text().splitlines() if line.strip()]
    summed = {name: math.fsum(entry.get(name, 0) for entry in entries) for name in
              ("calls", "input_tokens", "cached_tokens", "output_tokens", "usd", "remembered")}  # fmt: skip
    assert (f"Ledger of claude-haiku-4-5: {summed['calls']:.0f} calls, {summed['input_tokens']:,.0f} tokens read "
            f"({summed['cached_tokens']:,.0f} from the provider's cache), {summed['output_tokens']:.0f} written, "
            f"${summed['usd']:.2f}; {summed['remembered']:.0f} texts remembered") in text  # fmt: skip


def test_the_table_is_that_of_the_runs_outcome_and_every_verdict_is_said(tmp_path: Path) -> None:
    from omniopd.evaluation.tables import findings

    run = made(tmp_path, load_recipe("embedded", **HOSTED))
    page = rendered(model_card(run, REPO, False))
    frame = outcome_table(shown(run))
    rows = [[one.get_text() for one in row.find_all(["th", "td"])] for row in page.find("table").find_all("tr")]
    assert rows == [["", *frame.columns], *([who, *frame.loc[who]] for who in frame.index)]
    assert rows[2][0] == "student after"
    assert rows[2][1].startswith("80.0 [")
    said = [item.get_text() for item in page.find_all("li")]
    assert set(findings(shown(run))) <= set(said)
    assert any("beyond the control: self_teacher: +60.0 points" in sentence for sentence in said)


def test_a_run_without_controls_says_what_was_not_measured(tmp_path: Path) -> None:
    run = made(tmp_path, load_recipe("embedded", **HOSTED), {("student", 0): 1, ("student", 3): 8})
    assert "no control was trained beside it" in rendered(model_card(run, REPO, False)).get_text()
    other = made(tmp_path / "other", load_recipe("embedded", **HOSTED), {("teacher", 0): 1})
    assert "not measured" in model_card(other, REPO, False)


def test_the_metadata_are_the_hubs_and_no_licence_is_invented(tmp_path: Path) -> None:
    card = model_card(made(tmp_path, load_recipe("embedded", **HOSTED)), REPO, False)
    assert yaml.safe_load(card.split("---")[1]) == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "base_model": "Qwen/Qwen3-0.6B",
        "tags": ["omniopd", "distillation", "on-policy"],
    }  # fmt: skip
    other = made(tmp_path / "other", load_recipe("embedded", **{"student.model": "embedded:student"}))
    metadata = yaml.safe_load(model_card(other, REPO, False).split("---")[1])
    assert "base_model" not in metadata
    assert "license" not in metadata


def test_only_what_the_hub_could_have_is_a_name_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    names = ["Qwen/Qwen3-4B", "gpt2", "local:Qwen/Qwen3-4B", "embedded:student", "models/mine", "/a/b", "./a", "a/b/c"]
    assert [hub_name(name) for name in names] == ["Qwen/Qwen3-4B", "gpt2", "Qwen/Qwen3-4B", *[None] * 5]


def test_a_teacher_behind_an_api_comes_with_a_word_on_its_terms(tmp_path: Path) -> None:
    hosted = made(tmp_path, load_recipe("embedded", **HOSTED))
    text = rendered(model_card(hosted, REPO, False)).get_text()
    assert "anthropic/claude-haiku-4-5 was asked over an API: its provider's terms" in text
    own = rendered(model_card(made(tmp_path / "own", load_recipe("embedded")), REPO, False)).get_text()
    assert "provider" not in own
    assert "The licence of the teacher's weights" in own


def test_the_settings_are_those_that_are_not_defaults_and_say_no_place_of_this_machine(tmp_path: Path) -> None:
    import tomllib

    here = {"task.path": str(tmp_path / "problems"), "teacher.api_base": "http://10.1.2.3:8000/v1",
            "teacher.key_variable": "MY_LAB_KEY", "teacher.cache": str(tmp_path / "kept.sqlite")}  # fmt: skip
    recipe = load_recipe("embedded", **HOSTED, **here)
    card = model_card(made(tmp_path / "runs", recipe), REPO, False)
    for word in (str(tmp_path), "10.1.2.3", "MY_LAB_KEY", "kept.sqlite"):
        assert word not in card
    said = recipe_from(tomllib.loads(card.split("```toml\n")[1].split("```")[0]))
    left_out = replace(recipe.teacher, api_base="", key_variable="", cache="")
    assert said == replace(recipe, teacher=left_out, task=replace(recipe.task, path="problems"))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_named_is_shown_and_is_no_markup(tmp_path: Path, text: str) -> None:
    settings = {"name": text, "student.model": f"x/{text}", "teacher.model": f"y/{text}", "teacher.system": text}
    settings |= {"task.name": "jsonl", "task.path": text, "task.train_split": text, "task.test_split": text}
    run = made(tmp_path, load_recipe("embedded", **settings), {
        ("student", 0): 1, ("student", 3): 8, (f"control: {text}", 3): 2, ("teacher", 0): 9})  # fmt: skip
    run.manifest = replace(run.manifest, name=text, created=text, versions={"torch": text})
    Ledger(run.path / FILE).enter(text, Usage(calls=1, input_tokens=1, output_tokens=1, cost_usd=1.0))
    card = model_card(run, REPO, False)
    page = rendered(card)
    tags = {tag.name for tag in page.find_all(True)}
    assert tags <= {"h1", "h2", "p", "pre", "code", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert [h.get_text() for h in page.find_all(["h1", "h2"])][1:] == [
        "What it learnt, and from whom", "What came of it", "What was asked and paid", "Settings", "Terms"]  # fmt: skip
    assert len(page.find_all("tr")) == 5
    assert "license" not in yaml.safe_load(card.split("---")[1])
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", card)
    shown_name = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).replace("`", "'")
    assert shown_name.replace("|", "/").strip() in re.sub(r"\s+", " ", page.get_text())


def test_no_folder_of_a_server_and_no_file_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    private = {
        "teacher.model": "hosted_vllm//home/alice/models/mine", "teacher.api_base": "http://localhost:1/v1",
        "teacher.handover": "instruction", "teacher.system": "what only we know", "task.name": "jsonl",
        "task.path": "customers/acme/private.jsonl",
    }  # fmt: skip
    card = model_card(made(tmp_path, load_recipe("embedded", **private)), "o/n", is_adapter=False)
    assert "hosted_vllm/mine" in card
    assert "private.jsonl" in card
    assert not [word for word in ("alice", "acme", "what only we know", "localhost") if word in card]


def test_a_secret_is_in_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-" + "9f3b" * 5
    monkeypatch.setenv("HF_TOKEN", secret)
    run = made(tmp_path, load_recipe("embedded", **{"teacher.system": "x"}))
    data = dict(run.manifest.recipe) | {"name": f"my {secret}"}
    data["teacher"] = dict(data["teacher"]) | {"system": f"Bearer {secret}"}
    run.manifest = replace(run.manifest, name=f"run {secret}", recipe=data)
    card = model_card(run, REPO, False)
    assert secret not in card
    assert "run (hidden)" in card
