"""One target, one similarity, one scheduler and one control are added by their registries alone, and known everywhere.

`omniopd.method` declares each of its own in the same way. Nothing else is touched here: two steps are trained with
them, they are listed as settings, refused where they cannot work, and stand in the widgets' menus.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.method.controls import CONTROLS, Control
from omniopd.method.forks import SCHEDULERS, Scheduler
from omniopd.method.similarity import SIMILARITIES, NamedSimilarity
from omniopd.method.targets import TARGETS, Target
from omniopd.pipeline.run import run_training
from omniopd.runs.store import Run
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.posterior_plot import PosteriorPlot
from omniopd_widgets.question_bar import QuestionBar
from omniopd_widgets.update_ledger import UpdateLedger
from tests.small_runs import small_recipe

ADDED = [
    (
        TARGETS,
        Target(
            "twice", "twice the posterior mean",
            lambda batch: [replace(t, weights=2 * t.weights) for t in TARGETS["paper"].make(batch)],
            uses=("concentration",), knows_prior=False,
        ),
    ),
    (SIMILARITIES, NamedSimilarity("length", "as long as the chunk", lambda chunk, texts: [
        min(len(chunk), len(text)) / max(len(chunk), len(text), 1) for text in texts
    ])),
    (SCHEDULERS, Scheduler("late", "the last tokens", lambda entropies, _: reversed(range(len(entropies))))),
    (CONTROLS, Control("halved", "half of every weight", then=lambda evidence, targets, depth: [
        replace(t, weights=t.weights / 2) for t in targets
    ])),
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    for registry, entry in ADDED:
        registry.add(entry)
    recipe = small_recipe(
        objective__target="twice", audit__similarity="length", audit__scheduler="late", objective__control="halved",
        training__steps=2, training__record_every=1, evaluation__temperatures=[], evaluation__before=False,
    )  # fmt: skip
    yield run_training(recipe, Path(tmp_path_factory.mktemp("added")) / "run", show=False)
    for registry, entry in ADDED:
        del registry[entry.name]


def test_it_trains_with_what_was_added(run: Run) -> None:
    assert [step.step for step in run.steps()] == [1, 2]
    rollouts = [r for step in run.rollout_steps() for r in run.rollouts(step) if not r.probe]
    audits = [a for r in rollouts for a in r.audits]
    assert audits
    for a in audits:
        assert a.weights == pytest.approx([a.posterior_mean] * len(a.weights))  # half of twice
        assert a.similarities == pytest.approx(SIMILARITIES["length"].compare(a.chunk, a.texts))
    # Later ones come first, those inside a character apart.
    assert any(max(a.stop for a in r.audits) == len(r.pieces) for r in rollouts if r.audits)


def test_it_is_listed_and_checked_as_a_setting(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--settings"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for key, name in (
        ("objective.target", "twice"), ("audit.similarity", "length"), ("audit.scheduler", "late"),
        ("objective.control", "halved"), ("evaluation.controls", "halved"),
    ):  # fmt: skip
        assert name in listed[key]
    with pytest.raises(ConfigError, match="did you mean 'twice'"):
        small_recipe(objective__target="twic")
    with pytest.raises(ConfigError, match=r'"prior_only", which changes nothing in .* target twice .*halved'):
        small_recipe(objective__target="twice", objective__control="prior_only")
    with pytest.raises(ConfigError, match='only "centred" has a baseline'):
        small_recipe(objective__target="twice", objective__redraws=2)
    with pytest.raises(ConfigError, match="declared already"):
        TARGETS.add(TARGETS["twice"])


def test_it_stands_in_the_widgets_menus(run: Run, mount) -> None:
    rollouts = run.rollouts(1)
    ledger = UpdateLedger(rollouts, run.recipe)
    mounted = mount(ledger)
    mounted.find("select[aria-label=target]").select_option("twice")
    mounted.find("select[aria-label^='similarity']").select_option("length")
    mounted.settle()
    assert (ledger.target, ledger.similarity) == ("twice", "length")
    assert mounted.find("option[value=twice]").get_attribute("title") == "twice the posterior mean"
    assert not mounted.find("input[aria-label^=α]").is_disabled()
    assert mounted.find("input[aria-label^='offsets']").is_disabled()
    bar = mount(QuestionBar(["1 + 1"], settings=run.recipe.as_dict()))
    for name in ("twice", "length", "late"):
        assert bar.find(f"option[value={name}]").count() == 1
    assert ["length", "as long as the chunk"] in AuditPanel(rollouts).names
    assert "length" in [entry["name"] for entry in PosteriorPlot(rollouts[0]).similarity_names]
