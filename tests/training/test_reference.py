"""The anchor's reference is the starting student, at the first step and at every later one, whatever the adapter."""

import copy

import peft
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM, Qwen2Config, Qwen2ForCausalLM

from omniopd.errors import ConfigError
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.baselines.grpo import GraderTrainer, GRPOConfig
from omniopd.training.reference import said
from omniopd.training.trainer import OmniOPDTrainer
from tests.builders import prompts, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def started():
    """With biases, and as every time."""
    torch.manual_seed(5)
    config = Qwen2Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, eos_token_id=2, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def rows():
    return Dataset.from_list([{"prompt": list(p.messages)} for p in prompts(8)])


def usual(folder, **more):
    return {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 2,
        "max_completion_length": 8, "learning_rate": 0.05, "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "gradient_checkpointing": False, "bf16": False, **more,
    }  # fmt: skip


def trainer_with(adapter, folder):
    args = OmniOPDConfig(**usual(folder, forks=2, samples=2, chunk_tokens=2, target="labels"))
    teacher = ScriptedTeacher([" the cat", "5 is"])
    return OmniOPDTrainer(
        started(), teacher, args, rows(), processing_class=tiny_tokenizer(), peft_config=adapter
    )


def lora(**more):
    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **more})


def tuner(name, **more):
    return getattr(peft, name)(target_modules=["q_proj"], **more)


OFF = {  # the model with its adapter off is the starting student
    "lora": lora(),
    "gaussian": lora(init_lora_weights="gaussian"),
    "eva": lora(init_lora_weights="eva", eva_config=peft.EvaConfig()),
    "rslora": lora(use_rslora=True),
    "dora": lora(use_dora=True),
    "all-linear": lora(target_modules="all-linear"),
    "norm too": lora(modules_to_save=["norm"]),
    "embedding too": lora(modules_to_save=["embed_tokens"]),
    "head too": lora(modules_to_save=["lm_head"]),
    "some tokens too": lora(trainable_token_indices=[3, 4]),
    "ia3": peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
    "loha": tuner("LoHaConfig", r=2),
    "lokr": tuner("LoKrConfig", r=2),
    "oft": tuner("OFTConfig", oft_block_size=4),
    "vera": tuner("VeraConfig", r=4),
    "norms": peft.LNTuningConfig(target_modules=["norm"]),
}
COPY = {  # it is not, so that a copy of the starting student is kept
    "pissa": lora(init_lora_weights="pissa"),
    "olora": lora(init_lora_weights="olora"),
    "every bias": lora(bias="all"),
    "its biases": lora(bias="lora_only"),
}


@pytest.mark.parametrize("name", [*OFF, *COPY])
def test_the_reference_is_the_student_as_it_was_given(tmp_path, name):
    copied = name in COPY
    trainer, start = trainer_with((OFF | COPY)[name], tmp_path), said(started())
    assert (trainer.teacher_model is not None) == copied
    trainer.train()
    first, last = (log["kl/anchored"] for log in trainer.state.log_history[:2])
    assert abs(first) < 1e-5 < last
    assert not torch.allclose(said(trainer.model), start, atol=1e-3)
    if copied:
        torch.testing.assert_close(said(trainer.teacher_model), start, atol=1e-3, rtol=0)
    else:
        with trainer.model.disable_adapter():
            torch.testing.assert_close(said(trainer.model), start, atol=1e-3, rtol=0)


@pytest.mark.parametrize("adapter", [lora(init_lora_weights=False), tuner("FourierFTConfig", n_frequency=8)])
def test_an_adapter_that_starts_as_another_student_is_refused(tmp_path, adapter):
    with pytest.raises(ConfigError, match=r"starts .* nats per token away from the model that was given"):
        trainer_with(adapter, tmp_path)


def grpo(folder, model, adapter=None):
    args = GRPOConfig(**usual(folder, num_generations=2, beta=0.1, max_steps=1))
    return GraderTrainer(
        model=model, reward_funcs=[lambda completions, **_: [float(i % 2) for i in range(len(completions))]],
        args=args, train_dataset=rows(), processing_class=tiny_tokenizer(), peft_config=adapter,
    )  # fmt: skip


def test_grpo_is_pulled_towards_the_student_that_it_was_given(tmp_path):
    """Not towards what lies in the folder that it came from."""
    started().save_pretrained(tmp_path)
    model = Qwen2ForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        model.model.norm.weight.mul_(0.5)
    trainer = grpo(tmp_path, model)
    trainer.train()
    assert abs(trainer.state.log_history[0]["kl"]) < 1e-6


@pytest.mark.parametrize("adapter", COPY.values(), ids=COPY)
def test_grpo_refuses_an_adapter_that_would_move_its_reference(tmp_path, adapter):
    with pytest.raises(ConfigError, match=r"beta is 0\.1, .* is not the starting student"):
        grpo(tmp_path, started(), adapter)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_student_with_functional_dropout_takes_the_step_of_one_without(tmp_path, dropout):
    """OPT, whose dropout is not a layer: the same rollouts and the same weights after a step as with dropout 0."""
    steps = []
    for p in (0.0, dropout):
        torch.manual_seed(5)
        config = OPTConfig(
            vocab_size=300, hidden_size=32, ffn_dim=64, word_embed_proj_dim=32, num_hidden_layers=2, dropout=p,
            attention_dropout=p, layerdrop=p, num_attention_heads=4, max_position_embeddings=256, init_std=0.3,
            eos_token_id=2, pad_token_id=0, bos_token_id=1,
        )  # fmt: skip
        args = OmniOPDConfig(**usual(tmp_path, forks=2, samples=2, chunk_tokens=2, target="labels", max_steps=1))
        student, teacher = OPTForCausalLM(config), ScriptedTeacher([" the cat", "5 is"])
        trainer = OmniOPDTrainer(student, teacher, args, rows(), processing_class=tiny_tokenizer())
        trainer.train()
        steps.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*steps)


def test_a_student_of_a_short_context_trains_with_and_without_an_adapter(tmp_path):
    """Its learnt positions end before what is tried on longer ones."""
    config = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=14, eos_token_id=2, pad_token_id=0,
        bos_token_id=None,
    )  # fmt: skip
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{{ messages[0].content }}"
    teacher, short = ScriptedTeacher([" the cat", "5 is"]), [{"prompt": [{"role": "user", "content": "2+3"}]}] * 4
    for adapter in (None, LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM")):
        args = OmniOPDConfig(**usual(tmp_path, forks=2, samples=2, chunk_tokens=2, target="labels", max_steps=1))
        student = GPT2LMHeadModel(config)
        trainer = OmniOPDTrainer(student, teacher, args, short, processing_class=tokenizer, peft_config=adapter)
        trainer.train()
        assert trainer.state.global_step == 1
