"""A setting of the workbench is one, in whichever view it is turned, and Train launches it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from omniopd.method.similarity import characters, exact, mean_self_agreement
from omniopd.teachers.local import LocalTeacher
from omniopd_widgets import Workbench
from tests.builders import tiny_model, tiny_tokenizer
from tests.widgets.test_workbench import workbench


@pytest.fixture
def bench() -> Iterator[Workbench]:
    made = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    made.ask_all()
    made.wait()
    yield made
    made.close()


def agreement(bench: Workbench) -> dict[int, float]:
    return {row["start"]: row["agreement"] for row in bench.ledger.rows}


def by(bench: Workbench, similarity) -> dict[int, float]:
    return {a.start: pytest.approx(mean_self_agreement(a.texts, similarity)) for a in bench.rollout.record.audits}


def test_the_ledger_compares_texts_as_the_workbench_does_until_it_is_turned_there(bench: Workbench) -> None:
    assert bench.ledger.similarity == "characters"
    assert agreement(bench) == by(bench, characters)
    bench.bar.settings = {**bench.bar.settings, "audit.similarity": "exact"}
    bench.wait()
    assert (bench.ledger.similarity, bench.panel.similarity) == ("exact", "exact")
    assert agreement(bench) == by(bench, exact)
    bench.ledger.similarity = "tokens"
    bench.wait()
    assert (bench.settings["audit.similarity"], bench.session.recipe.audit.similarity) == ("tokens", "tokens")
    assert (bench.panel.similarity, bench.posterior.similarity) == ("tokens", "tokens")
    bench.bar.press("undo")
    bench.wait()
    assert bench.ledger.similarity == "characters"


def test_of_a_similarity_that_needs_a_model_the_ledger_compares_characters(bench: Workbench) -> None:
    recipe = bench.session.recipe
    bench.ledger.similarity = "exact"
    bench.wait()
    with bench._shown.showing():
        bench._shown.stand_as(replace(recipe, audit=replace(recipe.audit, similarity="embedding")))
    assert (bench.ledger.similarity, bench.panel.similarity) == ("characters", "recorded")
    assert bench.settings["audit.similarity"] == "exact"


def test_what_is_turned_in_the_ledger_is_what_train_launches(mount, tmp_path) -> None:
    made = Workbench("embedded", runs=str(tmp_path), problems=3, teacher__model="embedded:teacher")
    mounted = mount(made)
    mounted.click("[role=tab]:has-text('Loss')")
    ledger = mounted.find(".oopd-pane-ledger")
    ledger.locator("select[aria-label=target]").select_option("paper")
    ledger.locator("input[aria-label^=β]").fill("0.7")
    ledger.locator("input[aria-label^=β]").press("Tab")
    mounted.page.wait_for_function(
        "Object.values(harness.models).some((one) => one.model.get('anchor_weight') === 0.7)"
    )
    mounted.settle()
    made.wait()
    made.bar.press("use")
    turned = sorted(made.launcher.values["settings"])
    assert turned == ["objective.anchor_weight=0.7", "objective.target=paper"]
    assert made.launcher.problems == {}
    made.close()


def test_what_the_posterior_lets_one_turn_for_itself_says_so(mount, bench: Workbench) -> None:
    before = dict(bench.settings)
    mounted = mount(bench.posterior)
    own = {"centring": "others", "samples": 2}
    for name, value in own.items():
        assert mounted.find(f".oopd-posterior-controls label:has-text('{name} (only here)')").count() == 1
        setattr(bench.posterior, name, value)
    bench.wait()
    assert (bench.settings, bench.bar.changes) == (before, [])
    assert mounted.find("label:has-text('(only here)')").count() == len(own)
