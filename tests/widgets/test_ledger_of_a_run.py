"""The ledger against a real run: its parts add up to the losses that the trainer logged."""

from __future__ import annotations

import pytest

from omniopd.method.recorded import evidence_of, recorded_targets
from omniopd.method.targets import targets_of_forks
from omniopd.pipeline.run import run_training
from omniopd_widgets.update_ledger import UpdateLedger
from tests.small_runs import small_recipe


def run(folder, target, **more):
    settings = {"objective__target": target, "audit__similarity": "characters", "training__steps": 2, **more}
    quick = {"evaluation__temperatures": [0.0], "evaluation__problems": 1, "training__allow_zero_gradient": True}
    return run_training(small_recipe(**quick, **settings), folder, show=False)


@pytest.mark.parametrize(("target", "anchor_on"), [("paper", "unaudited"), ("prefix_credit", "all")])
def test_the_parts_add_up_to_the_logged_losses(tmp_path, target, anchor_on):
    done = run(tmp_path, target, objective__anchor_on=anchor_on, objective__anchor_weight=0.5)
    for step in done.rollout_steps():
        view = UpdateLedger(done.rollouts(step), done.recipe)
        logged = done.steps()[step - 1]
        for name in ("recorded", target):
            view.target = name
            assert view.parts().is_exact
            assert view.totals["chunk"] == pytest.approx(logged.chunk_loss, rel=1e-4, abs=1e-6)
            assert view.totals["anchor"] == pytest.approx(logged.anchor_loss, rel=1e-4, abs=1e-6)


def test_labels_are_made_again_from_pieces_and_cost_at_least_the_bound(tmp_path):
    done = run(tmp_path, "labels")
    rollouts = [r for r in done.rollouts(1) if not r.probe]
    view = UpdateLedger(rollouts, done.recipe)
    made_again = targets_of_forks(evidence_of(rollouts), "labels")
    for recorded, again in zip(recorded_targets(rollouts), made_again, strict=True):
        # These random models write half characters, which read the same in a label: only their sum can be compared.
        assert sum(again.labels[0].values()) == pytest.approx(sum(recorded.labels[0].values()))
    # What the trainer recorded is exact; made again from pieces, other tokens' costs are bounds.
    assert view.target == "recorded"
    assert view.parts().is_exact
    assert view.totals["chunk"] == pytest.approx(done.steps()[0].chunk_loss, rel=1e-4, abs=1e-6)
    view.target = "labels"
    assert not view.parts().is_exact
    assert view.totals["chunk"] <= done.steps()[0].chunk_loss * (1 + 1e-5)
    assert "≥" in view.note
