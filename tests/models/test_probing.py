"""What a model takes is tried on it once, leaves no trace, and is told in a sentence before anything is computed."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from omniopd.errors import ConfigError, DataError
from omniopd.evaluation.evaluate import evaluate
from omniopd.models.architecture.backbone import check_head, ignores_padding
from omniopd.models.architecture.reading import way_of
from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.models.decoding import context_length, continue_ids
from omniopd.models.loading import frozen_copy
from omniopd.models.sampling import sample
from omniopd.models.score import score
from omniopd.teachers.local import LocalTeacher
from omniopd.training.checks.architecture import check_architecture
from tests.architectures import CONTEXT, END, build
from tests.builders import prompt, prompts, request, tiny_model, tiny_tokenizer
from tests.trials import over_long, ragged

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def ask_everything(model) -> tuple:
    check_architecture(model)
    return ignores_padding(model), way_of(model), supports_trees(model)


def forwards_of(model) -> list[int]:
    """The shapes of the forwards of its first layer, from now on."""
    seen: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _, inputs, out: seen.append(tuple(out.shape)))
    return seen


def test_modes_gradients_and_generators_are_as_they_were() -> None:
    model = tiny_model().train()
    model.lm_head.eval()  # one module's own mode
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    ask_everything(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert float(model.lm_head.weight.grad.min()) == float(model.lm_head.weight.grad.max()) == 1
    assert all(p.requires_grad for p in model.parameters())


def test_a_model_is_asked_once_cheaply_and_its_copy_knows() -> None:
    model = tiny_model()
    seen = forwards_of(model)
    answers = ask_everything(model)
    assert 0 < sum(rows * columns for rows, columns, _ in seen) < 1500  # tokens, of all questions together
    seen.clear()
    assert ask_everything(model) == ask_everything(frozen_copy(model)) == answers
    assert not seen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["qwen3_moe", "gemma2", "rwkv"])
def test_rounding_to_16_bits_changes_no_answer(name, dtype) -> None:
    def answers(model) -> tuple:
        return ignores_padding(model), way_of(model), supports_trees(model)

    assert answers(build(name).to(dtype)) == answers(build(name))


def test_an_adapter_changes_no_answer_even_under_autocast() -> None:
    answers = ask_everything(tiny_model())
    model = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).train()
    with torch.autocast("cpu", torch.bfloat16):
        assert ask_everything(model) == answers
    assert model.training


def test_an_adapter_that_adds_tokens_of_its_own_is_refused() -> None:
    wrapped = get_peft_model(tiny_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ConfigError, match="in a way that is not known here"):
        score(wrapped, tiny_tokenizer(), ragged())


class Counting:
    """A task of one problem."""

    name = "one"

    def prompts(self, split, limit, seed):
        return [prompt()]

    def grade(self, asked, response):
        return False


def test_a_model_with_a_head_of_its_own_writes_but_is_not_scored() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.lm_head.register_forward_hook(lambda layer, states, logits: 1.5 * logits)
    ordinary = tiny_model(1)
    for scored in (
        lambda: score(model, tokenizer, ragged()), lambda: score(ordinary, tokenizer, ragged(), model),
        lambda: sample(model, tokenizer, prompts(1), 4), lambda: check_architecture(model),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="'qwen3' change their logits in a way"):
            scored()
    assert evaluate(model, tokenizer, Counting(), max_tokens=3).problems
    assert LocalTeacher(model, tokenizer).continue_from([request()])[0].texts


def test_a_refused_sample_computes_nothing_but_the_question() -> None:
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda layer, states, logits: 1.5 * logits)
    seen = forwards_of(model)
    with pytest.raises(ConfigError):
        sample(model, tiny_tokenizer(), prompts(3), 40)
    assert len(seen) <= 3


def test_a_model_that_looks_at_later_tokens_is_refused() -> None:
    model = build("bert-generation")
    with pytest.raises(ConfigError, match="look at tokens that come later"):
        check_head(model)
    check_head(build("bert-generation", is_decoder=True))


@pytest.mark.parametrize("name", ["mpt", "opt", "gpt2", "dbrx", "llama"])
def test_beyond_the_context_is_a_sentence_before_anything_is_computed(name) -> None:
    model, tokenizer = build(name), tiny_tokenizer()
    assert context_length(model) == CONTEXT
    [asked] = over_long(model)
    seen = forwards_of(model)
    with pytest.raises(DataError, match=f"and the model reads {CONTEXT}"):
        sample(model, tokenizer, [asked], 5)
    assert LocalTeacher(model, tokenizer).continue_from([request(of=asked)])[0].problem == "context"
    [rollout] = ragged()[:1]
    ids = torch.full((CONTEXT,), 7)
    long = type(rollout)(asked, rollout.prompt_ids, ids, ids * 0.0, ids * 0.0, ("x",) * CONTEXT)
    with pytest.raises(DataError, match=f"have {CONTEXT + len(rollout.prompt_ids)} tokens, and the model reads"):
        score(model, tokenizer, [long])
    assert sum(rows * columns for rows, columns, *_ in seen) < 500
    [whole] = continue_ids(model, [[5] * (CONTEXT - 3)], [1], 3, eos_ids=[END])
    assert 0 < len(whole) <= 3
