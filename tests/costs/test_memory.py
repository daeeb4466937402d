"""What a plan says of memory is what real models, gradients and moments take, and what it proposes takes less."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from omniopd.cli.main import main
from omniopd.config import Recipe
from omniopd.costs.fitting import _with, changes
from omniopd.costs.memory import Memory, memory_of
from omniopd.costs.recipe import longest_prompt
from omniopd.errors import ConfigError
from omniopd.models.loading import load_tokenizer
from omniopd.pipeline.build import build_prompts
from tests.small_runs import as_words, lab, small_recipe

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PROMPT = 100


def recipe(**more: object) -> Recipe:
    return small_recipe(**{"training__rollouts": 8, "training__micro_batch": 4, "student__max_tokens": 64} | more)


def real_bytes(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_weights_gradients_and_moments_are_those_of_a_real_step():
    model = AutoModelForCausalLM.from_pretrained(lab() / "student")
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    memory = memory_of(recipe(), PROMPT)
    assert memory.reference == memory.teacher == real_bytes(model.parameters())
    assert memory.parameters == real_bytes([*model.parameters(), *model.buffers()])
    assert memory.gradients == real_bytes(p.grad for p in model.parameters())
    assert memory.optimizer == real_bytes(moments)
    assert memory.vllm == 0


@pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install 'omniopd[bits]')"
)
def test_moments_of_8_bits_are_what_bitsandbytes_really_holds(tmp_path):
    import bitsandbytes as bnb

    config = LlamaConfig(
        vocab_size=300, hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config)
    config.save_pretrained(tmp_path)
    manager = bnb.optim.GlobalOptimManager.get_instance()
    manager.register_module_override(model.model.embed_tokens, "weight", {"optim_bits": 32})  # as transformers does
    optimizer = bnb.optim.AdamW8bit(model.parameters())
    model(input_ids=torch.zeros(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    held = [
        value
        for state in optimizer.state.values()
        for name, value in state.items()
        if name.startswith(("state", "absmax"))
    ]
    planned = memory_of(recipe(student__model=str(tmp_path), training__optimizer="adamw_8bit"), PROMPT)
    assert planned.optimizer == pytest.approx(real_bytes(held), rel=0.01)


def test_an_adapter_has_no_reference_and_4_bits_take_an_eighth_of_a_layer():
    whole, adapter = memory_of(recipe(), PROMPT), memory_of(recipe(student__lora_rank=2), PROMPT)
    assert adapter.reference == 0
    assert adapter.optimizer == 2 * adapter.gradients < whole.optimizer
    assert adapter.parameters == whole.parameters + adapter.gradients
    few = memory_of(recipe(student__lora_rank=2, student__target_modules=["q_proj"]), PROMPT)
    assert few.gradients < adapter.gradients / 4
    packed = memory_of(recipe(student__lora_rank=2, student__load_in_4bit=True), PROMPT)
    layers = real_bytes(
        module.weight
        for name, module in AutoModelForCausalLM.from_pretrained(lab() / "student").named_modules()
        if name.endswith("_proj")
    )
    assert adapter.parameters - packed.parameters == pytest.approx(layers * (1 - 0.516 / 4), rel=0.01)
    assert packed.gradients == adapter.gradients


def test_the_reference_is_the_teacher_where_both_are_one_checkpoint_in_one_process():
    same = recipe(teacher__model=str(lab() / "student"))
    assert (memory_of(same, PROMPT).reference, memory_of(same, PROMPT).teacher > 0) == (0, True)
    assert memory_of(same, PROMPT, gpus=2).reference > 0
    assert memory_of(replace(same, method="white_box"), PROMPT).reference == 0


def test_processes_share_answers_and_with_fsdp2_the_model_too():
    one, two = memory_of(recipe(), PROMPT), memory_of(recipe(), PROMPT, gpus=2)
    assert (two.parameters, two.optimizer, two.reference) == (one.parameters, one.optimizer, one.reference)
    assert two.answers < one.answers
    assert two.gradients == 2 * one.gradients  # torch averages them in buckets of their own
    parts = memory_of(recipe(), PROMPT, gpus=2, strategy="fsdp2")
    for name in ("parameters", "optimizer", "gradients"):
        assert getattr(parts, name) == getattr(one, name) // 2
    assert (parts.teacher, parts.reference) == (one.teacher, one.reference)  # whole in each process
    assert parts.answers == two.answers + one.parameters - parts.parameters  # so is the student while it samples
    assert parts.activations > two.activations  # a layer is gathered before it computes


def test_vllm_takes_its_share_of_the_gpu_and_the_answers_none():
    memory = memory_of(recipe(student__sampler="vllm"), PROMPT, device_bytes=80e9)
    assert (memory.vllm, memory.answers) == (24_000_000_000, 0)


def test_the_most_is_that_of_the_fullest_phase():
    memory = Memory(1, 2, 3, 4, 5, gradients=10, activations=20, answers=25, texts=0, measuring=40, control=0)
    assert memory.phases == {"while it learns": 45, "while it answers": 40, "while it is measured": 55}
    assert (memory.peak, memory.when) == (55, "while it is measured")


@pytest.mark.parametrize(
    ("more", "how", "said"),
    [
        ({}, {"gpus": 3}, r"training\.rollouts is 8, which 3 processes cannot share"),
        ({}, {"strategy": "zero"}, r"--strategy is 'zero': it must be one of ddp, fsdp2"),
        ({"method": "sft"}, {}, r'method is "sft" .*: only what omniopd, white_box, white_box_sampled take'),
        ({"student__model": "/no/such"}, {}, r"the model folder /no/such does not exist"),
        ({"student__lora_rank": 2, "student__load_in_4bit": True}, {"strategy": "fsdp2"}, r"are not shared out; use"),
    ],
)
def test_what_is_not_counted_is_one_sentence(more, how, said):
    with pytest.raises(ConfigError, match=said):
        memory_of(recipe(**more), PROMPT, **how)


def test_prompts_are_the_recipes_own_where_they_are_here(tmp_path):
    from omniopd.models.text.chat import prompt_ids

    tokenizer = load_tokenizer(str(lab() / "student"))
    own = max(len(prompt_ids(tokenizer, p.messages)) for p in build_prompts(recipe()))
    assert longest_prompt(recipe()) == own > 0
    AutoModelForCausalLM.from_pretrained(lab() / "student").config.save_pretrained(tmp_path)
    assert longest_prompt(recipe(student__model=str(tmp_path))) is None  # a configuration has no tokenizer
    assert longest_prompt(recipe(task__name="gsm8k")) is None
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt": "the cat sat", "answer": "1"}\n{"prompt": "the cat", "answer": "2"}\n')
    ours = recipe(task__name="jsonl", task__path=str(file), task__prompts=0)
    assert longest_prompt(ours) == max(len(prompt_ids(tokenizer, p.messages)) for p in build_prompts(ours))


def test_every_change_takes_less_than_those_before_it_and_none_is_named_that_is_not_needed():
    whole = memory_of(recipe(), PROMPT, 2)
    found = list(changes(recipe(), PROMPT, 2, "ddp", 1))
    peaks = [whole.peak, *(memory.peak for _, memory in found)]
    assert peaks == sorted(set(peaks), reverse=True)
    words = [word for word, _ in found]
    assert {"training.gradient_checkpointing=true", "--strategy fsdp2", "student.lora_rank=16"} <= set(words)
    assert not list(changes(recipe(), PROMPT, 2, "ddp", whole.peak))
    enough = list(changes(recipe(), PROMPT, 2, "ddp", peaks[2]))
    assert [word for word, _ in enough] == words[:2]


def test_one_process_has_nothing_to_share_out_and_an_adapter_comes_before_4_bits():
    assert _with("--strategy fsdp2", recipe(), 1, "ddp") is None
    assert _with("--strategy fsdp2", recipe(), 2, "ddp") == ("--strategy fsdp2", recipe(), "fsdp2")
    assert _with("student.load_in_4bit=true", recipe(), 1, "ddp") is None
    assert _with("student.load_in_4bit=true", recipe(student__lora_rank=16), 1, "ddp") is not None
    assert _with("evaluation.batch={own}", recipe(), 4, "ddp")[0] == "evaluation.batch=2"


def test_the_command_says_what_takes_what_and_whether_it_fits(capsys):
    before = list((lab() / "student").iterdir())
    more = {"training__micro_batch": 4, "student__max_tokens": 64, "audit__forks": 1, "evaluation__batch": 1}
    words = ["plan", "labels", *as_words(**more)]
    assert main(words) == 0
    plain = capsys.readouterr().out
    assert "the longest of the recipe's first 1,024" in plain
    assert all(f"  {name} " in plain for name in ("parameters", "gradients", "optimizer", "reference", "activations"))
    assert "fit" not in plain
    assert main([*words, "--memory-gb", "1"]) == 0
    assert "fits into 1.0 GB" in capsys.readouterr().out
    peak = memory_of(small_recipe(**more), 200).peak
    assert main([*words, "--prompt-tokens", "200", "--memory-gb", f"{(peak - 1) / 1e9:.9f}"]) == 1
    said = capsys.readouterr().out
    assert "prompts of 200 tokens (given)" in said
    assert "does not fit into" in said
    assert "with training.gradient_checkpointing=true" in said
    assert said.endswith("fits with these\n")
    assert main([*words, "--gpus", "0"]) == 2
    assert "--gpus is 0: it must be above 0" in capsys.readouterr().err
    assert before == list((lab() / "student").iterdir())


def test_weights_are_not_needed(tmp_path, capsys):
    AutoModelForCausalLM.from_pretrained(lab() / "student").config.save_pretrained(tmp_path)
    assert main(["plan", "labels", *as_words(student__model=str(tmp_path)), "--memory-gb", "1"]) == 0
    assert "prompts of 256 tokens (a guess: --prompt-tokens)" in capsys.readouterr().out


def test_strategies_are_those_that_ship():
    from omniopd.costs.memory import STRATEGIES
    from omniopd.pipeline.processes import STRATEGIES as FOLDER

    assert {path.stem for path in FOLDER.glob("*.yaml")} <= STRATEGIES.keys()
