"""A model that training would get wrong is refused before the first step, by every method; a teacher, when built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from omniopd.config import METHODS, load_recipe
from omniopd.errors import ConfigError
from omniopd.pipeline.build import LocalModel, build_teacher
from omniopd.pipeline.methods import build_trainer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.baselines.grpo import GraderTrainer, GRPOConfig
from omniopd.training.baselines.sft import SFTConfig, TeacherAnswersTrainer
from omniopd.training.checks.architecture import check_architecture
from omniopd.training.trainer import OmniOPDTrainer
from tests.architectures import build
from tests.builders import request, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_student_that_reads_its_padding_is_refused_by_every_method(method, tmp_path) -> None:
    student = LocalModel("rwkv", build("rwkv"), tiny_tokenizer())
    teacher = LocalModel("tiny", tiny_model(), tiny_tokenizer())
    recipe = load_recipe("labels", **{"method": method, "evaluation.controls": []})
    weights = torch.cat([p.flatten() for p in student.model.parameters()])
    with pytest.raises(ConfigError, match="models of type 'rwkv' cannot be trained here: training samples padded"):
        build_trainer(recipe, tmp_path, student=student, teacher=teacher)
    assert torch.equal(torch.cat([p.flatten() for p in student.model.parameters()]), weights)


def by_hand(method: str, model: Any, folder: Path) -> Any:
    rows, few = Dataset.from_list([{"prompt": [{"role": "user", "content": "2 plus 3?"}]}] * 4), {"max_steps": 1}
    if method == "grpo":
        few |= {"num_generations": 2, "per_device_train_batch_size": 2}
        args = GRPOConfig(str(folder), use_cpu=True, bf16=False, **few)
        return GraderTrainer(model=model, reward_funcs=[lambda prompts, **_: [0.0] * len(prompts)], args=args,
                             train_dataset=rows, processing_class=tiny_tokenizer())  # fmt: skip
    rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}])
    return TeacherAnswersTrainer(model=model, args=SFTConfig(str(folder), use_cpu=True, bf16=False, **few),
                                 train_dataset=rows, processing_class=tiny_tokenizer())  # fmt: skip


@pytest.mark.parametrize(("method", "student", "reason"), [
    ("grpo", "rwkv", "models of type 'rwkv' cannot be trained here: training samples padded"),
    ("sft", "megatron-bert", "models of type 'megatron-bert' change their logits in a way that is not known"),
])  # fmt: skip
def test_so_is_one_that_is_given_to_a_trainer_by_hand(method: str, student: str, reason: str, tmp_path: Path) -> None:
    assert by_hand(method, tiny_model(), tmp_path) is not None
    with pytest.raises(ConfigError, match=reason):
        by_hand(method, build(student), tmp_path)


def test_a_student_that_transformers_samples_from_other_logits_is_refused() -> None:
    model = tiny_model()
    prepare = model.prepare_inputs_for_generation

    def shifted(*args, **kwargs):
        inputs = prepare(*args, **kwargs)
        inputs["position_ids"] = inputs["position_ids"] * 2
        return inputs

    model.prepare_inputs_for_generation = shifted
    with pytest.raises(ConfigError, match="transformers samples them from other logits than those of each row"):
        check_architecture(model)
    check_architecture(tiny_model())


@pytest.mark.parametrize(
    ("key", "value"),
    [("stop_strings", ["a"]), ("num_return_sequences", 2), ("prompt_lookup_num_tokens", 3), ("dola_layers", "low")],
)
def test_no_key_of_a_generation_config_makes_a_sound_model_refused(key, value) -> None:
    model = tiny_model()
    setattr(model.generation_config, key, value)
    check_architecture(model)
    assert getattr(model.generation_config, key) == value


def test_a_teacher_that_looks_at_later_tokens_is_refused_when_it_is_built() -> None:
    local = LocalModel("megatron", build("megatron-bert"), tiny_tokenizer())
    with pytest.raises(ConfigError, match="cannot be continued token by token"):
        build_teacher(load_recipe("labels"), local)
    assert build_teacher(load_recipe("labels"), LocalModel("rwkv", build("rwkv"), tiny_tokenizer())).name == "rwkv"


def test_weights_that_lie_on_a_disk_are_a_sentence_where_they_themselves_are_needed(tmp_path) -> None:
    """accelerate's `device_map`: such a model writes, and can neither be trained nor told from another."""
    tiny_model().save_pretrained(tmp_path)
    places = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    options = {"device_map": places | {"lm_head": "cpu"}, "offload_folder": str(tmp_path / "off")}
    model = AutoModelForCausalLM.from_pretrained(tmp_path, **options)
    teacher = LocalTeacher(model, tiny_tokenizer())
    assert len(teacher.continue_from([request("a", 2, 4)])[0].texts) == 2
    with pytest.raises(ConfigError, match=r"model\.layers\.0\..* lies on a disk .*: load the model whole"):
        CachedTeacher(teacher, tmp_path / "a.sqlite")
    args = OmniOPDConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", bf16=False)
    with pytest.raises(ConfigError, match="and training needs it where it computes"):
        OmniOPDTrainer(model, teacher, args, [{"prompt": "a"}] * 64, processing_class=tiny_tokenizer())
