"""Every file of a run, damaged in every way: the run is gone on with, or refused in one sentence before anything is
computed; and no damaged run hides another."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import omniopd
from omniopd.cli.main import main
from omniopd.config import Recipe, override
from omniopd.errors import OmniOPDError, RunError
from omniopd.evaluation.best import read_best
from omniopd.evaluation.partial_results import PartialResults
from omniopd.runs import create_run, open_run
from omniopd.runs.files.claims import release
from omniopd.runs.following import Follower
from omniopd.runs.store import Run, take_up
from tests.runs.test_store import evaluation, rollout, step

FILES = (
    "manifest.json", "recipe.toml", "status.json", "steps.jsonl", "evals.jsonl", "rollouts", "checkpoints", "student",
    "rollouts/step_000002.jsonl", "evaluating.jsonl", "best.json", "best", "controls", "set_aside", "run.lock",
)  # fmt: skip
DEEP = "[" * 100_000 + "]" * 100_000


def directory(file: Path) -> None:
    remove(file)
    (file / "inside").mkdir(parents=True)


def remove(file: Path) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def put(text: str | bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        remove(file)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    return write


def cut(file: Path) -> None:
    put(file.read_bytes()[: file.stat().st_size * 2 // 3] if file.is_file() else b"x")(file)


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes() if file.is_file() else b"\x00" * 8)
    for place in range(3, len(data), 7):
        data[place] ^= 0x51
    put(bytes(data))(file)


def unreadable(file: Path) -> None:
    """Also to root."""
    remove(file)
    file.symlink_to(file.name)


def pipe(file: Path) -> None:
    """Whoever opens it waits for a writer."""
    remove(file)
    os.mkfifo(file)


def endless(file: Path) -> None:
    remove(file)
    file.symlink_to("/dev/zero")


FAULTS = {
    "missing": remove, "empty": put(""), "cut": cut, "flipped": flipped, "a list": put("[]\n"), "a number": put("5\n"),
    "null": put("null\n"), "a text": put('"x"\n'), "an object": put("{}\n"), "deep": put(DEEP + "\n"),
    "a directory": directory, "unreadable": unreadable, "a pipe": pipe, "endless": endless,
}  # fmt: skip


def stopped(folder: Path, name: str) -> Run:
    run = create_run(folder, override(Recipe(), ["training.steps=9"]), name, command=())
    for number in (1, 2, 3):
        run.append(step(number))
    run.append(evaluation(0))
    run.write_rollouts(2, [rollout(2)])
    for part in ("student", "best", "controls", "set_aside"):
        (run.path / part).mkdir()
    (run.path / "best.json").write_text('{"step": 1, "accuracy": 0.5, "temperature": 1.0, "split": "t", "problems": 2}')
    PartialResults(run.path / "evaluating.jsonl", {"model": "student"}).add(evaluation(0).problems)
    run.set_status(state="interrupted", step=3)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    stopped(folder, "run")
    stopped(folder, "neighbour")
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_run_is_gone_on_with_or_refused_in_a_sentence(
    name: str, fault: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "runs")
    path = tmp_path / "runs" / "run"
    FAULTS[fault](path / name)

    table = omniopd.runs.table(tmp_path / "runs")
    assert table.loc["neighbour", "state"] == "interrupted"
    assert table.loc["run", "state"] in ("interrupted", "lost", "unreadable")
    if table.loc["run", "state"] == "unreadable":
        assert name in table.loc["run", "message"]

    try:
        run = take_up(path)
        # What `run.execute` does first of all, and what training and measuring write later.
        run.set_aside_after(2)
        read_best(path)
    except OmniOPDError as error:
        refused: OmniOPDError | None = error
    else:
        refused = None
    if refused is not None:
        assert isinstance(refused, RunError)
        assert str(path) in str(refused)
        assert name.partition("/")[0] in str(refused)
        assert "\n" not in str(refused)
        release(path)
        return
    try:
        run.append(step(3))
        run.append(evaluation(3))
        run.write_rollouts(4, [rollout(4)])
        PartialResults(path / "evaluating.jsonl", {"model": "student"}).add(evaluation(0).problems)
        run.set_status(state="finished", step=9)
    finally:
        release(path)
    again = open_run(path)
    assert again.state == "finished"
    assert [s.step for s in again.steps()][-1] == 3
    assert again.evals()[-1] == evaluation(3)
    assert again.rollouts(4) == [rollout(4)]
    assert Follower(again).look().state == "finished"


@pytest.mark.parametrize("fault", ["missing", "empty", "cut", "flipped", "a list", "deep", "an object"])
def test_a_lost_status_is_made_from_the_records(fault: str, whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    FAULTS[fault](path / "status.json")
    run = open_run(path)
    if fault != "an object":  # which is a status of nothing but defaults
        assert (run.state, run.status.step, run.status.steps) == ("lost", 3, 9)
        assert "status.json holds no status" in run.status.message
    assert take_up(path).status.pid == 0
    assert json.loads((path / "status.json").read_text())["state"] == "running"
    release(path)


BAD = {
    "created a number": ("manifest.json", {"created": 5}),
    "created a list": ("manifest.json", {"created": ["2026"]}),
    "name an object": ("manifest.json", {"name": {}}),
    "recipe deep": ("manifest.json", {"recipe": json.loads("[" * 500 + "]" * 500)}),
    "rollouts a text": ("manifest.json", {"recipe": {"training": {"rollouts": "x"}}}),
    "rollouts huge": ("manifest.json", {"recipe": {"training": {"rollouts": 10**400}}}),
    "target a list": ("manifest.json", {"recipe": {"objective": {"target": [1]}}}),
    "section a list": ("manifest.json", {"recipe": {"objective": [1]}}),
    "seed null": ("manifest.json", {"seed": None}),
    "status step x": ("status.json", {"step": "x"}),
    "status steps infinite": ("status.json", {"steps": math.inf}),
    "status step huge": ("status.json", {"step": 10**400}),
    "status pid huge": ("status.json", {"state": "running", "pid": 10**30, "pid_started": 1e308}),
    "status message null": ("status.json", {"message": None}),
    "status state odd": ("status.json", {"state": "\x1b[31mgone"}),
    "step x": ("steps.jsonl", {"step": "x"}),
    "step infinite": ("steps.jsonl", {"step": math.inf}),
    "step nan": ("steps.jsonl", {"step": math.nan}),
    "step below 0": ("steps.jsonl", {"step": -1}),
    "loss a text": ("steps.jsonl", {"loss": "low"}),
    "metrics a list": ("steps.jsonl", {"metrics": [1]}),
    "a metric a text": ("steps.jsonl", {"metrics": {"step_time": "long"}}),
    "cost infinite": ("steps.jsonl", {"cost_usd": math.inf}),
    "tokens huge": ("steps.jsonl", {"input_tokens": 10**400}),
    "0 samples": ("evals.jsonl", {"problems": [{"prompt_id": "p", "right": 0, "samples": 0}]}),
    "more right than asked": ("evals.jsonl", {"problems": [{"prompt_id": "p", "right": 3, "samples": 1}]}),
    "problems a number": ("evals.jsonl", {"problems": 5}),
    "a problem a text": ("evals.jsonl", {"problems": ["p"]}),
    "temperature null": ("evals.jsonl", {"temperature": "hot"}),
    "evaluated step x": ("evals.jsonl", {"step": "x"}),
    "kind a list": ("evals.jsonl", {"kind": []}),
    "schema a text": ("evals.jsonl", {"schema": "x"}),
}


@pytest.mark.parametrize("what", BAD)
def test_a_run_of_odd_values_is_named_and_hides_no_other(what: str, whole: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(whole, tmp_path / "runs")
    name, values = BAD[what]
    file = tmp_path / "runs" / "run" / name
    first, *rest = file.read_text().splitlines() if name.endswith("l") else [file.read_text()]
    file.write_text("\n".join([json.dumps(json.loads(first) | values), *rest]) + "\n")
    table = omniopd.runs.table(tmp_path / "runs")
    assert table.loc["neighbour", "step"] == 3
    assert main(["runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "neighbour" in out
    assert "\x1b" not in out
    if not what.startswith(("rollouts", "status")):
        assert table.loc["run", "state"] == "unreadable"
    if not what.startswith("rollouts"):
        assert name in table.loc["run", "message"] or what == "section a list"


def test_a_sound_step_is_not_lost_with_a_damaged_one(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    lines = (path / "steps.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"step":2', '"step":"two"')
    (path / "steps.jsonl").write_text("\n".join(lines) + "\n")
    run = take_up(path)
    run.set_aside_after(3)
    assert [s.step for s in run.steps()] == [1, 3]
    assert run.missing_steps(3) == [2]
    release(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_written_is_said_before_anything_is_computed(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    (path / "steps.jsonl").chmod(0o400)
    with pytest.raises(RunError, match=r"steps\.jsonl may not be read or written"):
        take_up(path)
