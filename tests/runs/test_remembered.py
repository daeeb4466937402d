"""Facts about remembered rows: the same table, read again only where a file changed, and never a wrong one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import omniopd
from omniopd.config import load_recipe
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs import listing, remembered
from omniopd.runs.status import Status, write_status
from omniopd.runs.store import STATUS, create_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three finished runs, one that is lost, one that cannot be read; what is remembered stands beside them."""
    monkeypatch.setattr(remembered, "_place", lambda of: tmp_path / "cache" / "rows.json")
    monkeypatch.setattr(remembered, "FEWEST", 3)
    for name in ("a", "b", "c", "lost", "broken"):
        run = create_run(tmp_path / "runs", load_recipe("embedded"), name)
        run.append(StepRecord(1, 0.5, 0.4, 0.1, {"length/mean": 10.0}, {}, 100, 7, 0.25))
        run.append(EvalRecord("student", "stories", "test", 0.0, 1, 0, 8, (ProblemResult("p", 1, 1),), step=1))
        run.set_status(state="finished")
    write_status(tmp_path / "runs" / "lost" / STATUS, Status("running", 2**22 + 1, 1.0, 3, 40))
    (tmp_path / "runs" / "broken" / "evals.jsonl").write_text("{broken\n")
    return tmp_path / "runs"


def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are read from now on."""
    names: list[str] = []
    whole = listing.row
    monkeypatch.setattr(listing, "row", lambda path, results=True: (names.append(path.name), whole(path, results))[1])
    return names


def test_a_second_look_reads_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, names = omniopd.runs(folder), read(monkeypatch)
    second = omniopd.runs(folder)
    assert second.equals(first)
    assert names == ["broken"]
    os.utime(folder / "b" / "evals.jsonl")
    names.clear()
    assert omniopd.runs(folder).equals(first)
    assert names == ["b", "broken"]
    with open(folder / "c" / "evals.jsonl", "a") as file:
        file.write("{broken\n")
    assert omniopd.runs(folder).loc["c"].state == "unreadable"


def test_a_place_is_told_as_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omniopd.runs(folder)
    monkeypatch.chdir(folder.parent)
    assert omniopd.runs("runs").loc["a"].path == "runs/a"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version":"0"}', '{"version":"%s","rows":[1]}', '{"version":"%s","rows":{"a":1}}']
)
def test_what_is_no_memory_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    first = omniopd.runs(folder)
    place = folder.parent / "cache" / "rows.json"
    assert json.loads(place.read_text())["rows"].keys() == {"a", "b", "c", "lost"}
    place.write_text(content.replace("%s", omniopd.__version__))
    assert omniopd.runs(folder).equals(first)


def test_a_cache_that_cannot_be_written_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "cache").write_text("a file")
    assert len(omniopd.runs(folder)) == 5
