"""Facts about labels by hand: a line each, the last counts, they stay with their fork, similarities are judged."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import pytest

from omniopd.config import load_recipe
from omniopd.errors import RunError
from omniopd.io.locks import lock
from omniopd.runs.files import shared
from omniopd.runs.fork_labels import FILE, LABELS, agreement_with_similarities, give_label, labelled_audits, labels_of
from omniopd.runs.store import Run, create_run
from tests.widgets.records import audit_at, rollout_record
from tests.widgets.scanned import scanned


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = create_run(tmp_path, load_recipe("embedded"), "one")
    made.write_rollouts(3, [rollout_record()])
    return made


def test_the_last_label_of_a_fork_stands_in_the_table_of_forks(run: Run) -> None:
    audit = rollout_record().audits[0]
    give_label(run.path, 3, 0, audit.start, audit.chunk, "only wording")
    give_label(run.path, 3, 0, audit.start, audit.chunk, "real choice", "31 is\nwrong \u202e")
    table = run.forks()
    assert table.label.tolist() == ["real choice", "", ""]
    assert table.note.tolist() == ["31 is\nwrong \u202e", "", ""]
    assert run.forks('label == "real choice"').start.tolist() == [audit.start]
    assert len((run.path / FILE).read_text().splitlines()) == 2
    give_label(run.path, 3, 0, audit.start, audit.chunk, "")
    assert labels_of(run.path) == {}


def test_a_label_does_not_pass_to_another_chunk_at_its_place(run: Run) -> None:
    record = rollout_record()
    give_label(run.path, 3, 0, record.audits[0].start, record.audits[0].chunk, "other")
    other = replace(record, audits=(replace(record.audits[0], chunk=" something else"),))
    run.write_rollouts(3, [other])
    assert run.forks().label.tolist() == ["", ""]


def test_half_a_line_of_a_crash_costs_that_line_only(run: Run) -> None:
    give_label(run.path, 3, 0, 2, "a", "other")
    with open(run.path / FILE, "a") as file:
        file.write('{"kind":"fork_label","step"')
    give_label(run.path, 3, 0, 5, "b", "other")
    assert set(labels_of(run.path)) == {(3, 0, 2, "a"), (3, 0, 5, "b")}
    with open(run.path / FILE, "a") as file:
        file.write("{broken\n")
    with pytest.raises(RunError, match="line 3 of"):
        labels_of(run.path)


def test_what_is_no_label_is_refused_with_the_choice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="take one of real choice, only wording, teacher wrong, other"):
        give_label(run.path, 3, 0, 2, "a", "wrong")
    with pytest.raises(RunError, match="write at most"):
        give_label(run.path, 3, 0, 2, "a", "other", "x" * 3000)
    monkeypatch.setattr(shared, "WAIT_S", 0.1)
    held = lock(run.path / "fork_labels.lock")
    assert held is not None
    with held, pytest.raises(RunError, match="held by another process"):
        give_label(run.path, 3, 0, 2, "a", "other")
    assert not (run.path / FILE).exists()


def _give_many(path: Path, first: int) -> None:
    for start in range(first, first + 20):
        give_label(path, 1, 0, start, "x", "other")


def test_two_people_at_once_lose_no_label(run: Run) -> None:
    context = get_context("fork")
    people = [context.Process(target=_give_many, args=(run.path, first)) for first in (0, 100)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert {start for _, _, start, _ in labels_of(run.path)} == {*range(20), *range(100, 120)}


def test_agreement_is_the_share_of_pairs_in_the_right_order() -> None:
    texts = ("the sum is 3", "the sum is 4")
    forks = [
        (audit_at(0, "the sum is 3", texts), "only wording"),
        (audit_at(0, "we get 9", texts), "real choice"),
        (audit_at(0, "the sum is 5", texts), "real choice"),
        (audit_at(0, "sum 3", texts), "only wording"),
        (audit_at(0, "x", texts), "teacher wrong"),
    ]
    table = agreement_with_similarities([*forks, (scanned().audits[0], "real choice")])
    means = {label: [a.soft_count / 2 for a, given in forks if given == label] for label in LABELS}
    pairs = [(a > b) + (a == b) / 2 for a, b in product(means["only wording"], means["real choice"])]
    recorded = table.loc["recorded"]
    assert (recorded["ranks"], recorded["pairs"]) == (sum(pairs) / 4, 4)
    assert recorded["only wording"] == pytest.approx(sum(means["only wording"]) / 2)
    assert table.loc["characters"].equals(recorded.rename("characters"))
    assert table.loc["exact", "only wording"] == 0.25
    assert agreement_with_similarities([])["pairs"].tolist() == [0] * len(table)


def test_labelled_audits_are_found_by_their_fork(run: Run) -> None:
    audit = rollout_record().audits[1]
    give_label(run.path, 3, 0, audit.start, audit.chunk, "teacher wrong")
    assert labelled_audits(run.all_rollouts(), labels_of(run.path)) == [(audit, "teacher wrong")]
