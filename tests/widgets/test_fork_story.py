"""What is said of a fork at a glance: the texts, the trust, which way an update pushes, and when that is doubtful."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from omniopd.config import load_recipe
from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts.fork_story import stories

PAPER = load_recipe("embedded", **{
    "audit.way": "chunks", "audit.forks": 2, "audit.chunk_tokens": 2, "audit.similarity": "characters",
    "audit.samples": 8, "objective.target": "paper",
})  # fmt: skip


def answer(*audits: AuditRecord) -> RolloutRecord:
    """`98-69=31 stamps`: the student wrote "31" with probability .6."""
    return RolloutRecord(
        0, 0, "p", (), ("98-69=", "3", "1", " stamps"), (-0.1, math.log(0.6), -0.2, -0.1), (0.1, 0.7, 0.3, 0.1),
        audits=audits, right=False, answer="29",
    )  # fmt: skip


def at_the_mistake(*texts: str) -> AuditRecord:
    similarities = tuple(0.875 if text != "31" else 1.0 for text in texts)
    count = sum(similarities)
    pieces = tuple(tuple(text) for text in texts)
    return AuditRecord(1, 3, 0.7, "31", texts, similarities, count, 0.55, (count + 0.55) / (len(texts) + 1), 1.0,
                       text_pieces=pieces)  # fmt: skip


def test_a_update_that_strengthens_what_the_teacher_never_writes_is_said_with_what_would_change_it() -> None:
    [story] = stories(answer(at_the_mistake(*["29"] * 8)), PAPER)
    assert story["push"]["way"] == "up"
    assert story["warning"]["agreement"] == pytest.approx(0.875)
    assert dict(story["warning"]["similarities"])["exact"] == pytest.approx(0.55 / 9)
    assert story["warning"]["targets"] == ["labels", "posterior_kl"]
    ways = {push["target"]: push["way"] for push in story["pushes"]}
    assert ways["centred"] == ways["prefix_credit"] == "unknown"  # the step's other answers decide: none is here
    [one_agrees] = stories(answer(at_the_mistake(*["29"] * 7, "31")), PAPER)
    assert one_agrees["warning"] is None
    [labelled] = stories(answer(at_the_mistake(*["29"] * 8)), replace(
        PAPER, objective=replace(PAPER.objective, target="labels")))  # fmt: skip
    assert labelled["warning"] is None


def test_labels_push_by_what_they_leave_the_students_token_less_its_probability() -> None:
    [story] = stories(answer(at_the_mistake(*["29"] * 6, "31", "31")), PAPER)
    pushes = {push["target"]: push for push in story["pushes"]}
    assert pushes["labels"]["by"] == pytest.approx(2 / 8 - 0.6)
    # The posterior over tokens is (n f + α π) / (n + α): here (2 + .6) / 9.
    assert pushes["posterior_kl"]["by"] == pytest.approx((2 + 0.6) / 9 - 0.6)
    assert pushes["labels"]["towards"] == pushes["posterior_kl"]["towards"] == "2"
    assert (pushes["labels"]["way"], pushes["paper"]["way"]) == ("down", "up")
    assert pushes["paper"]["by"] == pytest.approx(story["trust"])


def test_texts_that_are_not_alike_are_not_what_strengthens_a_token() -> None:
    unlike = replace(at_the_mistake(*["29"] * 8), similarities=(0.0,) * 8, soft_count=0.0)
    [story] = stories(answer(unlike), PAPER)
    assert (story["push"]["way"], story["warning"]) == ("up", None)
    untokenized = replace(at_the_mistake(*["31 or so"] * 8), text_pieces=())
    assert stories(answer(untokenized), PAPER)[0]["warning"] is None


def test_half_of_a_character_is_no_end_of_the_turn() -> None:
    record = RolloutRecord(
        0, 0, "p", (), ("a", "", "é", "b"), (-0.1, math.log(0.6), -0.2, -0.1), (0.1, 0.7, 0.3, 0.1),
        audits=(replace(at_the_mistake(*["é"] * 8), chunk="é", text_pieces=(("", "é"),) * 8),),
    )  # fmt: skip
    [same] = stories(record, PAPER)
    pushes = {push["target"]: push for push in same["pushes"]}
    assert (same["own"], same["next"]) == ("half of a character", [["half of a character", 8]])
    assert pushes["labels"]["by"] == pytest.approx(0.4)
    assert same["warning"] is None
    ends = replace(record, audits=(replace(record.audits[0], texts=("",) * 8, text_pieces=(("",),) * 8),))
    [other] = stories(ends, PAPER)
    pushes = {push["target"]: push for push in other["pushes"]}
    assert (other["next"], pushes["labels"]["by"]) == ([["", 8]], pytest.approx(-0.6))


def test_a_target_that_asks_for_nothing_is_told_too() -> None:
    nothing = replace(PAPER, objective=replace(PAPER.objective, target="none"))
    [story] = stories(answer(at_the_mistake(*["29"] * 8)), nothing)
    assert story["push"]["way"] == "nowhere"


def test_equal_texts_are_one_line_with_its_number_the_most_frequent_first() -> None:
    [story] = stories(answer(at_the_mistake("31", *["29"] * 5, "28")), PAPER)
    assert [text["draws"] for text in story["texts"]] == [5, 1, 1]
    assert story["next"] == [["2", 6], ["3", 1]]
    assert story["share"] == pytest.approx(1.0)


def test_of_a_run_the_last_token_is_told() -> None:
    run = AuditRecord(0, 2, 0.1, "98-69=3", ("98-69=2",) * 4, (0.0,) * 4, 0.0, 0.6, 0.12, 1.0, run=True,
                      text_pieces=(("98-69=", "2"),) * 4)  # fmt: skip
    scanned = replace(PAPER, audit=replace(PAPER.audit, way="scan"), objective=replace(
        PAPER.objective, target="posterior_kl"))  # fmt: skip
    [story] = stories(answer(run), scanned)
    assert (story["place"], story["own"], story["agreed"]) == (1, "3", "98-69=")
    assert story["texts"] == [{"draws": 4, "parts": [["other", "2"]], "similarity": 0.0}]
    assert story["sure"] == pytest.approx(0.6)
    assert story["push"]["by"] == pytest.approx(0.6 / 5 - 0.6)
