"""Facts about the update ledger: shares of the loss, where all texts agree or none and its price, the fork map."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from traitlets import TraitError

from omniopd.config import load_recipe
from omniopd.config.settings import ObjectiveConfig
from omniopd.embedded import recorded
from omniopd.method.similarity import characters, mean_self_agreement
from omniopd.records import RolloutRecord
from omniopd_widgets._parts.fork_names import fork_short
from omniopd_widgets._parts.prices import usage_of
from omniopd_widgets._parts.savings import audit_kind, savings, smaller_forks, smaller_samples
from omniopd_widgets.update_ledger import UpdateLedger
from tests.widgets.audited import audit, rollout

TABLE = ".oopd-ledger-table tbody tr"


def step(count: int = 3, **more: Any) -> list[RolloutRecord]:
    """The rollouts of a step; the first has a fork where all agree and one where none does."""
    rollouts = [rollout(1, forks=4, row=row, **more) for row in range(count)]
    audits = list(rollouts[0].audits)
    audits[0] = replace(audits[0], texts=(audits[0].chunk,) * 10, similarities=(1.0,) * 10, soft_count=10.0)
    audits[1] = replace(audits[1], similarities=(0.1,) * 10, soft_count=1.0)
    return [replace(rollouts[0], audits=tuple(audits)), *rollouts[1:]]


def test_forks_stand_by_their_share_of_the_update(mount) -> None:
    view = UpdateLedger(step(), ObjectiveConfig(anchor_weight=0.3))
    shares = [row["share"] for row in view.rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) + view.totals["anchor_share"] == pytest.approx(1)
    mounted = mount(view)
    texts = mounted.find(TABLE).all_inner_texts()
    assert len(texts) == 12
    for row, text in zip(view.rows, texts, strict=True):
        assert f"answer {row['row']}, {fork_short(row['nth'], row['start'], row['stop'])}" in text
        assert f"{100 * row['share']:.1f} %" in text
        assert f"{row['nll']:.3f}" in text
    assert f"{view.totals['anchor_beside']:.4f}" in mounted.text(".oopd-ledger-table tfoot")


def test_a_constant_weight_is_weight_times_tokens_times_nll() -> None:
    for row in UpdateLedger(step(), target="paper").rows:
        assert row["chunk"] == pytest.approx(row["weight"] * row["tokens"] * row["nll"])
        assert row["anchor"] == 0
    for row in UpdateLedger(step(), target="paper", anchor_on="all", anchor_weight=0.5).rows:
        assert row["anchor"] == pytest.approx(0.5 * row["kl"])


@pytest.mark.parametrize("target", ["paper", "centred", "labels", "posterior_kl", "prefix_credit", "none"])
def test_another_target_is_shown_at_once(mount, target) -> None:
    view = UpdateLedger(step())
    mounted = mount(view)
    mounted.find("select[aria-label=target]").select_option(target)
    mounted.settle()
    mounted.frame()
    assert view.target == target
    signs = {row["chunk"] < 0 for row in view.rows}
    assert (True in signs) == (target in ("centred", "prefix_credit"))
    first = view.rows[0]
    named = f"answer {first['row']}, {fork_short(first['nth'], first['start'], first['stop'])}"
    assert named in mounted.find(TABLE).first.inner_text()
    assert ("≥" in mounted.text(".oopd-ledger-table tbody")) == (target in ("labels", "posterior_kl"))


def test_what_the_trainer_wrote_is_shown_as_recorded() -> None:
    rollouts = [replace(r, audits=tuple(replace(a, weights=(0.25,) * 6) for a in r.audits)) for r in step()]
    view = UpdateLedger(rollouts, load_recipe("labels"))
    assert view.target == "recorded"
    assert {row["weight"] for row in view.rows} == {0.25}
    recipe = load_recipe("labels")
    assert view.totals["normaliser"] == recipe.training.rollouts * recipe.normaliser_length
    assert "recorded" not in UpdateLedger(step()).targets_on_offer


def test_a_run_that_learns_from_the_posterior_is_shown_under_its_own_target() -> None:
    recipe = load_recipe("labels", **{"objective.target": "posterior_kl", "objective.concentration": 2.0})
    view = UpdateLedger(step(), recipe)
    assert (view.target, view.concentration) == ("posterior_kl", 2.0)
    before = view.totals["chunk"]
    view.concentration = 0.5  # a weaker prior is further from the student
    assert view.totals["chunk"] > before > 0


def test_probes_are_no_part_of_the_loss() -> None:
    rollouts = step()
    probe = replace(rollout(9, forks=4, row=7), probe=True)
    assert UpdateLedger([*rollouts, probe], target="centred").rows == UpdateLedger(rollouts, target="centred").rows
    alone = UpdateLedger(probe)
    assert len(alone.rows) == 4
    assert "nothing was learnt" in alone.note


def test_what_the_numbers_leave_out_is_said() -> None:
    objective = ObjectiveConfig(target="centred", redraws=4, control="shuffled", continuation_weight=0.5)
    note = UpdateLedger(step(1), objective).note
    for words in ("Only one rollout", "redraws", "shuffled", "continuation cross-entropy"):
        assert words in note
    recipe = load_recipe("labels", **{"training.rollouts": 64, "training.micro_batch": 64})
    assert "of the step's 64" in UpdateLedger(step(), recipe, target="centred").note
    assert "the anchor costs nothing here" in UpdateLedger([replace(r, anchor_kl=()) for r in step()]).note


def test_an_anchor_that_costs_little_does_not_read_as_none(mount, inert) -> None:
    view = UpdateLedger(recorded("paper").rollouts(20), recorded("paper").recipe)
    small = f"{view.totals['anchor']:.5f}"
    assert 0 < view.totals["anchor"] < 0.00005
    assert f"anchor {small} nats" in mount(view).text(".oopd-ledger-summary")
    assert f"anchor {small} nats" in inert(view).inner_text("body")
    view = UpdateLedger([replace(r, anchor_kl=()) for r in step()])
    assert "anchor 0.0000 nats" in mount(view).text(".oopd-ledger-summary")


def test_line_breaks_of_what_the_student_wrote_hide_nothing(mount) -> None:
    chunks = ["```\n5+3", "\n\nso 8", "\n"]
    record = rollout(1, forks=len(chunks))
    audits = [replace(a, chunk=chunk) for a, chunk in zip(record.audits, chunks, strict=True)]
    view = UpdateLedger(replace(record, audits=tuple(audits)))
    mounted = mount(view)
    all_cells = mounted.find(f"{TABLE} .oopd-ledger-text")
    cells = {row["text"]: all_cells.nth(i) for i, row in enumerate(view.rows)}
    assert [cells[chunk].inner_text().count("⏎") for chunk in chunks] == [0, 2, 1]
    assert cells["\n\nso 8"].inner_text() == "⏎⏎so 8"
    # the whole of the last line lies inside the text's own box and the table's
    seen = """cell => {
      const text = cell.querySelector(".oopd-text"), range = document.createRange();
      const node = [...text.childNodes].findLast((one) => one.nodeType === Node.TEXT_NODE);
      range.setStart(node, node.data.indexOf("5+3"));
      range.setEnd(node, node.data.length);
      const [line, ...boxes] = [range, text, cell.closest(".oopd-ledger-table")].map((e) => e.getBoundingClientRect());
      return line.width > 0 && boxes.every((box) => line.top >= box.top - 1 && line.bottom <= box.bottom + 1);
    }"""
    assert cells["```\n5+3"].evaluate(seen)


def test_settings_on_the_page_are_assignments(mount) -> None:
    view = UpdateLedger(step())
    mounted = mount(view)
    for control in mounted.find("input, select, button").all():
        assert control.get_attribute("aria-label") or control.inner_text().strip()
    mounted.find("input[aria-label^=β]").fill("0.7")
    mounted.press("Tab")
    mounted.page.wait_for_function("harness.models[Object.keys(harness.models)[0]].model.get('anchor_weight') === 0.7")
    mounted.settle()
    assert view.anchor_weight == 0.7
    assert view.totals["anchor_beside"] == pytest.approx(0.7 * UpdateLedger(step(), anchor_weight=1.0).totals["anchor"])
    assert set(mounted.find(".oopd-ledger-controls .oopd-price").all_inner_texts()) == {"free"}
    for name, value in [("target", "papers"), ("anchor_weight", -1.0), ("depth", 0)]:
        with pytest.raises(TraitError):
            setattr(view, name, value)


def test_a_fork_is_selected_in_the_table_on_the_map_by_keys_and_where_all_texts_agree(mount) -> None:
    view = UpdateLedger(step())
    first = view.rows[0]
    assert (view.selected_row, view.selected) == (first["row"], first["start"])
    mounted = mount(view)

    def place() -> int:
        return [(row["row"], row["start"]) for row in view.rows].index((view.selected_row, view.selected))

    mounted.press("n", "n", "p")
    assert place() == 1
    mounted.click(f"{TABLE}:nth-child(5) button")
    assert place() == 4
    mounted.find(".oopd-map-point[data-index='7']").click()
    mounted.settle()
    assert place() == 7
    mounted.frame()
    assert mounted.find(f"{TABLE}:nth-child(8) button").get_attribute("aria-current") == "true"
    mounted.find(".oopd-ledger-savings button").first.click()
    mounted.settle()
    assert view.rows[place()]["kind"] == "agree"
    assert mounted.leaked_keys() == []


def test_the_map_tells_real_choices_from_interchangeable_wordings(mount) -> None:
    sure, many = [" 12 apples"] * 6, [" well, now", " so then we", " let us see", " the next", " and 7", " half"]
    r = rollout(1, forks=4)
    pairs = [(2.0, sure), (2.0, many), (0.1, sure), (0.1, many)]
    audits = tuple(
        audit(a.start, a.chunk, texts, entropy, tokens=6) for a, (entropy, texts) in zip(r.audits, pairs, strict=True)
    )
    view = UpdateLedger(replace(r, audits=audits))
    found = {row["start"]: row["quadrant"] for row in view.rows}
    assert [found[a.start] for a in audits] == [
        "real choice", "interchangeable wordings", "settled", "student sure, teacher split",
    ]  # fmt: skip
    agreement = {row["start"]: row["agreement"] for row in view.rows}
    assert [agreement[a.start] for a in audits] == pytest.approx(
        [mean_self_agreement(texts, characters) for _, texts in pairs]
    )
    mounted = mount(view)
    assert "real choices: 1 · interchangeable wordings: 1 · settled: 1" in mounted.text(".oopd-map-counts")
    mounted.assign(split_entropy=3.0)
    mounted.frame()
    assert "real choices: 0" in mounted.text(".oopd-map-counts")


def test_one_text_has_no_place_on_the_map(mount) -> None:
    view = UpdateLedger(rollout(1, forks=3, samples=1))
    assert all(row["agreement"] is None for row in view.rows)
    assert "3 forks with one text only" in mount(view).text(".oopd-map-counts")


def test_questions_are_told_apart_where_all_texts_agree_or_none() -> None:
    kinds = {(row["row"], row["start"]): row["kind"] for row in UpdateLedger(step()).rows}
    audits = step()[0].audits
    assert kinds[0, audits[0].start] == "agree"
    assert kinds[0, audits[1].start] == "none"
    assert audit_kind(audits[2]) == "informs"


def test_a_smaller_m_saves_what_the_dropped_forks_cost() -> None:
    r = step(1)[0]
    audits = [replace(a, entropy=h) for a, h in zip(r.audits, (0.2, 0.1, 3.0, 2.0), strict=True)]
    found = smaller_forks([replace(r, audits=tuple(audits))])
    assert found is not None
    assert (found.now, found.smaller) == (4, 2)
    assert found.price.input_tokens == sum(a.input_tokens for a in audits[:2])
    assert found.price.cost_usd == pytest.approx(sum(a.cost_usd for a in audits[:2]))
    assert "0 of 2 forks that inform" in found.loses


def test_a_smaller_n_saves_written_tokens_where_texts_say_the_same() -> None:
    r = rollout(1, forks=2)
    same = tuple(replace(a, similarities=(0.6,) * 10, soft_count=6.0) for a in r.audits)
    found = smaller_samples([replace(r, audits=same)])
    assert found is not None
    assert (found.now, found.smaller) == (10, 1)
    assert found.price.output_tokens == round(0.9 * usage_of(same).output_tokens)
    apart = tuple(replace(a, similarities=(0.0, 1.0) * 5, soft_count=5.0) for a in r.audits)
    assert smaller_samples([replace(r, audits=apart)]) is None
    assert savings([]) == []


def test_savings_are_shown_with_tokens_and_dollars(mount) -> None:
    mounted = mount(UpdateLedger(step()))
    waste = mounted.text(".oopd-ledger-savings")
    assert "all agree: 1 of 12" in waste
    assert "none agrees: 1 of 12" in waste
    assert "written, $" in waste
    mounted.assign(target="labels")
    mounted.frame()
    assert "these teach most" in mounted.text(".oopd-ledger-savings")


def test_many_forks_are_shown_when_asked_for(mount) -> None:
    view = UpdateLedger([rollout(2, forks=10, samples=3, row=row) for row in range(12)])
    mounted = mount(view)
    assert mounted.find(TABLE).count() == 100
    mounted.find("button:text('show all 120 forks')").click()
    assert mounted.find(TABLE).count() == 120


def test_without_audits_there_is_a_sentence(mount, inert) -> None:
    empty = rollout(1, forks=1)
    for view in (UpdateLedger(), UpdateLedger(replace(empty, audits=()))):
        assert "ask the teacher" in mount(view).text(".oopd-body")
        assert "ask the teacher" in inert(view).inner_text("body")
        assert repr(view) == "UpdateLedger(no audits)"
    view = UpdateLedger()
    view.show(step())
    assert len(view.rows) == 12


def test_the_inert_picture_has_the_numbers_and_stays_small(inert) -> None:
    view = UpdateLedger(step())
    text = inert(view).inner_text("body")
    for row in view.rows:
        assert f"{100 * row['share']:.1f} %" in text
    many = UpdateLedger([rollout(2, forks=60, samples=2, row=row) for row in range(8)])
    assert len(many.fallback_html().encode()) <= 30_000
    assert repr(view) == "UpdateLedger(12 forks of 3 rollouts, target paper)"
    assert not math.isnan(view.totals["chunk"])
