"""A run directory gives back what was put in, keeps it through crashes, and refuses what is not its own."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import omniopd
from omniopd.config import Recipe, load_recipe, override
from omniopd.errors import RunError
from omniopd.records import AuditRecord, EvalRecord, ProblemResult, RolloutRecord, StepRecord
from omniopd.runs import create_run, open_run
from omniopd.runs.files.atomic import temporary, write_text
from omniopd.runs.store import Run

ROOT = Path(__file__).parents[2]


def step(number: int, loss: float = 0.5) -> StepRecord:
    return StepRecord(number, loss, 0.4, 0.1, {"entropy": 1.5}, {"timeout": 1}, 10, 20, 0.25, {"teacher": 0.5})


def evaluation(at: int, right: int = 1, temperature: float = 1.0) -> EvalRecord:
    return EvalRecord(
        "student", "stories", "test", temperature, 2, 0, 64, (ProblemResult("p0", right, 2, 2, 0, 12.5),), at
    )


def rollout(at: int, row: int = 0) -> RolloutRecord:
    audit = AuditRecord(0, 2, 1.2, "ab", ("ab", "c"), (1.0, 0.0), 1.0, 0.3, 0.43, 1.0)
    messages = ({"role": "user", "content": "é"},)
    return RolloutRecord(row, at, "p0", messages, ("a", "b"), (-0.1, -0.2), (1.2, 0.3), audits=(audit,))


@pytest.fixture
def run(tmp_path) -> Run:
    return create_run(tmp_path / "runs", override(Recipe(name="embedded"), ["training.steps=40"]))


def test_what_is_written_is_read_back(run):
    run.append(step(1))
    run.append(step(2, math.nan))
    run.append(evaluation(0))
    run.write_rollouts(2, [rollout(2, 0), rollout(2, 1)])
    again = open_run(run.path)
    assert again.manifest == run.manifest
    assert again.steps()[0] == step(1)
    assert math.isnan(again.steps()[1].loss)
    assert again.evals() == [evaluation(0)]
    assert again.rollout_steps() == [2]
    assert again.rollouts(2) == [rollout(2, 0), rollout(2, 1)]


def test_the_recipe_of_a_run_starts_it_again(run):
    assert run.recipe == override(Recipe(name="embedded"), ["training.steps=40"])
    assert load_recipe(run.path / "recipe.toml") == run.recipe
    assert load_recipe(run.path / "manifest.json") == run.recipe


def test_every_run_gets_a_directory_of_its_own(tmp_path):
    paths = {create_run(tmp_path, Recipe(name="a/b c")).path for _ in range(5)}
    assert len(paths) == 5
    assert all("_a-b-c" in path.name for path in paths)


def test_a_directory_that_holds_something_else_is_refused(tmp_path, run):
    (tmp_path / "mine").mkdir()
    create_run(tmp_path, Recipe(), name="mine")  # an empty one is taken over
    with pytest.raises(RunError, match="is a run already"):
        create_run(tmp_path, Recipe(), name="mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(RunError, match="holds files that are no run's"):
        create_run(tmp_path, Recipe(), name="photos")
    with pytest.raises(RunError, match="is a run itself"):
        create_run(run.path, Recipe())
    with pytest.raises(RunError, match="cannot name a run"):
        create_run(tmp_path, Recipe(), name="../elsewhere")


def test_what_is_no_run_is_refused_with_a_way_out(tmp_path, run):
    with pytest.raises(RunError, match=f"the last is {run.path.name}"):
        open_run(run.path.parent)
    with pytest.raises(RunError, match="is not a run"):
        open_run(tmp_path / "nowhere")
    (run.path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match=r"manifest\.json cannot be read"):
        open_run(run.path)


def test_rollouts_that_were_not_written_name_the_nearest_step(run):
    run.write_rollouts(5, [rollout(5)])
    with pytest.raises(RunError, match="the nearest is 5"):
        run.rollouts(7)


def test_rollouts_cannot_be_appended(run):
    with pytest.raises(RunError, match="RolloutRecord cannot be appended"):
        run.append(rollout(1))


def test_a_torn_last_line_is_left_out_by_readers_and_set_aside_by_the_next_writer(run):
    run.append(step(1))
    with open(run.path / "steps.jsonl", "a") as file:
        file.write('{"kind":"step","st')
    again = open_run(run.path)
    assert again.steps() == [step(1)]
    again.append(step(2))
    assert again.steps() == [step(1), step(2)]
    [torn] = (run.path / "set_aside").rglob("steps.jsonl")
    assert torn.read_text() == '{"kind":"step","st'


def test_resuming_sets_aside_what_came_after_and_deletes_nothing(run):
    for number in range(1, 8):
        run.append(step(number))
        if number % 2 == 0:
            run.append(evaluation(number))
            run.write_rollouts(number, [rollout(number)])
    with open(run.path / "steps.jsonl", "a") as file:
        file.write('{"kind":"step","st')
    before = (run.path / "steps.jsonl").read_text()
    folder = run.set_aside_after(4)
    assert [s.step for s in run.steps()] == [1, 2, 3, 4]
    assert [e.step for e in run.evals()] == [2, 4]
    assert run.rollout_steps() == [2, 4]
    assert (run.path / "steps.jsonl").read_text() + (folder / "steps.jsonl").read_text() == before
    assert [p.name for p in (folder / "rollouts").iterdir()] == ["step_000006.jsonl"]
    run.append(step(5, 0.9))
    assert [s.loss for s in run.steps()] == [0.5] * 4 + [0.9]
    assert run.set_aside_after(4) != folder
    assert run.set_aside_after(4) is None


def test_a_damaged_line_is_named_by_readers_and_set_aside_on_resume(run):
    run.append(step(1))
    with open(run.path / "steps.jsonl", "a") as file:
        file.write("not a record\n")
    run.append(step(2))
    with pytest.raises(RunError, match=r"line 2 of .*steps\.jsonl"):
        run.steps()
    folder = run.set_aside_after(2)
    assert run.steps() == [step(1), step(2)]
    assert (folder / "steps.jsonl").read_text() == "not a record\n"


def test_the_status_is_followed(run):
    assert (run.status.state, run.status.steps, run.state) == ("running", 40, "running")
    run.set_status(step=3, message="step 3 of 40")
    assert (open_run(run.path).status.step, run.status.message) == (3, "step 3 of 40")
    run.set_status(state="finished", step=40)
    assert run.state == "finished"


def test_unknown_words_of_a_status_are_errors(run):
    with pytest.raises(RunError, match="'done'"):
        run.set_status(state="done")
    with pytest.raises(RunError, match="progress is not part"):
        run.set_status(progress=0.5)


FILLS_A_DISK = """
import resource, sys
from omniopd.errors import RunError
from omniopd.records import StepRecord
from omniopd.runs import open_run

run = open_run(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
number = 0
try:
    while True:
        run.append(StepRecord(number + 1, 0.5, 0.4, 0.1))
        number += 1
except RunError as error:
    print(number, error)
"""


def test_a_full_disk_is_one_sentence_and_loses_nothing(run):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILLS_A_DISK), str(run.path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    number, sentence = done.stdout.split(maxsplit=1)
    assert int(number) > 2
    assert sentence.startswith(f"the disk of {run.path} is full")
    assert [s.step for s in run.steps()] == list(range(1, int(number) + 1))
    assert (run.path / "steps.jsonl").read_text().endswith("}\n")  # half a line was taken back
    run.append(step(int(number) + 1))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_old_file_in_its_place(run):
    file = run.path / "recipe.toml"
    before = file.read_text()
    temporary(file).symlink_to("/dev/full")
    with pytest.raises(RunError, match=f"the disk of {run.path} is full"):
        write_text(file, "new")
    assert file.read_text() == before
    assert not temporary(file).is_symlink()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_on_a_full_disk_a_status_is_told_over_the_old_one(run):
    run.set_status(message="a long message " * 20)
    temporary(run.path / "status.json").symlink_to("/dev/full")
    run.set_status(state="failed", step=7, message="full")
    assert (run.status.state, run.status.step, run.status.message) == ("failed", 7, "full")


APPENDS = """
import sys
from omniopd.records import RolloutRecord, StepRecord
from omniopd.runs import open_run

run = open_run(sys.argv[1])
print("ready", flush=True)
for number in range(1, 100_000):
    run.append(StepRecord(number, 0.5, 0.4, 0.1, {"some metric": 1.0 / number}))
    run.write_rollouts(number % 3, [RolloutRecord(0, number, "p", (), ("a",) * 50, (-0.5,) * 50, (0.5,) * 50)])
    run.set_status(step=number)
    print(number, flush=True)
"""


def test_a_kill_leaves_whole_records_and_all_that_were_promised(run):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(APPENDS), str(run.path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    for line in process.stdout:
        if line == "20\n":
            break
    process.send_signal(signal.SIGKILL)
    promised = [int(line) for line in process.communicate()[0].split() if line.isdigit()]
    steps = [s.step for s in run.steps()]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= max([20, *promised])
    assert run.status.step in (len(steps), len(steps) - 1)
    assert all(len(run.rollouts(s)[0].pieces) == 50 for s in run.rollout_steps())
    run.set_aside_after(10)
    assert [s.step for s in run.steps()] == list(range(1, 11))


def test_one_row_a_run(tmp_path, run):
    run.append(step(1, 0.9))
    run.append(step(2, 0.7))
    for at, right, temperature in ((0, 0, 1.0), (0, 1, 0.0), (40, 1, 1.0), (40, 2, 0.0)):
        run.append(evaluation(at, right, temperature))
    run.set_status(state="finished", step=40)
    other = create_run(run.path.parent, override(Recipe(), ["objective.control=shuffled", "seed=3"]))
    (other.path / "status.json").write_text("{")
    (run.path.parent / "notes").mkdir()
    table = omniopd.runs.table(run.path.parent)
    assert sorted(table.index) == sorted([run.path.name, other.path.name])
    row = table.loc[run.path.name]
    assert (row["state"], row["step"], row["loss"], row["teacher_tokens"], row["cost_usd"]) == (
        "finished",
        40,
        0.7,
        60,
        0.5,
    )
    assert (row["accuracy_before"], row["best_accuracy"], row["gain"]) == (0.5, 1.0, 0.5)
    assert table.loc[other.path.name, "state"] == "running"  # by this process, whatever the file says
    assert "status.json holds no status" in table.loc[other.path.name, "message"]


def test_an_empty_folder_has_no_runs_and_a_missing_one_is_an_error(tmp_path):
    assert len(omniopd.runs.table(tmp_path)) == 0
    with pytest.raises(RunError, match="is not a folder"):
        omniopd.runs.table(tmp_path / "nowhere")
