"""Tags and notes stand beside the run they are about, and of two who write at once neither loses a tag."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

import omniopd
from omniopd.errors import RunError
from omniopd.io.locks import lock
from omniopd.runs.files import shared
from omniopd.runs.notes import FILE, Notes, annotate, notes_of, tags_in
from tests.widgets import watched
from tests.widgets.hostile import hostile_strings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return watched.run_in(tmp_path, "one", state="finished").path


def test_tags_are_added_and_taken_away_and_the_last_note_counts(run: Path) -> None:
    assert notes_of(run) == Notes()
    annotate(run, ["good", "paper"], note="first")
    assert annotate(run, ["seen", "good"], remove=["paper"]) == Notes(("good", "seen"), "first")
    assert annotate(run, note="") == Notes(("good", "seen"), "")
    assert notes_of(run) == Notes(("good", "seen"))


def test_a_title_is_one_line_and_the_last_counts(run: Path) -> None:
    annotate(run, ["good"], title="first")
    assert annotate(run, note="n") == Notes(("good",), "n", "first")
    assert annotate(run, title="second").title == "second"
    assert annotate(run, title="") == Notes(("good",), "n")
    for wrong in ("x" * 81, "two\nlines"):
        with pytest.raises(RunError, match="is no title: write one line of at most 80 characters"):
            annotate(run, title=wrong)


def _tag_many(run: Path, who: str) -> None:
    for number in range(10):
        annotate(run, [f"{who}{number}"])


def test_two_processes_at_once_lose_no_tag(run: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    people = [spawn.Process(target=_tag_many, args=(run, who)) for who in "ab"]
    for one in people:
        one.start()
    for one in people:
        one.join(120)
    assert set(notes_of(run).tags) == {f"{who}{number}" for who in "ab" for number in range(10)}


def test_what_is_no_tag_is_refused_and_nothing_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("", "two words", "a,b", "line\nbreak", "x" * 41):
        with pytest.raises(RunError, match="is no tag: write one word of at most 40 characters"):
            annotate(run, [wrong])
    with pytest.raises(RunError, match="keep at most 20"):
        annotate(run, [f"t{n}" for n in range(21)])
    with pytest.raises(RunError, match="write at most 2,000"):
        annotate(run, note="x" * 2001)
    monkeypatch.setattr(shared, "WAIT_S", 0.1)
    held = lock(run / "notes.lock")
    assert held is not None
    with held, pytest.raises(RunError, match="held by another process"):
        annotate(run, ["good"])
    assert not (run / FILE).exists()


def test_a_note_is_any_text_and_comes_back_as_it_was(run: Path) -> None:
    for text in (text for text in hostile_strings() if len(text) <= 2000):
        assert annotate(run, note=text).note == text


def test_a_line_that_was_torn_is_mended_and_a_damaged_one_is_named(run: Path) -> None:
    annotate(run, ["good"])
    with open(run / FILE, "a") as file:
        file.write('{"kind":"run_note","add":["ha')
    assert notes_of(run).tags == ("good",)
    assert annotate(run, ["better"]).tags == ("good", "better")
    with open(run / FILE, "a") as file:
        file.write("{broken\n")
    with pytest.raises(RunError, match=r"line 3 of .*notes\.jsonl cannot be read .*: take that line out of"):
        notes_of(run)
    table = omniopd.runs(run.parent)  # one damaged note hides no run
    assert table.loc["one", "state"] == "finished"
    assert "cannot be read" in table.loc["one", "note"]


def test_the_table_of_runs_has_all_of_it(run: Path) -> None:
    annotate(run, ["good", "paper"], note="the first one", title="A run")
    table = omniopd.runs(run.parent)
    assert table.loc["one", ["tags", "note", "title"]].tolist() == ["good paper", "the first one", "A run"]


def test_a_line_of_tags_is_parted_by_spaces_and_commas() -> None:
    assert tags_in(" a, b  a\tc,,") == ("a", "b", "c")
    assert tags_in("") == ()
