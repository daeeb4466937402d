"""Runs of a student in 4 bits with an adapter beside it, and of AdamW with moments in 8 bits."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omniopd.errors import ConfigError
from omniopd.models.adapters import lora_config
from omniopd.models.four_bits import is_packed
from omniopd.models.token_stats import sequence_statistics
from omniopd.pipeline.build import build_student, is_one_checkpoint, load_student
from omniopd.pipeline.handing_on import write_folder
from omniopd.pipeline.methods import build_trainer
from omniopd.pipeline.run import resume_training, run_training
from omniopd.reports.summary import loading_lines
from omniopd.runs.store import Run, open_run
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.trainer import OmniOPDConfig, OmniOPDTrainer
from omniopd.training.trl.checkpoints import checkpoint_path
from tests.builders import tiny_tokenizer
from tests.small_runs import small_recipe

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install 'omniopd[bits]')"
)
QLORA = {"student__lora_rank": 2, "student__load_in_4bit": True, "training__learning_rate": 1e-2}
EIGHT_BITS = {"training__optimizer": "adamw_8bit"}
IDS = torch.arange(24).view(2, 12)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose matrices are large enough (4,096 numbers) for bitsandbytes to hold their moments in 8 bits."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer, path = tiny_tokenizer(), tmp_path_factory.mktemp("wide")
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        )
    ).save_pretrained(path)  # fmt: skip
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = small_recipe(**QLORA, student__target_modules=["q_proj", "down_proj"], training__keep=3)
    return run_training(recipe, tmp_path_factory.mktemp("runs"), show=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"student__load_in_4bit": True}, r"student\.lora_rank 0: weights of 4 bits do not learn, an adapter beside"),
        ({**QLORA, "student__dtype": "float64"}, r'student\.dtype "float64", which no product with 4 bits'),
        ({**QLORA, "student__sampler": "vllm"}, r"vLLM is sent an adapter merged into whole weights"),
        ({"student__target_modules": ["q_proj"]}, r"student\.target_modules is \['q_proj'\] and student\.lora_rank 0"),
        ({"training__optimizer": "adam8bit"}, r"did you mean 'adamw_8bit'\? it must be one of adamw, adamw_8bit"),
    ],
)
def test_settings_that_cannot_work_together_are_one_sentence(settings, said):
    with pytest.raises(ConfigError, match=said):
        small_recipe(**settings)


@pytest.mark.parametrize("settings", [QLORA, EIGHT_BITS])
def test_without_the_package_no_run_begins(settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"needs the package bitsandbytes, and it is not installed: pip install"):
        run_training(small_recipe(**settings), tmp_path / "runs", show=False)
    assert not (tmp_path / "runs").exists()


def test_a_module_that_the_model_has_not_ends_before_a_run_begins(tmp_path):
    recipe = small_recipe(student__lora_rank=2, student__target_modules=["c_attn"])
    with pytest.raises(ConfigError, match=r"names 'c_attn', and no linear layer of .* it has down_proj, gate_proj"):
        run_training(recipe, tmp_path / "runs", show=False)
    assert not (tmp_path / "runs").exists()


@needs_bitsandbytes
def test_merging_is_refused_before_a_run_begins_and_when_it_is_handed_on(finished, tmp_path):
    with pytest.raises(ConfigError, match=r"is rounded to 4 bits itself: leave --merge out"):
        run_training(small_recipe(**QLORA), tmp_path / "runs", show=False, merge=True)
    with pytest.raises(ConfigError, match=r"is rounded to 4 bits itself: push the adapter as it is"):
        write_folder(finished, "org/name", tmp_path / "merged", merge=True)
    assert not list(tmp_path.iterdir())


@needs_bitsandbytes
def test_the_reference_is_the_packed_student_with_its_adapter_off(tmp_path):
    recipe = small_recipe(**QLORA)
    trainer = build_trainer(recipe, tmp_path)
    before = sequence_statistics(build_student(recipe).model, IDS, torch.ones_like(IDS), 8)
    assert trainer.teacher_model is None
    assert is_packed(trainer.model)
    learning = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in learning} == {torch.float32}  # where small steps are not rounded away
    with torch.no_grad():
        for weight in learning:
            weight.fill_(0.1)
    model = trainer.model.eval()
    found = sequence_statistics(model, IDS, torch.ones_like(IDS), 8, reference=model)
    assert (found.logprobs - before.logprobs).abs().max() > 0.01
    with model.disable_adapter():
        assert torch.equal(sequence_statistics(model, IDS, torch.ones_like(IDS), 8).logprobs, before.logprobs)
    assert found.anchor_kl.min() > 0


@needs_bitsandbytes
def test_a_trainer_that_is_made_by_hand_learns_in_float32_too(tmp_path):
    student = build_student(small_recipe(**QLORA))
    args = OmniOPDConfig(str(tmp_path), use_cpu=True, bf16=False, max_completion_length=16, chunk_tokens=4, forks=2)
    trainer = OmniOPDTrainer(
        student.model, ScriptedTeacher(["x"]), args, [{"prompt": "Hello"}] * 8, processing_class=student.tokenizer,
        peft_config=lora_config(2),
    )  # fmt: skip
    assert {weight.dtype for weight in trainer.model.parameters() if weight.requires_grad} == {torch.float32}


@needs_bitsandbytes
def test_a_run_learns_keeps_an_adapter_and_loads_it_onto_4_bits(finished):
    assert finished.state == "finished"
    assert all(step.metrics["grad_norm"] > 0 for step in finished.steps())
    saved = load_file(finished.student / "adapter_model.safetensors")
    assert all(("q_proj" in name or "down_proj" in name) and "lora_" in name for name in saved)
    assert {value.dtype for value in saved.values()} == {torch.float32}
    trained = load_student(finished.recipe, finished.student)
    assert is_packed(trained)
    names: dict = {}
    exec(loading_lines(finished), names)
    assert torch.equal(names["model"](input_ids=IDS).logits, trained(input_ids=IDS).logits)
    whole = small_recipe(student__lora_rank=2)
    assert not torch.equal(load_student(whole, finished.student)(input_ids=IDS).logits, trained(input_ids=IDS).logits)


@needs_bitsandbytes
def test_the_same_checkpoint_as_teacher_and_as_student_in_4_bits_are_two_models():
    model = small_recipe().student.model
    assert is_one_checkpoint(small_recipe(teacher__model=model, student__lora_rank=2))
    assert not is_one_checkpoint(small_recipe(teacher__model=model, **QLORA))


def stopped_after(step: int, run: Run, folder: Path) -> Run:
    stopped = open_run(shutil.copytree(run.path, folder))
    shutil.rmtree(stopped.student)
    for later in range(step + 1, run.recipe.training.steps + 1):
        shutil.rmtree(checkpoint_path(stopped.checkpoints, later))
    stopped.set_status(state="interrupted")
    return stopped


@needs_bitsandbytes
@pytest.mark.parametrize("step", [1, 3])  # 3: after its last one, before the student is saved
def test_a_resumed_run_in_4_bits_ends_as_one_that_was_not_stopped(finished, tmp_path, step):
    stopped = stopped_after(step, finished, tmp_path / "stopped")
    with pytest.raises(ConfigError, match=r"student\.load_in_4bit is what .* is trained with, and stays True"):
        resume_training(stopped.path, show=False, settings=["student.load_in_4bit=false"])
    resume_training(stopped.path, show=False)
    ours, theirs = (load_file(run.student / "adapter_model.safetensors") for run in (stopped, finished))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@needs_bitsandbytes
def test_moments_of_8_bits_are_kept_in_checkpoints_and_resumed_to_the_bit(wide, tmp_path):
    recipe = small_recipe(**EIGHT_BITS, student__model=str(wide), training__keep=3, evaluation__temperatures=[])
    whole = run_training(recipe, tmp_path, name="whole", show=False)
    held = torch.load(checkpoint_path(whole.checkpoints, 1) / "optimizer.pt", weights_only=True)["state"].values()
    moments = [state.get("__bnb_optimizer_quant_state__", state)["state1"] for state in held]
    # bitsandbytes leaves embeddings, and what has fewer numbers than a block, as they are.
    wide_ones = {m.dtype for m in moments if m.numel() >= 4096 and m.shape != (300, 96)}
    assert (wide_ones, {m.dtype for m in moments if m.numel() < 4096}) == ({torch.uint8}, {torch.float32})
    stopped = stopped_after(1, whole, tmp_path / "stopped")
    resume_training(stopped.path, show=False)
    assert [step.loss for step in stopped.steps()] == [step.loss for step in whole.steps()]
    ours, theirs = (load_file(run.student / "model.safetensors") for run in (stopped, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_without_a_word_the_optimizer_is_transformers_own(tmp_path):
    from transformers import TrainingArguments
    from transformers.training_args import OptimizerNames

    from omniopd.config.settings import OPTIMIZERS
    from omniopd.training.arguments import run_settings, trainer_settings

    assert set(OPTIMIZERS[1:]) <= {name.value for name in OptimizerNames}
    assert "optim" not in run_settings(small_recipe(), tmp_path)
    assert trainer_settings(small_recipe(), tmp_path).optim == TrainingArguments(str(tmp_path)).optim
