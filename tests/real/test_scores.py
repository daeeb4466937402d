"""What is computed of the real model without full logits, against full logits in float64; and saved models."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import get_peft_model

from omniopd.models.adapters import lora_config
from omniopd.models.batching import rollout_batch, sequences
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.score import score
from omniopd.models.token_stats import response_hidden
from omniopd.pipeline.saving import save_student
from tests.real.test_tokens import logits

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_scores_and_entropies_are_those_of_full_logits_in_float64(model, rollouts):
    """Of answers of unequal length, padded to one batch."""
    exact = copy.deepcopy(model).double()
    for rollout in rollouts:
        logprobs = logits(exact, rollout).log_softmax(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        drawn = logprobs[range(len(rollout)), rollout.token_ids]
        torch.testing.assert_close(rollout.logprobs.double(), drawn, rtol=0, atol=2e-4)
        torch.testing.assert_close(rollout.entropies.double(), entropies, rtol=0, atol=2e-4)


def test_answers_scored_in_one_batch_have_the_scores_of_each_alone(model, tokenizer, rollouts):
    together = score(model, tokenizer, rollouts)
    assert sum(len(rollout) for rollout in together) > max(len(rollout) for rollout in together)
    for one, alone in zip(together, rollouts, strict=True):
        torch.testing.assert_close(one.logprobs, alone.logprobs, rtol=0, atol=2e-4)
        torch.testing.assert_close(one.entropies, alone.entropies, rtol=0, atol=2e-4)


def test_the_divergence_from_a_frozen_start_is_that_of_full_logits(model, student, tokenizer, rollouts):
    [scored] = score(student.model, tokenizer, rollouts[:1], reference=model)
    start, now = (logits(m, scored).log_softmax(-1) for m in (model, student.model))
    expected = (start.exp() * (start - now)).sum(-1)
    assert expected.min() > 1e-6
    torch.testing.assert_close(scored.anchor_kl, expected, rtol=1e-3, atol=1e-5)


def test_a_saved_student_is_the_student(student, tokenizer, rollouts, tmp_path):
    save_student(student.model, tokenizer, tmp_path / "student")
    again = load_model(str(tmp_path / "student"), device="cpu")
    assert load_tokenizer(str(tmp_path / "student")).get_vocab() == tokenizer.get_vocab()
    assert torch.equal(hidden(again, rollouts), hidden(student.model, rollouts))


def test_an_adapter_is_the_same_model_saved_by_itself_and_merged(model, tokenizer, rollouts, tmp_path):
    adapted = get_peft_model(copy.deepcopy(model), lora_config(4))
    draw = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # it begins as nothing
            parameter.data.normal_(0, 0.02, generator=draw)
    expected, start = hidden(adapted, rollouts), hidden(model, rollouts)
    assert (expected - start).abs().max() > 0.1
    save_student(adapted, tokenizer, tmp_path / "adapter")
    assert torch.equal(hidden(load_model(str(tmp_path / "adapter"), device="cpu"), rollouts), expected)
    save_student(adapted, tokenizer, tmp_path / "merged", merge=True)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    merged = hidden(load_model(str(tmp_path / "merged"), device="cpu"), rollouts)
    torch.testing.assert_close(merged, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.no_grad()
def hidden(model, rollouts):
    """The states behind every answer's tokens."""
    batch = rollout_batch(rollouts, 2)
    return response_hidden(model.eval(), *sequences(batch))[batch["completion_mask"].bool()]
