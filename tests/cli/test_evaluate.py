"""`omniopd evaluate`: what it prints, what it keeps, and that a stopped one goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.evaluation.folder import EvaluationFolder, weights_mark
from omniopd.records import EvalRecord, ProblemResult, read_record
from tests.cli.terminal import start, wait_for
from tests.small_runs import lab

SMALL = ["evaluation.problems=6", "evaluation.samples=4", "evaluation.temperatures=[0.0,1.0]", "student.max_tokens=8"]


def command(out: Path, *more: str) -> list[str]:
    return ["evaluate", str(lab() / "student"), *SMALL, *more, "--out", str(out)]


def test_the_table_and_the_record_hold_all_that_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(tmp_path / "out", "seed=3")
    capsys.readouterr()  # what making the model says
    assert main(words) == 0
    said = capsys.readouterr()
    for word in ("right", "answers", "pass@k", "readable", "cut off", "tokens", "longest", "repeated", "of 4", "["):
        assert word in said.out
    assert f"seed 3, at most 8 tokens an answer; kept in {tmp_path / 'out'}" in said.out
    assert "\r" not in said.err  # no bar: nobody is watching
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["temperature 0", "temperature 1"]
    records = [read_record(line) for line in (tmp_path / "out/evals.jsonl").read_text().splitlines()]
    assert [(r.temperature, r.samples, r.seed, len(r.problems)) for r in records] == [(0.0, 1, 3, 6), (1.0, 4, 3, 6)]
    asked = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (asked["seed"], asked["samples"], asked["max_tokens"], asked["task"]["name"]) == (3, 4, 8, "stories")
    before = (tmp_path / "out/evals.jsonl").read_bytes()
    assert main(command(tmp_path / "out", "seed=3")) == 0
    assert capsys.readouterr().out == said.out
    assert (tmp_path / "out/evals.jsonl").read_bytes() == before


def test_the_same_command_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(tmp_path / "out", "evaluation.problems=60", "evaluation.batch=4", "student.max_tokens=64")
    process = start(words)
    unfinished = tmp_path / "out/evaluating.jsonl"
    wait_for(process, lambda: unfinished.exists() and unfinished.read_bytes().count(b"\n") > 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (130, "")
    assert f"stopped; the same command resumes from {tmp_path / 'out'}" in err
    assert "\r" not in err
    assert "Traceback" not in err
    kept = unfinished.read_text().splitlines()[1:-1]
    assert main(words) == 0
    capsys.readouterr()
    assert not unfinished.exists()
    assert main([*words[:-1], str(tmp_path / "whole")]) == 0
    gone_on, whole = (
        [read_record(line) for line in (tmp_path / name / "evals.jsonl").read_text().splitlines()]
        for name in ("out", "whole")
    )
    assert [r.problems for r in gone_on] == [r.problems for r in whole]
    assert kept


def test_zero_problems_are_all_that_the_split_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"How much is {n} and {n}?", "answer": f"{2 * n}"} for n in range(7)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = ["task.prompt_column=question", "task.answer_column=answer"]
    words = command(tmp_path / "out", "task.name=jsonl", f"task.path={tmp_path}", *columns, "evaluation.problems=0")
    assert main(words) == 0
    assert "on 7 held-out problems" in capsys.readouterr().out
    assert main([*words[:-2], "evaluation.problems=-1", *words[-2:]]) == 2
    assert "evaluation.problems is -1: it must be at least 0" in capsys.readouterr().err


def test_without_out_each_question_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1, 1):
        assert main(["evaluate", str(lab() / "student"), *SMALL, f"seed={seed}", "--quiet"]) == 0
    assert len(list((tmp_path / "evaluations").iterdir())) == 2


def test_corrected_problems_are_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", str(lab() / "student"), *SMALL, "task.name=jsonl", "task.path=data", "evaluation.problems=0"]
    (tmp_path / "data").mkdir()
    for answer in ("2", "2", "3"):
        if answer != "2" or not (tmp_path / "data/test.jsonl").exists():
            rows = [{"prompt": f"How much is {n}?", "answer": answer} for n in range(3)]
            (tmp_path / "data/test.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert main([*words, "--quiet"]) == 0
    assert len(list((tmp_path / "evaluations").iterdir())) == 2


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EvaluationFolder(tmp_path / "asked", {"seed": 0, "model": "a"})
    assert main(command(tmp_path / "asked")) == 2
    assert "holds an evaluation with another model ('a', now" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("notes")
    assert main(command(tmp_path)) == 2
    assert "holds files that do not belong to an evaluation: give an empty folder by --out" in capsys.readouterr().err


def test_a_torn_line_is_no_evaluation_and_harms_none(tmp_path: Path) -> None:
    record = EvalRecord("model", "stories", "test", 1.0, 1, 0, 8, (ProblemResult("p", 1, 1),))
    stored = EvaluationFolder(tmp_path, {"seed": 0})
    (tmp_path / "evals.jsonl").write_text('{"kind": "ev')
    assert stored.found(1.0) is None
    stored.add(record)
    assert EvaluationFolder(tmp_path, {"seed": 0}).found(1.0) == record
    assert stored.found(0.0) is None


def test_other_weights_in_the_same_folder_are_another_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = weights_mark(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert weights_mark(str(tmp_path)) != first
    assert weights_mark("owner/name", "0a1b") == "0a1b"


@pytest.mark.parametrize("place", ["runs", "mine"])
def test_a_run_that_is_not_there_is_not_looked_for_on_the_hub(place, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    if place == "mine":  # known as a folder of runs by what is in it
        (tmp_path / "mine/first").mkdir(parents=True)
        (tmp_path / "mine/first/manifest.json").touch()
    assert main(["evaluate", f"{place}/none"]) == 2
    said = capsys.readouterr().err
    assert said == f"omniopd: {place}/none is not a run: there is no such folder; give the folder of a manifest.json\n"
