"""Sampled answers carry the exact statistics of every token, and depend on nothing but their seeds."""

from __future__ import annotations

import copy

import pytest
import torch

from omniopd.errors import DataError
from omniopd.models.sampling import sample, sample_ids
from omniopd.models.score import score
from tests.builders import prompt, prompts, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def test_every_token_has_the_statistics_of_the_distribution_that_produced_it() -> None:
    model = tiny_model(dtype=torch.float64)
    for rollout in sample(model, TOKENIZER, prompts(3), max_tokens=9, samples=2, temperature=0.8):
        ids = torch.cat([rollout.prompt_ids, rollout.token_ids])
        with torch.no_grad():
            logits = model(input_ids=ids.unsqueeze(0)).logits[0, len(rollout.prompt_ids) - 1 : -1] / 0.8
        log_p = logits.log_softmax(-1)
        torch.testing.assert_close(
            rollout.logprobs.double(), log_p.gather(-1, rollout.token_ids[:, None])[:, 0], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(rollout.entropies.double(), -(log_p.exp() * log_p).sum(-1), atol=1e-5, rtol=0)


def test_samples_of_a_prompt_stand_side_by_side_and_differ() -> None:
    found = sample(tiny_model(), TOKENIZER, prompts(3), max_tokens=8, samples=3)
    assert [r.prompt.id for r in found] == ["p0"] * 3 + ["p1"] * 3 + ["p2"] * 3
    assert len({tuple(r.token_ids.tolist()) for r in found}) == 9


def test_the_same_seed_gives_the_same_answers_whatever_else_is_sampled() -> None:
    model = tiny_model()
    many = sample(model, TOKENIZER, prompts(4), max_tokens=8, seed=5)
    torch.manual_seed(77)
    [alone] = sample(model, TOKENIZER, prompts(4)[2:3], max_tokens=8, seed=5)
    assert alone.token_ids.tolist() == many[2].token_ids.tolist()
    torch.testing.assert_close(alone.entropies, many[2].entropies, atol=1e-5, rtol=1e-5)
    [other] = sample(model, TOKENIZER, prompts(4)[2:3], max_tokens=8, seed=6)
    assert other.token_ids.tolist() != alone.token_ids.tolist()


def test_pieces_join_to_the_text_and_the_end_of_turn_is_a_token_without_text() -> None:
    found = sample(tiny_model(), TOKENIZER, [prompt()], max_tokens=30, samples=40)
    ended = [r for r in found if r.finish == "stop"]
    assert ended
    assert len(ended) < 40
    for rollout in found:
        ids = rollout.token_ids.tolist()
        assert len(rollout.pieces) == len(rollout) == len(rollout.logprobs)
        assert rollout.text == TOKENIZER.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert (ids[-1] == TOKENIZER.eos_token_id) == (rollout.finish == "stop")
        assert len(rollout) <= 30
        assert rollout.finish == "stop" or len(rollout) == 30
    assert all(r.pieces[-1] == "" for r in ended)


def test_the_fast_path_draws_the_same_tokens() -> None:
    model = tiny_model()
    rollouts = sample(model, TOKENIZER, prompts(2), max_tokens=7, seed=3, samples=2)
    fast = sample_ids(model, TOKENIZER, prompts(2), max_tokens=7, seed=3, samples=2)
    assert [r.token_ids.tolist() for r in rollouts] == [ids for answers in fast for ids in answers]


def test_an_answer_ends_where_the_context_does_and_a_prompt_that_fills_it_is_refused() -> None:
    model = tiny_model(context=64)
    rollouts = sample(model, TOKENIZER, prompts(2), max_tokens=500, samples=3)
    assert max(len(r.prompt_ids) + len(r) for r in rollouts) <= 64
    with pytest.raises(DataError, match=r"prompt 'long' has \d+ tokens, and the model reads 64"):
        sample(model, TOKENIZER, [prompt("cow " * 90, "long")])


def test_scoring_against_a_reference_gives_a_divergence_that_is_zero_for_the_model_itself() -> None:
    model = tiny_model()
    rollouts = sample(model, TOKENIZER, prompts(3), max_tokens=6)
    same = score(model, TOKENIZER, rollouts, copy.deepcopy(model))
    assert all(float(r.anchor_kl.abs().max()) < 1e-5 for r in same)
    far = score(model, TOKENIZER, rollouts, tiny_model(seed=9), batch_tokens=40)
    assert all(float(r.anchor_kl.min()) > 0.01 for r in far)
    assert [r.prompt.id for r in far] == ["p0", "p1", "p2"]


def test_no_prompts_give_no_rollouts() -> None:
    assert sample(tiny_model(), TOKENIZER, []) == []
