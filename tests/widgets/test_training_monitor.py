"""The training monitor: it follows a run that anybody writes, and shows what the records say."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from omniopd_widgets._parts import comparison as _comparison
from omniopd_widgets._parts import curves as _curves
from omniopd_widgets.training_monitor import TrainingMonitor
from tests.widgets import watched
from tests.widgets.harness import wire_bytes

ROOT = Path(__file__).parents[2]
SECONDS = 20


# ── following ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_written_in_this_process_appear(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 3, recorded=1)
    view = follow(run)
    assert (view.live, view.status["state"], view.step) == (True, "running", 3)
    watched.with_steps(run, 4, 5, recorded=1)
    watched.until(view, "recorded", lambda: view.recorded == [1, 2, 3, 4, 5])
    watched.until(view, "step", lambda: view.step == 5)  # at the newest, since nobody chose another
    assert [r.step for r in view.steps] == [1, 2, 3, 4, 5]


def test_steps_written_by_another_process_appear_and_the_thread_ends_with_the_run(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2)
    view = follow(run)
    script = (
        "import sys; from omniopd.runs.store import open_run; from tests.widgets import watched;"
        "run = open_run(sys.argv[1]); run.set_status(state='running');"
        "watched.with_steps(run, 3, 12); watched.finished(run)"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script, str(run.path)], check=True, env=environment, cwd=ROOT)
    watched.until(view, "live", lambda: not view.live)
    view._poller.join()
    assert not view._poller.is_alive
    assert view.status["state"] == "finished"
    assert len(view.steps) == 12
    assert len(view.evals) == 9
    assert any(said.startswith("best temperature: +") for said in view.findings)


def test_a_run_whose_process_was_killed_is_called_lost_and_can_be_followed_again(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 4, recorded=1)
    writer = "import sys; from omniopd.runs.store import open_run; open_run(sys.argv[1]).set_status(state='running')"
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", writer, str(run.path)], check=True, env=environment)
    view = follow(run)
    assert (view.status["state"], view.live) == ("lost", False)
    # Resumed from its checkpoint of step 2: what was written after it does not count.
    run.set_status(state="running", step=2)
    run.set_aside_after(2)
    view.live = True  # what the button "Update again" does
    watched.until(view, "recorded", lambda: view.recorded == [1, 2])
    assert [r.step for r in view.steps] == [1, 2]
    watched.with_steps(run, 3, 3, recorded=1, seed=7)
    watched.until(view, "recorded", lambda: view.recorded == [1, 2, 3])
    assert view.steps[-1] == watched.step(3, seed=7)


def test_a_closed_view_ends_its_thread_and_is_collected(tmp_path):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2)
    view = TrainingMonitor(run, interval_s=0.0)
    thread, gone = view._poller._thread, weakref.ref(view)
    view.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    del view
    gc.collect()
    assert gone() is None


def test_a_view_that_left_the_page_looks_no_more_until_it_is_shown_again(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2, recorded=1)
    view = follow(run)
    assert view._poller.is_alive  # no page has shown it yet, as in a script
    view.set_state({"_view_count": 1})  # what the page says
    view.set_state({"_view_count": 0})
    view._poller.join()
    assert not view._poller.is_alive
    assert view.live
    watched.with_steps(run, 3, 3, recorded=1)
    view.set_state({"_view_count": 1})
    watched.until(view, "recorded", lambda: view.recorded == [1, 2, 3])


def test_a_run_that_disappears_is_said(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2)
    view = follow(run)
    shutil.rmtree(run.path)
    watched.until(view, "problem", lambda: "is gone" in view.problem)


def test_lines_and_files_that_cannot_be_read_are_named_and_the_rest_is_shown(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 4, recorded=2)
    with open(run.path / "steps.jsonl", "a", encoding="utf-8") as file:
        file.write("{broken\n")
    (run.path / "rollouts" / "step_000002.jsonl").write_text('{"kind": "step"}\n')
    view = follow(run)
    assert "line 5 of steps.jsonl cannot be read" in view.problem
    assert "step_000002.jsonl" in view.problem
    assert len(view.steps) == 4
    assert view.rows


def test_following_that_fails_says_so(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2)
    view = follow(run)
    view._follower.look = lambda: 1 / 0
    watched.until(view, "problem", lambda: "ZeroDivisionError" in view.problem)
    assert not view.live


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_a_run_tells_has_its_curve(over, follow):
    view = follow(over)
    assert [panel["title"] for panel in view.panels] == [
        "Right answers in training", "Right answers by temperature", "Loss", "Targets", "Agreement with the teacher",
        "Entropy of the student", "KL to the reference", "Length of an answer", "Answers cut off",
        "Forks without an answer", "Teacher's tokens so far", "Time of a step",
    ]  # fmt: skip
    kl = next(panel for panel in _curves.panels(view.steps, view.evals) if panel.title == "KL to the reference")
    assert [curve.name for curve in kl.curves] == ["audited", "held near the start"]
    assert kl.curves[0].ys[-1] == view.steps[-1].metrics["kl/audited"] != kl.curves[1].ys[-1]
    temperatures = _curves.by_temperature(view.evals)
    assert [curve.name for curve in temperatures.curves] == ["untrained", "step 40", "teacher"]
    assert view.failures == [{"reason": "context", "count": 10, "last": 35}]


@pytest.mark.parametrize(
    ("cold", "hot", "said"), [(0.4, 0.4, "Only sharper? No"), (0.0, 0.3, "Only sharper? Nothing more"), (0.0, 0.0, "")]
)
def test_a_gain_at_temperature_one_alone_is_called_sharper(tmp_path, follow, cold, hot, said):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 2)
    # The untrained student is as good as ever when it is greedy, and poor when it is not.
    for step, greedy, warm in ((0, 0.5, 0.2), (40, 0.5 + cold, 0.2 + hot)):
        for temperature, share in ((0.0, greedy), (1.0, warm)):
            record = next(r for r in watched.evals() if r.temperature == temperature and r.step == step)
            right = [
                dataclasses.replace(p, right=int(i < 60 * share), samples=1) for i, p in enumerate(record.problems)
            ]
            run.append(dataclasses.replace(record, problems=tuple(right), samples=1))
    about = [sentence for sentence in follow(run).findings if "sharper" in sentence]
    assert len(about) == bool(said)
    assert all(sentence.startswith(said) for sentence in about)


def test_looks_at_another_split_change_no_finding(tmp_path, follow):
    run = watched.run_in(tmp_path)
    records = watched.evals()
    for record in records:
        run.append(record)
    said = follow(run).findings
    alike = next(record for record in records if record.step == 40)
    perfect = tuple(dataclasses.replace(p, right=p.samples) for p in alike.problems)
    run.append(dataclasses.replace(alike, split="train", step=40, problems=perfect * 9))
    assert follow(run).findings == said != []
    [row] = _comparison.accuracies(["a", "b"], [records, _comparison.read(run)[1]])
    assert all(line["ours"] == line["theirs"] for line in row["rows"])


def test_a_long_run_is_a_small_message(tmp_path, follow):
    run = watched.run_in(tmp_path, steps=8_000)
    lines = "".join(
        watched.record_json(watched.step(n, failures={f"reason {n % 9}": 1})) + "\n" for n in range(1, 8_001)
    )
    (run.path / "steps.jsonl").write_text(lines)
    watched.with_steps(run, 8_001, 8_001, recorded=1)
    view = follow(run)
    assert wire_bytes(view) < 200_000
    loss = view.panels[0]["series"][0]
    assert 100 < loss["count"] <= _curves.POINTS


def test_thinning_keeps_the_ends_and_every_peak():
    xs = [float(x) for x in range(10_000)]
    ys = [0.0] * 10_000
    ys[0], ys[4321], ys[8888], ys[-1] = 1.0, 9.0, -9.0, 2.0
    places = _curves.kept(xs, ys, limit=100)
    assert len(places) <= 100
    assert places == sorted(set(places))
    assert {0, 4321, 8888, 9999} <= set(places)
    assert _curves.kept([1, 2, 3], [1.0, float("nan"), float("inf")], limit=10) == [0]


def test_the_rollouts_of_a_step_open_with_their_audits(over, follow):
    view = follow(over)
    assert [row["probe"] for row in view.rows] == [True, False, False, False, False]
    view.step = 10
    assert not view.newest
    view.selected = 2
    assert view.rollout == over.rollouts(10)[2]
    opened, audits = view.opened_views
    assert opened.record == view.rollout
    opened.selected = view.rollout.audits[1].start
    assert audits.fork == 1
    audits.fork = 0
    assert opened.selected == view.rollout.audits[0].start
    view.step = 20
    assert view.selected == -1
    assert view.opened_views == ()


def test_a_rollout_that_is_being_read_stays_open_while_the_run_goes_on(tmp_path, follow):
    run = watched.with_steps(watched.run_in(tmp_path), 1, 3, recorded=1)
    view = follow(run)
    view.selected = 1
    watched.with_steps(run, 4, 4, recorded=1)
    watched.until(view, "recorded", lambda: view.recorded == [1, 2, 3, 4])
    assert (view.step, view.selected, view.newest) == (3, 1, False)
    assert view.opened.rollout.record == run.rollouts(3)[1]


def test_one_prompt_is_followed_through_training(over, follow):
    view = follow(over)
    assert view.prompts[0]["probe"]
    assert [strip["step"] for strip in view.forks["strips"]] == [1, 10, 20, 30, 40]
    # The words before the last fork stay the same, so it is one fork; what the student writes there changes.
    last = view.forks["same"][-1]
    assert [point["chunk"] for point in last["points"]] == [" 9", " 9", " 8", " 8", " 8"]
    assert last["points"][0]["entropy"] > last["points"][-1]["entropy"]
    assert last["points"][0]["trust"] < last["points"][-1]["trust"]
    view.prompt = "train-42"
    assert [strip["step"] for strip in view.forks["strips"]] == [10]
    assert view.forks["same"] == []


def test_where_no_kernel_runs_the_curves_are_text(over, follow, inert):
    view = follow(over)
    assert repr(view) == "TrainingMonitor(watched: finished, step 40 of 40)"
    assert len(view.fallback_html().encode()) < 30_000
    text = inert(view).inner_text("body")
    assert "Loss: total" in text
    assert "KL to the reference: held near the start" in text
    assert "How many apples has Maya in the end?" in text


@pytest.mark.parametrize("view", ["training_monitor", "run_browser"])
def test_the_views_of_runs_load_no_torch_even_when_they_compare(view, over):
    script = f"""
import sys
from omniopd_widgets.{view} import *
from omniopd_widgets._parts import comparison as _comparison
from omniopd.runs.store import open_run
run = open_run({str(over.path)!r})
_comparison.accuracies(["a", "b"], [run.evals()] * 2)
view = TrainingMonitor(run)
view.selected = 1
assert view.opened_views
view.close()
print(*sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "transformers", "litellm", "trl"}}))
"""
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}", "PATH": "/usr/bin:/bin", "HOME": str(over.path)}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == []
