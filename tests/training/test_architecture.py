"""A model that training would get wrong is refused before the first step, by every method; a teacher, when built."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from omniopd.build import LocalModel, build_teacher
from omniopd.config import load_recipe
from omniopd.errors import ConfigError
from omniopd.methods import _METHODS, build_trainer
from omniopd.teachers.cached import CachedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.training.architecture import check_architecture
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.trainer import OmniOPDTrainer
from tests.architectures import build
from tests.builders import request, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("method", sorted(_METHODS))
def test_a_student_that_reads_its_padding_is_refused_by_every_method(method, tmp_path) -> None:
    student = LocalModel("rwkv", build("rwkv"), tiny_tokenizer())
    teacher = LocalModel("tiny", tiny_model(), tiny_tokenizer())
    recipe = load_recipe("embedded", **{"method": method, "evaluation.controls": []})
    weights = torch.cat([p.flatten() for p in student.model.parameters()])
    with pytest.raises(ConfigError, match="models of type 'rwkv' cannot be trained here: training samples padded"):
        build_trainer(recipe, tmp_path, student=student, teacher=teacher)
    assert torch.equal(torch.cat([p.flatten() for p in student.model.parameters()]), weights)


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
        build_teacher(load_recipe("embedded"), local)
    assert build_teacher(load_recipe("embedded"), LocalModel("rwkv", build("rwkv"), tiny_tokenizer())).name == "rwkv"


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
