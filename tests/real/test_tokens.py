"""The tokenizer and the template of the real checkpoint, however it came here, are the published ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from omniopd.auditing import audit, evidence
from omniopd.method.tensors import exact_similarity, fork_targets
from omniopd.models.batching import rollout_batch, target_batch
from omniopd.models.loading import end_ids
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.models.text.token_text import decode, pieces
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.objective import micro_batch_loss
from omniopd.types import AuditedRollout, Continuations, Fork

TEXTS = [
    "Mia has 37+25=62 shells.\n#### 62",
    "1,234.50  dollars\n\n\n   and 7 days",
    "naïve café 🎉🧑‍🚀 漢字 Ünïcödé",
    "x = [i**2 for i in range(10)]\n\tprint(x)  # ok",
    " leading and trailing ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_very_text(tokenizer, text):
    ids = text_ids(tokenizer, text)
    assert "".join(pieces(tokenizer, ids)) == text == decode(tokenizer, ids)
    for stop in range(len(ids)):
        assert "".join(pieces(tokenizer, ids[:stop])) == decode(tokenizer, ids[:stop])


def test_pieces_of_answers_join_to_their_text(tokenizer, rollouts):
    for rollout in rollouts:
        assert "".join(rollout.pieces) == decode(tokenizer, rollout.token_ids.tolist()) != ""


def test_numbers_are_digits_and_space_before_them_is_by_itself(tokenizer):
    """Published so; a GGUF file says it in a word that transformers does not read."""
    assert list(pieces(tokenizer, text_ids(tokenizer, "has  1,250\n\n4"))) == [
        "has", "  ", "1", ",", "2", "5", "0", "\n\n", "4",
    ]  # fmt: skip


def test_a_conversation_is_written_as_published(tokenizer):
    ids = prompt_ids(tokenizer, [{"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids == tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"]
    own = prompt_ids(tokenizer, [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}])
    assert tokenizer.decode(own).startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\n")


def test_an_answer_ends_with_the_token_that_pads(model, tokenizer):
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert end_ids(model, tokenizer) == (2,)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)
    assert model.config.vocab_size == len(tokenizer) == 49_152


def test_the_end_of_a_turn_is_labelled_by_a_teacher_that_stops_and_one_that_goes_on(tokenizer, rollouts):
    """Where the student ended, a teacher that ends as well labels the end; one that writes on labels its own token."""
    [rollout] = finished(rollouts[:1], tokenizer)
    last = len(rollout) - 1
    teacher = ScriptedTeacher(lambda request: Continuations(("", " then", ""), (True, False, True)))
    audited = audit([rollout], [[Fork(last, last + 1, 1.0)]], teacher, exact_similarity, 3, tokenizer=tokenizer)
    [target] = fork_targets(evidence(audited), "labels", "none", 1.0, 1)
    [then] = text_ids(tokenizer, " then")
    assert dict(target.labels[0]) == pytest.approx({tokenizer.eos_token_id: 2 / 3, then: 1 / 3})


def test_padding_is_never_learnt_and_the_end_of_a_turn_is(student, tokenizer, rollouts):
    """A batch whose padding is the end token has the loss and the gradient of its answers one by one."""
    some = finished(rollouts[:2], tokenizer)
    assert len(some[0]) != len(some[1])

    def loss(of):
        """The chunk is the whole answer, end of turn included."""
        batch = rollout_batch(of, tokenizer.pad_token_id)
        mask = batch["completion_mask"].bool()
        targets = target_batch([AuditedRollout(r, ()) for r in of], [], mask).tensors()
        targets["weights"], targets["anchored"] = mask.float(), torch.zeros_like(mask)
        made = micro_batch_loss(student.model, {**batch, **targets}, None, 0.0, 1.0)
        made.total.backward()
        gradient = student.model.model.embed_tokens.weight.grad.clone()
        student.model.zero_grad()
        return float(made.total.detach()), int(made.tokens), gradient

    together, tokens, gradient = loss(some)
    alone = [loss([one]) for one in some]
    assert tokens == sum(len(one) for one in some)
    assert together == pytest.approx(sum(total for total, _, _ in alone), rel=1e-5)
    torch.testing.assert_close(gradient, sum(g for *_, g in alone), rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))
    by_token = logits(student.model, some[1]).log_softmax(-1)
    ids = some[1].token_ids
    assert alone[1][0] == pytest.approx(-float(by_token[range(len(ids)), ids].sum()), rel=1e-4)


def finished(rollouts, tokenizer):
    """The same answers, ended."""
    end = torch.tensor([tokenizer.eos_token_id])
    return [
        r if r.finish == "stop" else replace(
            r, token_ids=torch.cat([r.token_ids, end]), pieces=(*r.pieces, ""), finish="stop",
            logprobs=torch.cat([r.logprobs, -torch.ones(1)]), entropies=torch.cat([r.entropies, torch.ones(1)]),
        )
        for r in rollouts
    ]  # fmt: skip


@torch.no_grad()
def logits(model, rollout):
    """Full logits of every token of an answer."""
    ids = torch.cat([rollout.prompt_ids, rollout.token_ids])[None]
    return model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
