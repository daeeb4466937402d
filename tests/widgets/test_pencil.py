"""The teacher's pencil: runs of a scan in the answer and in the audit panel, and what other views make of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from omniopd.config.settings import ObjectiveConfig
from omniopd.records import StepRecord
from omniopd_widgets import AuditPanel, PosteriorPlot, RolloutView, UpdateLedger
from omniopd_widgets._parts import curves, history, pencil
from omniopd_widgets._parts.safe import visible
from omniopd_widgets._parts.savings import audit_kind, savings
from tests.widgets.hostile import hostile_strings
from tests.widgets.records import audit_at, rollout_record
from tests.widgets.scanned import ALPHA, ENTROPIES, LOGPROBS, PIECES, one_draw, run, scanned

STRIP = ".oopd-strip .oopd-t"
INK = f"{STRIP}[data-teacher], {STRIP} [data-teacher]"


def test_a_run_is_told_in_words() -> None:
    first, second, third = scanned().audits
    assert pencil.in_words(first) == "agrees for 7 tokens, then “2” for “1” (3 of 3)"
    assert pencil.in_words(second) == "agrees for 1 token, then “ now” for “.⏎” (1 of 3)"
    assert pencil.in_words(third) == "agrees for 3 tokens"
    assert pencil.in_words(run(7, 8, ("",))) == "the end of the turn for “1”"
    assert pencil.acceptance(scanned().audits) == pytest.approx((21 + 5 + 9) / 39)
    assert pencil.acceptance(rollout_record().audits) is None


def test_a_run_at_its_end_has_the_posterior_of_that_token() -> None:
    record = scanned()
    end = pencil.at_its_end(record.audits[1], record)
    assert (end.start, end.stop, end.chunk, end.texts) == (9, 10, ".\n", (".\n", " now", ".\n"))
    assert end.prior == pytest.approx(math.exp(LOGPROBS[9]))
    assert end.posterior_mean == pytest.approx((2 + ALPHA * math.exp(LOGPROBS[9])) / (3 + ALPHA))
    assert pencil.at_its_end(rollout_record().audits[0]) == rollout_record().audits[0]


def test_the_pencil_is_in_the_answer_and_no_part_of_it(mount) -> None:
    mounted = mount(RolloutView(scanned()), theme="contrast")
    assert "".join(mounted.contents(STRIP)) == "".join(PIECES)
    classes = mounted.find(STRIP).evaluate_all("all => all.map((e) => e.className.split(' '))")
    kinds = [next(c for c in ("parted", "doubted", "agreed") if f"oopd-{c}" in found) for found in classes]
    assert kinds == ["agreed"] * 7 + ["parted", "agreed", "doubted"] + ["agreed"] * 3
    said = mounted.find(INK).evaluate_all("all => all.map((e) => [e.dataset.teacher, e.dataset.times])")
    assert said == [["2", " ×3"], ["now", " ×1"]]
    assert mounted.find(".oopd-strip .oopd-fork, .oopd-strip .oopd-chunk").count() == 0
    line = "e => getComputedStyle(e).textDecorationLine"
    assert [mounted.find(f"{STRIP}.oopd-{c}").first.evaluate(line) for c in ("agreed", "parted")] == [
        "underline", "line-through",
    ]  # fmt: skip
    drawn = "e => getComputedStyle(e, '::after').content"
    assert mounted.find(f"{STRIP}.oopd-parted").evaluate(drawn) == '"2 ×3"'


def test_one_draw_has_no_counts_and_what_stands_before_a_line_break_is_drawn_before_it(mount) -> None:
    mounted = mount(RolloutView(one_draw()))
    assert mounted.find(INK).evaluate_all("all => all.map((e) => e.dataset.times ?? null)") == [None, None]
    assert "all 13 tokens were looked at; it agrees, but at 2 places (n, p)" in mounted.text(".oopd-pencil")
    ink, after, before = (
        mounted.find(selector).evaluate("e => e.getBoundingClientRect().top")
        for selector in (f"{STRIP} .oopd-ink[data-teacher]", f"{STRIP} >> nth=10", f"{STRIP} >> nth=8")
    )
    assert abs(ink - before) < 12
    assert after > before + 12


def test_a_space_is_drawn_where_it_is_the_difference(mount) -> None:
    mounted = mount(RolloutView(scanned(run(0, 9, ("books",)), run(9, 10, (" \n",)))))
    assert mounted.find(INK).evaluate_all("all => all.map((e) => e.dataset.teacher)") == ["books", "␣⏎"]
    assert mounted.find(".oopd-forks button").nth(0).inner_text() == "1 8 agree ␣books → books"


def test_n_goes_from_difference_to_difference_and_says_them(mount) -> None:
    mounted = mount(RolloutView(scanned(), selected=0))
    seen = []
    for key in ("n", "n", "n", "p", "]", "]", "["):
        mounted.press(key)
        seen.append((mounted.view.selected, mounted.view.fork))
    assert seen == [(7, 0), (9, 1), (9, 1), (7, 0), (9, 1), (12, 2), (9, 1)]
    status = "document.querySelector('.oopd-status').textContent"
    mounted.page.wait_for_function(f"{status}.includes('the teacher would have written “ now” (1 of 3), and 2 of 3')")
    detail = mounted.text(".oopd-fork-detail")
    assert "Run 2 of 3 (tokens 8–9) · agrees for 1 token, then “ now” for “.⏎” (1 of 3)" in detail
    buttons = mounted.find(".oopd-forks button").all_inner_texts()
    assert [" ".join(b.split()) for b in buttons] == ["1 7 agree 1 → 2", "2 1 agree .⏎ → now", "3 3 agree"]
    assert mounted.leaked_keys() == []


def test_it_opens_on_a_difference_and_only_enter_asks_about_a_token_of_a_run(mount) -> None:
    mounted = mount(RolloutView(scanned()))
    assert (mounted.view.selected, mounted.view.fork) == (7, 0)
    opened = []
    mounted.view.observe(lambda change: opened.append(change["new"]), "opened")
    mounted.find(STRIP).nth(8).click()
    mounted.find(".oopd-forks button").nth(0).click()
    mounted.settle()
    assert opened == []
    assert mounted.view.selected == 7
    mounted.root.focus()
    mounted.press("ArrowLeft", "Enter")
    assert opened == [6]
    mounted.view.fork = 2
    assert mounted.view.selected == 12


def test_trust_is_each_tokens_own(mount) -> None:
    mounted = mount(RolloutView(scanned(), metric="trust"))
    mounted.press("Home")
    first = (3 + ALPHA * math.exp(LOGPROBS[0])) / (3 + ALPHA)
    mounted.page.wait_for_function(
        f"document.querySelector('.oopd-status').textContent.includes('trust in the chunk {first:.3f}')"
    )


@pytest.mark.parametrize("width", [420, 1280])
def test_a_long_pencil_wraps(mount, width: int) -> None:
    pieces = tuple(f" word{i}" for i in range(400))
    runs = [run(i, i + 2, (" quite another one",), pieces) for i in range(0, 12, 2)]
    places = enumerate(runs * 33)
    audits = tuple(replace(audit, start=2 * k, stop=2 * k + 2) for k, audit in places)
    record = replace(
        scanned(), pieces=pieces, logprobs=(-0.1,) * 400, entropies=(0.1,) * 400, anchored=(), audits=audits
    )
    mounted = mount(RolloutView(record))
    mounted.page.set_viewport_size({"width": width, "height": 800})
    for place in (mounted.root, mounted.find(".oopd-strip")):
        assert place.evaluate("e => e.scrollWidth - e.clientWidth") <= 1


def test_the_panel_says_how_long_it_agrees_and_what_then(mount) -> None:
    mounted = mount(AuditPanel(scanned()))
    assert repr(mounted.view) == "AuditPanel(0 forks, 3 runs of a scan, 9 texts)"
    assert mounted.view.fork == 0
    assert mounted.text(".oopd-facts h3") == "The teacher agrees for 7 tokens, then “2” for “1” (3 of 3)"
    assert mounted.shown(".oopd-run .oopd-text") == ["Mia has 67-25=4", "1"]
    assert mounted.find(".oopd-run .oopd-parted").get_attribute("data-teacher") == "2"
    rows = [" ".join(t.split()) for t in mounted.find(".oopd-texts tbody tr").all_inner_texts()]
    assert rows == ["2 1.00 3 of 3", "1 0.00 0 of 3 ← the student's"]
    assert mounted.find(".oopd-matrix, .oopd-survival, .oopd-disagreement").count() == 0
    assert not mounted.find("select[name=similarity]").is_visible()
    mounted.press("n")
    rows = [" ".join(t.split()) for t in mounted.find(".oopd-texts tbody tr").all_inner_texts()]
    assert rows == [". 0.67 2 of 3 ← the student's", "now 0.33 1 of 3"]
    mounted.press("n", "1", "ArrowDown")
    assert mounted.text(".oopd-facts h3") == "The teacher agrees for 3 tokens"
    assert mounted.text(".oopd-texts tbody th") == "end of turn"
    assert mounted.leaked_keys() == []


def test_runs_and_forks_stand_side_by_side_in_the_panel(mount) -> None:
    mounted = mount(AuditPanel([scanned(), audit_at(2)], fork=0))
    assert not mounted.find("select[name=similarity]").is_visible()
    mounted.assign(fork=3)
    assert mounted.find("select[name=similarity]").is_visible()
    assert mounted.find(".oopd-matrix").count() == 1
    assert mounted.find(".oopd-disagreement button").count() == 1
    mounted.assign(fork=1)
    assert mounted.find(".oopd-matrix").count() == 0


def test_hostile_tokens_of_a_teacher_are_shown_and_not_obeyed(mount, inert) -> None:
    texts = [text for text in hostile_strings() if text][:200]
    for number in range(0, 200, 40):
        record = scanned(run(0, 8, texts[number : number + 20]), run(8, 10, texts[number + 20 : number + 40]))
        for view in (RolloutView(record), AuditPanel(record)):
            mounted = mount(view)
            for _ in record.audits:
                mounted.press("n")
            mounted.assert_quiet()
            page = inert(view)
            assert page.locator("script, img, iframe, a, svg, style, link").count() == 0
    shown = mounted.shown(".oopd-texts tbody th .oopd-text")
    assert set(shown) <= {visible(text) for text in (*texts, *PIECES)}


def test_a_posterior_of_a_run_is_that_of_its_last_token(mount) -> None:
    record = scanned()
    view = PosteriorPlot(record, concentration=ALPHA)
    assert view.summary() == "3 runs, 3 texts each, α = 0.3"
    for row, place, k in zip(view.results(), (7, 9, 12), (0, 2, 3), strict=True):
        prior = math.exp(LOGPROBS[place])
        assert (row["start"], row["prior"]) == (place, pytest.approx(prior))
        assert row["posterior_mean"] == pytest.approx((k + ALPHA * prior) / (3 + ALPHA))
    assert [f["entropy"] for f in view.forks] == [ENTROPIES[7], ENTROPIES[9], ENTROPIES[12]]
    mounted = mount(view)
    assert "Run 2 of 3 (tokens 8–9), its last token: entropy" in mounted.text(".oopd-posterior-detail h3")
    assert "So the agreement is a count" in mounted.text(".oopd-posterior-detail")
    assert not mounted.find(".oopd-posterior-paid").is_visible()
    view.show(rollout_record())
    mounted.settle()
    assert mounted.find(".oopd-posterior-paid").is_visible()
    assert "The agreement adds up similarities" in mounted.text(".oopd-posterior-detail")


def test_the_ledger_places_a_run_by_its_last_token_and_saves_nothing(mount) -> None:
    record = scanned()
    settings = ObjectiveConfig(target="posterior_kl", concentration=ALPHA, anchor_weight=0.0)
    view = UpdateLedger(record, settings)
    by_start = {row["start"]: row for row in view.rows}
    assert [by_start[s]["agreement"] for s in (0, 8, 10)] == pytest.approx([1.0, 1 / 3, 1.0])
    assert [by_start[s]["entropy"] for s in (0, 8, 10)] == [ENTROPIES[7], ENTROPIES[9], ENTROPIES[12]]
    assert [audit_kind(a) for a in record.audits] == ["informs", "informs", "agree"]
    assert savings([record]) == []
    mounted = mount(view)
    assert "1 of 3 runs end in agreement" in mounted.text(".oopd-ledger-savings")


def test_a_table_of_rollouts_says_how_often_the_teacher_agrees() -> None:
    [row] = history.rows([scanned()])
    assert row["trust"] == pytest.approx(35 / 39)


def test_a_difference_is_followed_to_the_step_at_which_they_agree() -> None:
    before = scanned(step=1)
    better = [*PIECES[:7], "2", *PIECES[8:]]
    after = scanned(run(0, 13, ("", "", ""), better), step=10, pieces=better)
    found = history.through_training([before, after])
    assert [(f["start"], f["stop"]) for f in found["strips"][0]["forks"]] == [(7, 8), (9, 10)]
    assert found["strips"][1]["forks"] == []
    begins = {audit.stop: audit.start for audit in before.audits}  # a run is named by all its tokens
    assert [f["begin"] for f in found["strips"][0]["forks"]] == [begins[8], begins[10]]
    [same] = [s for s in found["same"] if s["start"] == 7]
    assert [(p["step"], p["chunk"], p["share"]) for p in same["points"]] == [(1, "1", 0.0), (10, "2", 1.0)]


def test_the_monitor_draws_agreement_and_texts_of_a_scan_in_plain_words() -> None:
    scan = {"scan/acceptance": 0.9, "scan/texts_per_answer": 4.0, "soft_count/share_mean": 0.2, "entropy/forks": 0.4}
    chunks = {"soft_count/share_mean": 0.7, "entropy/forks": 0.4}
    drawn = {
        kind: {p.title: [c.name for c in p.curves] for p in curves.panels([StepRecord(1, 1.0, 1.0, 0.0, metrics)], [])}
        for kind, metrics in (("scan", scan), ("chunks", chunks))
    }
    assert drawn["scan"]["Agreement with the teacher"] == ["teacher agrees"]
    assert drawn["scan"]["Texts of the teacher"] == ["texts an answer"]
    assert drawn["scan"]["Entropy of the student"] == ["where texts begin"]
    assert drawn["chunks"]["Agreement with the teacher"] == ["agreement"]
    assert drawn["chunks"]["Entropy of the student"] == ["at forks"]
    assert "Texts of the teacher" not in drawn["chunks"]
