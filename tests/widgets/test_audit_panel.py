"""The audit panel in a browser, and the evidence behind it: equal texts, differences, survival, next tokens."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from omniopd.method.disagreement import teacher_tokens
from omniopd.method.evidence import ForkEvidence, agreement_through, next_token_labels
from omniopd.method.similarity import characters, exact
from omniopd_widgets import AuditPanel, RolloutView
from omniopd_widgets._parts import evidence as ev
from omniopd_widgets._parts.safe import visible
from tests.widgets.hostile import hostile_strings, long_line
from tests.widgets.records import CHUNK, TEXTS, audit_at, rollout_record, tokens

TEXT = st.text("ab 12.", max_size=12)


@given(TEXT, TEXT)
def test_the_parts_of_a_difference_are_the_text_and_the_chunk(chunk: str, text: str) -> None:
    parts = ev.differences(chunk, text)
    assert "".join(p for kind, p in parts if kind != "gone") == text
    assert "".join(p for kind, p in parts if kind != "other") == chunk


def test_very_long_texts_differ_in_their_middle() -> None:
    a, b = "x " * 3000 + "one" + " y" * 3000, "x " * 3000 + "two" + " y" * 3000
    parts = [(kind, len(part)) for kind, part in ev.differences(a, b)]
    assert parts == [("same", 6000), ("gone", 3), ("other", 3), ("same", 6000)]


def test_survival_and_next_tokens_are_those_of_the_targets() -> None:
    audit = audit_at(2)
    ids: dict[str, int] = {}
    number = lambda pieces: tuple(ids.setdefault(p, len(ids)) for p in pieces)  # noqa: E731
    evidence = ForkEvidence(
        0, number(tokens(CHUNK)), audit.soft_count, len(TEXTS), 0.6,
        tuple(number(pieces)[: audit.stop - audit.start] for pieces in audit.text_pieces),
    )  # fmt: skip
    for own_pieces in (tokens(CHUNK), None):
        alive, first = ev.survival(audit, own_pieces)
        assert alive == pytest.approx(agreement_through(evidence, numpy).tolist())
        assert first == [14, 14, 4, 0, 0, 3]
    [labels] = next_token_labels(evidence)
    assert {ids[piece]: count / 6 for piece, count in teacher_tokens(audit)} == pytest.approx(labels)


def test_texts_without_tokens_still_have_first_words() -> None:
    audit = audit_at(2, text_pieces=())
    assert teacher_tokens(audit) == [(" then", 4), (" So", 1)]
    assert ev.survival(audit) == ([], [None] * 6)


def test_self_agreement_compares_each_text_with_each() -> None:
    table = ev.self_agreement(TEXTS, characters)
    assert table == [characters(a, [b])[0] for a in TEXTS for b in TEXTS]
    assert table[::7] == [1.0] * 6


def test_a_text_too_long_to_compare_has_no_similarity() -> None:
    audit = replace(audit_at(2), texts=(*TEXTS[:5], "y" * 30_000))
    assert ev.similarities(audit)["characters"][4:] == [0.0, None]
    assert math.isnan(ev.self_agreement(audit.texts, characters)[5])


def test_equal_texts_are_one_row_with_their_number(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    assert repr(mounted.view) == "AuditPanel(2 forks, 9 texts)"
    assert mounted.find(".oopd-texts tbody tr").count() == 6
    assert mounted.text(".oopd-texts tbody tr:nth-child(2) button") == "1, 2 ×2"
    assert mounted.contents(".oopd-texts td > .oopd-text")[:5] == [CHUNK, TEXTS[0], TEXTS[5], TEXTS[2], TEXTS[3]]


def test_differences_are_marked_without_colour_and_copy_as_the_text(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()), theme="contrast")
    row = mounted.find(".oopd-texts tbody tr").nth(2)
    assert row.locator(".oopd-differs").all_inner_texts() == [" 76", " 76", " 4"]
    assert [g.get_attribute("data-gone") for g in row.locator(".oopd-gone").all()] == [" 67", " 67", " 3"]
    line = row.locator(".oopd-differs").first.evaluate("e => getComputedStyle(e).textDecorationLine")
    assert line == "underline"


@pytest.mark.parametrize(
    ("order", "first"), [("similar", TEXTS[0]), ("different", ""), ("frequent", TEXTS[0]), ("drawn", TEXTS[0])]
)
def test_the_order_is_chosen(mount, order: str, first: str) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    mounted.assign(order=order)
    assert mounted.contents(".oopd-texts td > .oopd-text")[1] == first


def test_another_similarity_recomputes_everything_without_a_call(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    mounted.find("select[name=similarity]").select_option("exact")
    mounted.settle()
    assert mounted.view.similarity == "exact"
    assert mounted.view.matrix_of == "0/exact"
    numbers = mounted.text(".oopd-numbers").replace("\n", " ")
    assert "agreement 0.00 (sum of 6)" in numbers
    assert f"trust {0.6 / 7:.3f}" in numbers
    assert list(struct.unpack("<36f", mounted.view.matrix)) == [float(a == b) for a in TEXTS for b in TEXTS]
    assert mounted.text(".oopd-matrix tr:nth-child(2)").split() == ["1", "1", "1", ".0", ".0", ".0", ".0"]


def test_forks_where_two_similarities_disagree_come_first_and_are_one_click_away(mount) -> None:
    record = rollout_record()
    mounted = mount(AuditPanel(record, fork=0))
    gaps = [abs(a.posterior_mean - (sum(exact(a.chunk, a.texts)) + 0.6) / (len(a.texts) + 1)) for a in record.audits]
    listed = mounted.find(".oopd-disagreement button").all_inner_texts()
    assert [int(t.split()[0]) - 1 for t in listed] == sorted(range(2), key=lambda i: -gaps[i])
    assert f"apart {max(gaps):.2f}" in listed[0]
    mounted.find(".oopd-disagreement button").nth(1).click()
    mounted.settle()
    assert mounted.view.fork == sorted(range(2), key=lambda i: -gaps[i])[1]


def test_a_further_similarity_joins_the_others(mount) -> None:
    longer = lambda chunk, texts: [float(len(t) >= len(chunk)) for t in texts]  # noqa: E731
    mounted = mount(AuditPanel(rollout_record(), similarities={"longer": longer}))
    mounted.press("s", "s", "s", "s", "s")
    assert mounted.view.similarity == "longer"
    assert "agreement 0.50 (sum of 6)" in mounted.text(".oopd-numbers").replace("\n", " ")
    with pytest.raises(TraitError, match=r"'no such': it must be one of recorded, characters, .*, longer"):
        mounted.view.similarity = "no such"


def test_next_tokens_survival_and_credit_are_read_off(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    sections = mounted.text(".oopd-sections")
    assert "4 of 6" in sections
    assert "end of turn" in sections
    assert "The student gave its own token 59.5 %" in sections
    label = mounted.find("svg.oopd-survival").get_attribute("aria-label")
    assert label == "of 6 texts 67 % agree with the first token and 0 % with all 16"
    mounted.find("details:has(table) summary").click()
    row = mounted.find("details table tr").nth(4).locator("td").all_inner_texts()
    assert row[0] == "4"
    assert row[2:4] == ["50 %", "1"]


def test_the_handover_says_whether_it_is_exact(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    assert "prefill" in mounted.text(".oopd-handover")
    assert "Teacher continued the student's exact text" in mounted.text(".oopd-handover")
    assert "some-teacher · 1,200 + 310 tokens · $0.01" in mounted.text(".oopd-handover")
    mounted.press("n")
    assert mounted.view.fork == 1
    assert "not exact" in mounted.text(".oopd-handover")


def test_keys_choose_texts_and_stay_in_the_view(mount) -> None:
    mounted = mount(AuditPanel(rollout_record()))
    mounted.press("ArrowDown", "ArrowDown")
    assert mounted.view.continuation == 5
    mounted.press("5")
    assert mounted.view.continuation == 4
    mounted.press("o", "d", "b", "d", "?")
    assert (mounted.view.order, mounted.view.compare) == ("different", "characters")
    assert mounted.leaked_keys() == []


def test_a_text_has_one_number_in_the_panel_and_in_the_rollout(mount) -> None:
    record = rollout_record()
    panel = mount(AuditPanel(record, order="different"))
    buttons = panel.find(".oopd-texts tbody button").all_inner_texts()
    assert buttons == ["5", "4", "3", "6", "1, 2 ×2"]
    strip = mount(RolloutView(record))
    for key in ("2", "4", "6"):
        panel.press(key)
        strip.press(key)
        assert panel.view.continuation == strip.view.continuation == int(key) - 1
        chosen = panel.find(".oopd-texts [aria-pressed=true]").inner_text()
        assert key in chosen.split(" ×")[0].split(", ")
        assert strip.find(".oopd-pickers [aria-pressed=true]").inner_text() == key


def test_a_pressed_button_keeps_the_focus_and_the_chosen_text_is_in_sight(mount) -> None:
    texts = tuple(f"{word} line\n" * 3 for word in "abcdefghijklmnopqrst")
    panel = mount(AuditPanel([audit_at(2, texts=texts), audit_at(40)], compare="exact", fork=0))
    panel.find(".oopd-texts tbody button").nth(2).focus()
    panel.press("Enter", "Enter")  # chosen, and taken back
    assert panel.view.continuation == -1
    panel.find(".oopd-disagreement button").nth(0).focus()
    panel.press("Enter")
    assert panel.page.evaluate("() => document.activeElement.closest('.oopd-disagreement') !== null")
    panel.assign(fork=0)
    panel.root.focus()
    in_sight = """() => {
      const [table, student, row] = [".oopd-texts", ".oopd-student", ".oopd-here"].map((s) =>
        document.querySelector(s).getBoundingClientRect());
      return row.top >= student.bottom - 1 && row.bottom <= table.bottom + 1;
    }"""
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown", "ArrowDown"):
        panel.press(key)
        assert panel.page.evaluate(in_sight), key


def test_a_matrix_of_many_texts_can_be_read_aloud(mount) -> None:
    panel = mount(AuditPanel(audit_at(2, texts=tuple("abcdefghijklm"))))
    assert set(panel.contents(".oopd-matrix td + td, .oopd-matrix th + td")) == {"0.00", "1.00"}


@pytest.mark.parametrize("wide", [1000, 700])
def test_a_matrix_of_many_texts_scrolls_in_its_section_and_covers_no_other(mount, wide: int) -> None:
    panel = mount(AuditPanel([audit_at(2, texts=tuple(f"text {i} {'x' * i}" for i in range(32))), audit_at(40)]))
    panel.root.evaluate("(root, wide) => { root.style.width = `${wide}px`; }", wide)
    panel.assign(fork=0, compare="exact")
    right_of = "e => e.getBoundingClientRect().right"
    edge = panel.root.evaluate(right_of)
    sections = panel.find(".oopd-sections > section")
    for i in range(sections.count()):
        assert sections.nth(i).evaluate("e => e.scrollWidth <= e.clientWidth"), sections.nth(i).inner_text()[:40]
        assert sections.nth(i).evaluate(right_of) <= edge
    frame = panel.find(".oopd-matrix-frame")
    matrix, other = frame.locator("xpath=.."), panel.find(".oopd-disagreement").locator("xpath=..")
    a, b = matrix.bounding_box(), other.bounding_box()
    assert a["x"] + a["width"] <= b["x"] or a["y"] + a["height"] <= b["y"]
    assert frame.evaluate("e => e.scrollWidth > e.clientWidth")
    last = panel.find(".oopd-matrix tr:last-child td:last-child")
    last.scroll_into_view_if_needed()
    assert last.evaluate(right_of) <= frame.evaluate(right_of) + 1


def test_an_audit_without_texts_is_inert_text_too() -> None:
    panel = AuditPanel(replace(rollout_record(), audits=(audit_at(2, texts=()),)))
    assert "agreement 0.00 (sum of 0)" in "".join(map(str, panel.fallback()))


def test_without_an_audit_it_says_so(mount) -> None:
    mounted = mount(AuditPanel(replace(rollout_record(), audits=())))
    assert mounted.text(".oopd-facts") == "No fork of this answer was audited."
    assert mounted.view.go_to(3) is False


def test_hostile_texts_are_shown_as_they_are(mount, inert) -> None:
    texts = hostile_strings()
    audits = [
        audit_at(i, texts[i], texts[i : i + 50], handover=texts[i + 1], served_model=texts[i + 2], problem=texts[i + 3])
        for i in range(0, 1000, 50)
        if i + 3 < 1000
    ]
    mounted = mount(AuditPanel(audits, order="drawn", fork=0, problem=texts[7]))
    for i, audit in enumerate(audits):
        mounted.assign(fork=i)
        rows = mounted.shown(".oopd-texts td > .oopd-text")
        assert rows[0] == visible(audit.chunk)
        assert rows[1:] == [visible(text) for text in dict.fromkeys(audit.texts)]
        assert visible(audit.problem) in mounted.shown(".oopd-facts .oopd-problem")
    page = inert(mounted.view)
    assert page.locator("script, img, iframe, a, svg, style, link").count() == 0


def test_a_line_of_a_megabyte_is_shown(mount, inert) -> None:
    line = long_line()
    mounted = mount(AuditPanel(audit_at(0, "short", (line, "short"), text_pieces=()), order="drawn"))
    assert mounted.shown(".oopd-texts td > .oopd-text")[1] == visible(line)
    inert(mounted.view)
