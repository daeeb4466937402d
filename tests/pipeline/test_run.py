"""A run from beginning to end: what it leaves, how it is stopped, and that it goes on as if it had not been."""

import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

import omniopd.pipeline.run
from omniopd.errors import CheckpointError, ConfigError, RunError, TeacherError
from omniopd.evaluation.best import read_best
from omniopd.evaluation.partial_results import PartialResults
from omniopd.models.loading import load_model
from omniopd.pipeline.build import build_task
from omniopd.pipeline.run import evaluation_plan, resume_training, run_training
from omniopd.records import EvalRecord
from omniopd.reports.summary import outcome
from omniopd.runs import create_run, open_run
from omniopd.runs.store import Run
from omniopd.training.trl.checkpoints import checkpoint_path, newest_valid, step_of
from omniopd.types import Continuations, Prompt
from tests.small_runs import STEPS, small_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_training(small_recipe(), tmp_path_factory.mktemp("runs"), show=False)


class Silent:
    """A teacher that answers nothing, from its second call on."""

    def __init__(self, patience=0):
        self.patience = patience

    def continue_from(self, requests, on_result=None):
        self.patience -= 1
        if self.patience >= 0:
            return [Continuations(("a",) * r.samples, (False,) * r.samples) for r in requests]
        return [Continuations((), problem="timeout") for _ in requests]


def numbers(run):
    """What a run recorded, times apart."""
    steps = [(s.step, s.loss, s.metrics["targets/mean"], s.input_tokens, s.output_tokens) for s in run.steps()]
    return steps, [(e.model, e.step, e.temperature, e.problems) for e in run.evals()]


def weights(run):
    return AutoModelForCausalLM.from_pretrained(run.student).state_dict()


def interrupt_after(run_folder, step):
    """Ctrl-C as soon as a step is recorded."""

    def wait():
        while not (files := list(run_folder.glob("*/steps.jsonl"))) or files[0].read_bytes().count(b"\n") < step:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_the_answers_that_a_run_writes_are_graded(finished):
    task = build_task(finished.recipe)
    for step in finished.rollout_steps():
        for record in finished.rollouts(step):
            prompt = Prompt(record.prompt_id, record.messages, record.answer)
            assert record.right is bool(task.grade(prompt, "".join(record.pieces)))


def test_a_run_leaves_records_checkpoints_and_a_student(finished):
    assert finished.state == "finished"
    assert [s.step for s in finished.steps()] == [1, 2, 3]
    assert finished.rollout_steps() == [1, 2]
    assert step_of(newest_valid(finished.checkpoints)) == STEPS
    measured = [(e.model, e.step, e.temperature, e.samples) for e in finished.evals()]
    assert measured == [
        ("student", 0, 0.0, 1), ("student", 0, 1.0, 2), ("teacher", 0, 0.0, 1), ("teacher", 0, 1.0, 1),
        ("student", 3, 0.0, 1), ("student", 3, 1.0, 2),
    ]  # fmt: skip


def test_the_student_loads_as_any_model_and_is_the_last_checkpoint(finished):
    assert AutoTokenizer.from_pretrained(finished.student).chat_template
    last = AutoModelForCausalLM.from_pretrained(checkpoint_path(finished.checkpoints, STEPS)).state_dict()
    assert all(torch.equal(value, last[name]) for name, value in weights(finished).items())


def test_the_same_recipe_gives_the_same_numbers(finished, tmp_path):
    again = run_training(small_recipe(), tmp_path, show=False)
    assert numbers(again) == numbers(finished)


def test_a_run_stopped_and_resumed_ends_as_one_that_was_not(finished, tmp_path):
    thread = interrupt_after(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        run_training(small_recipe(training__save_every=99), tmp_path, name="stopped", show=False)
    thread.join()
    run = open_run(tmp_path / "stopped")
    assert run.state == "interrupted"
    assert len(run.steps()) == step_of(newest_valid(run.checkpoints)) < STEPS
    resume_training(run.path, show=False)
    assert run.state == "finished"
    assert numbers(run) == numbers(finished)
    assert all(torch.equal(value, weights(finished)[name]) for name, value in weights(run).items())


@pytest.mark.parametrize("method", ["sft", "grpo", "white_box", "white_box_sampled", "continuations"])
def test_a_baseline_resumed_from_its_first_checkpoint_ends_as_one_that_was_not_stopped(method, tmp_path):
    more = {"training__keep": STEPS, "evaluation__before": False}
    if method == "grpo":  # learns only where some answers are right and others are not
        more |= {"student__model": "embedded:student", "student__max_tokens": 64, "training__group": 8}
        more |= {"training__rollouts": 16, "training__micro_batch": 16}
    recipe = small_recipe(method=method, **more)
    whole = run_training(recipe, tmp_path, name="whole", show=False)
    stopped = open_run(shutil.copytree(whole.path, tmp_path / "stopped"))
    shutil.rmtree(stopped.student)
    for step in range(2, STEPS + 1):
        shutil.rmtree(checkpoint_path(stopped.checkpoints, step))
    stopped.set_status(state="interrupted")
    resume_training(stopped.path, show=False)
    assert [s.loss for s in stopped.steps()] == [s.loss for s in whole.steps()]
    assert [e.problems for e in stopped.evals()] == [e.problems for e in whole.evals()]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(stopped).items())
    first = AutoModelForCausalLM.from_pretrained(checkpoint_path(stopped.checkpoints, 1)).state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in weights(stopped).items())


def test_a_damaged_checkpoint_is_passed_over_and_said(finished, tmp_path, caplog):
    run = run_training(small_recipe(), tmp_path, show=False)
    run.set_status(state="interrupted")
    (checkpoint_path(run.checkpoints, STEPS) / "model.safetensors").write_bytes(b"cut")
    with caplog.at_level(logging.WARNING):
        resume_training(run.path, show=False)
    assert "step-000003/model.safetensors has 3 bytes" in caplog.text
    assert "taking an older checkpoint instead" in caplog.text
    assert numbers(run)[0] == numbers(finished)[0]


def test_only_a_run_that_stopped_can_go_on(finished, tmp_path):
    with pytest.raises(RunError, match="has finished: there is nothing to resume"):
        resume_training(finished.path)
    with pytest.raises(RunError, match="is not a run"):
        resume_training(tmp_path)
    going_on = create_run(tmp_path, small_recipe(), name="mine")
    with pytest.raises(RunError, match=f"is being run by process {os.getpid()}"):
        resume_training(going_on.path)


def test_a_teacher_that_falls_silent_fails_the_run_and_loses_nothing(tmp_path):
    silent = small_recipe(training__probe_prompts=0)  # probes ask, too
    with pytest.raises(TeacherError, match=r"(\d) of \1 forks got no answer in this step, most often 'timeout'"):
        run_training(silent, tmp_path, name="silent", show=False, teacher=Silent(patience=2))
    run = open_run(tmp_path / "silent")
    assert (run.state, run.status.step) == ("failed", 2)
    assert "got no answer" in run.status.message
    assert len(run.steps()) == step_of(newest_valid(run.checkpoints)) == 2
    resume_training(run.path, show=False, teacher=Silent(patience=9))
    assert run.state == "finished"


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_elsewhere(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        with pytest.raises((CheckpointError, RunError), match="is full"):
            run_training(small_recipe(), disk, name="run", show=False)
        run = open_run(disk / "run")
        assert len(run.steps()) >= 1
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        resume_training(run.path, show=False)
        assert run.state == "finished"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_evaluations_between_steps_are_recorded_and_the_best_student_is_kept(finished, tmp_path):
    recipe = small_recipe(evaluation__every=2, evaluation__every_problems=2, evaluation__every_split="dev")
    run = run_training(recipe, tmp_path, show=False)
    between = [e for e in run.evals() if e.split == "dev"]
    steps = recipe.training.steps
    assert [(e.step, e.temperature, len(e.problems)) for e in between] == [
        (step, 1.0, 2) for step in range(1, steps + 1) if step % 2 == 0 or step == steps
    ]
    best = read_best(run.path)
    assert best is not None
    assert (best.split, best.problems) == ("dev", 2)
    assert best.accuracy == max(e.accuracy for e in between)
    assert best.step == next(e.step for e in between if e.accuracy == best.accuracy)
    load_model(str(run.path / "best"))
    # Measuring changes nothing of what is trained.
    assert numbers(run)[0] == numbers(finished)[0]


def test_an_evaluation_that_was_stopped_goes_on_with_the_problems_it_lacks(finished, tmp_path, monkeypatch):
    written = []

    def breaks_once(self, results):
        results = list(results)
        add(self, results)
        written.extend(result.prompt_id for result in results)
        if len(written) == 2:
            raise KeyboardInterrupt

    add = PartialResults.add
    monkeypatch.setattr(PartialResults, "add", breaks_once)
    recipe = small_recipe(evaluation__batch=1)
    with pytest.raises(KeyboardInterrupt):
        run_training(recipe, tmp_path, name="stopped", show=False)
    run = resume_training(tmp_path / "stopped", show=False)
    first = run.evals()[0]
    assert len(first.problems) > 2
    assert written[: len(first.problems)] == [problem.prompt_id for problem in first.problems]
    assert [e.problems for e in run.evals()] == [e.problems for e in finished.evals()]
    assert not (run.path / "evaluating.jsonl").exists()


def test_the_student_is_measured_at_chosen_steps_as_at_its_end(finished, tmp_path):
    run = run_training(small_recipe(evaluation__at=[1, 2, STEPS], evaluation__before=False), tmp_path, show=False)
    assert [(e.model, e.step, e.temperature, e.samples) for e in run.evals()] == [
        ("student", step, t, n) for step in (1, 2, STEPS) for t, n in ((0.0, 1), (1.0, 2))
    ]
    end = run.evals()[-1]
    assert all([p.prompt_id for p in e.problems] == [p.prompt_id for p in end.problems] for e in run.evals())
    # Neither measuring in between nor leaving the beginning out changes anything of what is trained.
    assert numbers(run)[0] == numbers(finished)[0]
    assert numbers(run)[1][-2:] == numbers(finished)[1][-2:]


@pytest.mark.parametrize("save_every", [1, 99])
def test_a_measurement_between_steps_that_was_stopped_is_done_again(tmp_path, monkeypatch, save_every):
    recipe = small_recipe(evaluation__at=[0, 1, 2], evaluation__before=False, training__save_every=save_every)
    whole = run_training(recipe, tmp_path, show=False)
    append, seen = Run.append, []

    def breaks_once(self, record):
        append(self, record)
        seen.extend([record] if isinstance(record, EvalRecord) else [])
        if len(seen) == 5:  # the first of the two temperatures at step 2
            seen.append(None)
            raise SystemExit

    monkeypatch.setattr(Run, "append", breaks_once)
    with pytest.raises(SystemExit):
        run_training(recipe, tmp_path, name="stopped", show=False)
    run = resume_training(tmp_path / "stopped", show=False)
    assert numbers(run) == numbers(whole)


def test_a_step_to_measure_at_lies_within_the_training():
    with pytest.raises(ConfigError, match=r"evaluation.at holds step 4, and training.steps is 3: name steps from 0"):
        small_recipe(evaluation__at=[1, 4])


def test_lora_is_saved_as_an_adapter_or_merged(tmp_path):
    recipe = small_recipe(student__lora_rank=2, training__learning_rate=1e-2)
    merged = run_training(recipe, tmp_path, show=False, merge=True)
    adapter = run_training(recipe, tmp_path, show=False)
    assert not (merged.student / "adapter_config.json").exists()
    assert (adapter.student / "adapter_config.json").exists()
    assert numbers(merged)[0] == numbers(adapter)[0]


def test_the_white_box_arm_sees_the_same_first_rollouts(finished, tmp_path):
    run = run_training(small_recipe(method="white_box"), tmp_path, show=False)
    assert run.state == "finished"
    ours, theirs = finished.rollouts(1), run.rollouts(1)
    assert [r.pieces for r in ours] == [r.pieces for r in theirs]
    assert [r.prompt_id for r in ours] == [r.prompt_id for r in theirs]
    assert run.steps()[0].loss > 0


def test_the_most_answers_are_drawn_where_pass_at_k_is_read():
    assert evaluation_plan(small_recipe(evaluation__samples=16, evaluation__temperatures=[0.0, 0.3, 1.0])) == [
        (0.0, 1), (0.3, 2), (1.0, 16),
    ]  # fmt: skip


def test_controls_are_trained_as_long_and_stand_beside_the_student(tmp_path):
    run = run_training(small_recipe(evaluation__controls=["self_teacher", "constant"]), tmp_path, show=False)
    measured = [(e.model, e.step, e.temperature) for e in run.evals() if e.model.startswith("control: ")]
    controls = ("control: self_teacher", "control: constant")
    assert measured == [(name, STEPS, t) for name in controls for t in (0.0, 1.0)]
    assert all(name in outcome(run) for name in controls)
    assert f"beyond the {controls[0]}" in outcome(run)
    # The student itself does not notice that controls followed it.
    alone = run_training(small_recipe(), tmp_path, show=False)
    assert [e for e in run.evals() if e.model == "student"] == [
        dataclasses.replace(e, seconds=twin.seconds)
        for e, twin in zip(
            [e for e in alone.evals() if e.model == "student"],
            [e for e in run.evals() if e.model == "student"],
            strict=True,
        )
    ]


@pytest.mark.parametrize("stopped_at", [2, STEPS])
def test_a_control_that_was_stopped_goes_on_from_its_own_checkpoint(tmp_path, monkeypatch, stopped_at):
    recipe = small_recipe(evaluation__controls=["constant"], training__save_every=1)
    whole = run_training(recipe, tmp_path, show=False)
    build, steps = omniopd.pipeline.run.build_trainer, []

    class Stops(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.global_step)

        def on_save(self, args, state, control, **kwargs):
            if len(steps) == stopped_at:
                raise SystemExit

    def watched(recipe, output, recorder, student, teacher, callbacks):
        of_the_control = [Stops()] if recipe.objective.control == "constant" else []
        return build(recipe, output, recorder, student, teacher, [*callbacks, *of_the_control])

    monkeypatch.setattr(omniopd.pipeline.run, "build_trainer", watched)
    with pytest.raises(SystemExit):
        run_training(recipe, tmp_path, name="stopped", show=False)
    run = resume_training(tmp_path / "stopped", show=False)
    assert steps == [*range(1, STEPS + 1)]
    assert numbers(run) == numbers(whole)
