"""A recipe's names become objects, its numbers the trainer's; what cannot work is one sentence."""

import dataclasses

import pytest

from omniopd.config import load_recipe
from omniopd.errors import ConfigError, DataError, Refused
from omniopd.pipeline.build import (
    LocalModel,
    build_prompts,
    build_student,
    build_task,
    build_teacher,
    build_teacher_model,
)
from omniopd.pipeline.methods import build_trainer
from omniopd.tasks.code import Code
from omniopd.training.arguments import trainer_settings
from omniopd.training.baselines.white_box import WhiteBoxTrainer
from omniopd.training.data import as_rows
from omniopd.training.trainer import OmniOPDTrainer
from omniopd.types import Task, Teacher
from tests.small_runs import small_recipe


def test_every_setting_of_audit_and_objective_reaches_the_trainer(tmp_path):
    recipe = load_recipe(
        "labels",
        **{"audit.forks": 3, "audit.samples": 7, "audit.chunk_tokens": 5, "audit.scheduler": "causal",
           "audit.power": 2.0, "audit.similarity": "tokens", "objective.target": "centred",
           "objective.control": "self_teacher", "objective.concentration": 2.5,
           "objective.anchor_weight": 0.3, "objective.anchor_on": "all",
           "objective.depth": 2, "objective.continuation_weight": 0.4, "objective.redraws": 6},
    )  # fmt: skip
    made = trainer_settings(recipe, tmp_path)
    assert made.objective == recipe.objective
    for name in (f.name for f in dataclasses.fields(recipe.audit)):
        assert getattr(made, name) == getattr(recipe.audit, name), name
    assert (made.normaliser_length, made.max_completion_length) == (0, recipe.normaliser_length)


def test_a_step_has_as_many_rollouts_as_the_recipe_says(tmp_path, monkeypatch):
    recipe = small_recipe(training__rollouts=8, training__micro_batch=2)
    made = trainer_settings(recipe, tmp_path)
    assert (made.per_device_train_batch_size, made.gradient_accumulation_steps) == (2, 4)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=r"8, which 3 processes cannot share .* 1, 2, 4, 8 processes, or 6 or 12 "):
        trainer_settings(recipe, tmp_path)


def test_a_constant_schedule_warms_up_where_asked_to(tmp_path):
    assert trainer_settings(small_recipe(), tmp_path).lr_scheduler_type == "constant"
    warm = small_recipe(training__warmup_steps=2)
    assert trainer_settings(warm, tmp_path).lr_scheduler_type == "constant_with_warmup"


def test_code_is_refused_until_it_was_allowed_twice(tmp_path, monkeypatch):
    monkeypatch.delenv("OMNIOPD_RUN_PROGRAMS", raising=False)
    with pytest.raises(Refused, match=r"OMNIOPD_RUN_PROGRAMS=1 .* and allow it in the settings"):
        build_task(load_recipe("labels", **{"task.name": "code"}))
    allowed = {"task.name": "code", "task.path": str(tmp_path), "task.run_programs": True, "task.timeout_s": 2.5}
    with pytest.raises(Refused, match="set OMNIOPD_RUN_PROGRAMS=1 in the environment"):
        build_task(load_recipe("labels", **allowed))
    monkeypatch.setenv("OMNIOPD_RUN_PROGRAMS", "1")
    task = build_task(load_recipe("labels", **allowed))
    assert isinstance(task, Code)
    assert (task.path_or_id, task.timeout_s, task.memory_mb, task.config) == (str(tmp_path), 2.5, 1024, None)
    with pytest.raises(ConfigError, match=r"task\.timeout_s is 0"):
        build_task(load_recipe("labels", **allowed | {"task.timeout_s": 0.0}))


def test_mathematics_by_name_or_by_folder(tmp_path):
    assert build_task(load_recipe("labels", **{"task.name": "math"})).source == "math500"
    task = build_task(load_recipe("labels", **{"task.name": "math", "task.path": str(tmp_path)}))
    assert isinstance(task, Task)
    assert task.source == str(tmp_path)


def test_tasks_by_name(tmp_path):
    assert isinstance(build_task(small_recipe()), Task)
    assert build_task(small_recipe(task__name="gsm8k", task__path=str(tmp_path))).path_or_id == str(tmp_path)
    with pytest.raises(ConfigError, match=r"task.path is empty"):
        build_task(small_recipe(task__name="jsonl"))
    with pytest.raises(ConfigError, match=r"task.name is 'storys': did you mean 'stories'\? it must be one of stories"):
        build_task(small_recipe(task__name="storys"))


def test_the_train_set_follows_the_seed_and_carries_ids_and_answers():
    first, again, other = (as_rows(build_prompts(small_recipe(seed=seed))) for seed in (0, 0, 1))
    assert first["id"] == again["id"] != other["id"]
    assert set(first.column_names) == {"prompt", "id", "answer"}


def test_a_local_teacher_is_loaded_and_continues_texts():
    teacher = build_teacher_model(small_recipe())
    assert isinstance(teacher, LocalModel)
    assert isinstance(build_teacher(small_recipe(), teacher), Teacher)


def test_a_teacher_that_is_nowhere_says_what_can_be_given():
    recipe = small_recipe(teacher__model="somebody/some-model")
    assert build_teacher_model(recipe) is None
    with pytest.raises(ConfigError, match=r"teacher.model is 'somebody/some-model'.*give embedded:teacher"):
        build_teacher(recipe)


def test_a_student_that_cannot_be_loaded_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"student.model: the model folder .* has no config.json") as told:
        build_student(small_recipe(student__model=str(tmp_path)))
    assert "\n" not in str(told.value)


def test_the_method_chooses_the_trainer(tmp_path):
    assert type(build_trainer(small_recipe(), tmp_path)) is OmniOPDTrainer
    assert type(build_trainer(small_recipe(method="white_box"), tmp_path)) is WhiteBoxTrainer


def test_a_white_box_needs_a_teacher_that_runs_here(tmp_path):
    recipe = small_recipe(method="white_box", teacher__model="somebody/some-model")
    with pytest.raises(ConfigError, match="its logits are needed"):
        build_trainer(recipe, tmp_path)


def test_a_prompt_longer_than_the_context_is_found_before_training(tmp_path):
    with pytest.raises(DataError, match=r"prompt 'stories/\S+' has \d+ tokens, .*the model's context \(512\)"):
        build_trainer(small_recipe(student__max_tokens=500), tmp_path)


def test_a_device_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.device is 'tpu': .* it must be one of auto, cpu, cuda"):
        trainer_settings(small_recipe(training__device="tpu"), tmp_path)


def test_lora_trains_an_adapter_only(tmp_path):
    trainer = build_trainer(small_recipe(student__lora_rank=2), tmp_path)
    trained = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
