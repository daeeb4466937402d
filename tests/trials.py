"""The product against slow twins on any model: scores, draws, trees and a step's gradient, a row at a time.

A twin knows the model's own logits of one row without padding or cache, and nothing of the product. What a model is
refused for raises ConfigError or DataError; what is wrong is an AssertionError.
"""

from __future__ import annotations

import copy
import inspect

import numpy as np
import torch
from torch import Tensor, nn

from omniopd.errors import ConfigError, DataError
from omniopd.models.architecture.tree_sampling import Branch, branch_ids
from omniopd.models.decoding import Sampling, choose, row_seed, uniforms
from omniopd.models.sampling import sample_ids
from omniopd.models.score import score
from omniopd.models.token_stats import head_of, response_hidden
from omniopd.teachers.local import LocalTeacher
from omniopd.training.checks.architecture import check_architecture
from omniopd.training.objective import Reference, micro_batch_loss
from omniopd.types import Prompt, Rollout
from tests.architectures import CONTEXT, END, PAD, VOCABULARY
from tests.builders import prompt, request, tiny_tokenizer

# Prompts and answers in tokens: some longer than every window of the small models.
LENGTHS = ((3, 5), (24, 17), (9, 2), (2, 30), (14, 1))
REFUSED = (ConfigError, DataError)


def own_logits(model: nn.Module, ids: list[int]) -> Tensor:
    """Of one text, read whole."""
    cache = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    return model(input_ids=torch.tensor([ids]), **cache).logits[0]


def logprobs(model: nn.Module, ids: list[int]) -> Tensor:
    """log π behind every token of one text, from the model's own full logits."""
    return own_logits(model, ids).log_softmax(-1)


def ragged(seed: int = 0) -> list[Rollout]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for number, (before, after) in enumerate(LENGTHS):
        ids = torch.randint(3, VOCABULARY, (before + after,), generator=draw)
        nothing = torch.zeros(after)
        found.append(
            Rollout(prompt(id=f"p{number}"), ids[:before], ids[before:], nothing, nothing, ("x",) * after)
        )  # fmt: skip
    return found


@torch.no_grad()
def try_scores(model: nn.Module, reference: nn.Module, tolerance: float = 1e-4) -> None:
    """Log-probabilities, entropies and KL of a padded batch."""
    rollouts = ragged()
    for found in score(model, tiny_tokenizer(), rollouts, reference):
        before, ids = len(found.prompt_ids), [*found.prompt_ids.tolist(), *found.token_ids.tolist()]
        log_p, log_q = (logprobs(m, ids)[before - 1 : -1].double() for m in (model, reference))
        for name, value, wanted in (
            ("log-probabilities", found.logprobs, log_p.gather(1, found.token_ids[:, None])[:, 0]),
            ("entropies", found.entropies, -(log_p.exp() * log_p).sum(-1)),
            ("KL", found.anchor_kl, (log_q.exp() * (log_q - log_p)).sum(-1)),
        ):
            worst = float((value - wanted).abs().max())
            assert worst <= tolerance, f"{name} are off by {worst:.3g} nats"


@torch.no_grad()
def plain_draw(model: nn.Module, prefix: list[int], seed: int, tokens: int, temperature: float) -> list[int]:
    """One row, read from its beginning for each token."""
    ids: list[int] = []
    while len(ids) < tokens and END not in ids:
        logits = own_logits(model, [*prefix, *ids])[-1:]
        number = torch.from_numpy(np.array([uniforms([seed], len(ids))]))
        ids.append(int(choose(logits, number, Sampling(temperature))))
    return ids


def try_draws(model: nn.Module, temperature: float = 1.0, tokens: int = 6) -> None:
    """Answers of `sample_ids` to prompts of several lengths, several to each."""
    tokenizer = tiny_tokenizer()
    asked = [prompt("the cat " * n + "?", f"p{n}") for n in (1, 9)]
    found = sample_ids(model, tokenizer, asked, tokens, temperature, samples=2)
    for each, answers in zip(asked, found, strict=True):
        prefix = list(tokenizer.apply_chat_template(list(each.messages), add_generation_prompt=True)["input_ids"])
        seeds = [row_seed(0, each.id, number) for number in range(2)]
        wanted = [plain_draw(model, prefix, seed, tokens, temperature) for seed in seeds]
        assert answers == wanted, "draws are not those of plain rows"


def try_branches(model: nn.Module, temperature: float = 1.0, tokens: int = 4) -> None:
    """Continuations of beginnings of one text, as a local teacher grows them; and that teacher itself."""
    trunk = torch.randint(3, VOCABULARY, (30,), generator=torch.Generator().manual_seed(5)).tolist()
    branches = [Branch(tuple(trunk[:cut]), (cut, cut + 100), tokens) for cut in (4, 17, 30)]
    for place, found in branch_ids(model, branches, temperature=temperature, eos_ids=[END]):
        wanted = [
            plain_draw(model, list(branches[place].prefix), s, tokens, temperature) for s in branches[place].seeds
        ]
        assert found == wanted, "texts of a tree are not those of plain rows"
    teacher = LocalTeacher(model, tiny_tokenizer(), temperature=0.0)
    [answer] = teacher.continue_from([request(samples=2, max_tokens=3)])
    assert len(answer.texts) == 2


def step_batch(seed: int = 0) -> dict[str, Tensor]:
    """A trainer's batch with weights, labels, an anchor and the teacher's texts as targets."""
    draw = torch.Generator().manual_seed(seed)
    lengths = LENGTHS[:3]
    rows, before, time = len(lengths), max(n for n, _ in lengths), max(n for _, n in lengths)
    mask = torch.stack([torch.arange(time) < n for _, n in lengths])
    audited = (torch.rand(rows, time, generator=draw) < 0.5) & mask
    audited[0, 0], audited[1, 0] = True, False
    starts = torch.tensor([[2, 0], [12, 3], [1, 1]])

    def tokens(*shape: int) -> Tensor:
        return torch.randint(3, VOCABULARY, shape, generator=draw)

    return {
        "prompt_ids": tokens(rows, before), "completion_ids": tokens(rows, time),
        "prompt_mask": torch.stack([torch.arange(before) >= before - n for n, _ in lengths]).long(),
        "completion_mask": mask.long(), "weights": torch.randn(rows, time, generator=draw) * audited,
        "audited": audited, "anchored": mask & ~audited, "label_ids": tokens(rows, time, 1),
        "label_weights": torch.rand(rows, time, 1, generator=draw) * audited[..., None],
        "continuation_ids": tokens(rows, 2, 4), "continuation_starts": starts,
        "continuation_lengths": torch.tensor([[4, 1], [3, 4], [2, 3]]),
        "continuation_weights": torch.tensor([[0.5, 1.0], [0.25, 1.0], [1.0, 0.0]]),
    }  # fmt: skip


def plain_loss(student: nn.Module, frozen: nn.Module, inputs: dict[str, Tensor], anchor: float) -> Tensor:
    """The paper's sum over tokens, each sequence alone, from full logits."""
    total = torch.zeros((), dtype=next(student.parameters()).dtype)
    for i, (before, after) in enumerate(LENGTHS[:3]):
        prefix = inputs["prompt_ids"][i][inputs["prompt_mask"][i].bool()].tolist()
        response = inputs["completion_ids"][i, :after].tolist()
        log_p = logprobs(student, prefix + response)[before - 1 : -1]
        with torch.no_grad():
            log_q = logprobs(frozen, prefix + response)[before - 1 : -1]
        kl = (log_q.exp() * (log_q - log_p)).sum(-1)
        for t, token in enumerate(response):
            total = total - inputs["weights"][i, t] * log_p[t, token]
            total = total - inputs["label_weights"][i, t, 0] * log_p[t, inputs["label_ids"][i, t, 0]]
            total = total + anchor * inputs["anchored"][i, t] * kl[t]
        for text in range(2):
            start, length = (int(inputs[f"continuation_{name}"][i, text]) for name in ("starts", "lengths"))
            own = inputs["continuation_ids"][i, text, :length].tolist()
            behind = prefix + response[:start]
            log_c = logprobs(student, behind + own)[len(behind) - 1 : -1]
            total = total - inputs["continuation_weights"][i, text] * log_c[range(length), own].sum()
    return total


def try_gradient(model: nn.Module, reference: nn.Module, tolerance: float = 1e-3) -> None:
    """One micro-batch's loss and its gradient in training mode, all terms together."""
    inputs, time = step_batch(), max(n for _, n in LENGTHS[:3])
    student = copy.deepcopy(model).train()
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    with torch.no_grad():
        view = Reference(response_hidden(reference, ids, attention, time), head_of(reference))
    found = micro_batch_loss(student, inputs, view, 0.3, 1.0).total
    slow = plain_loss(student, reference, inputs, 0.3)
    fast, wanted = float(found.detach()), float(slow.detach())
    assert abs(fast - wanted) <= tolerance * abs(wanted), f"loss {fast:.6g} for {wanted:.6g}"
    parameters = [p for p in student.parameters() if p.requires_grad]
    ours, theirs = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, materialize_grads=True)])
        for loss in (found, slow)
    )
    off = float((ours - theirs).norm() / theirs.norm())
    assert off <= tolerance, f"the gradient is off by {off:.3g} of its length"


@torch.no_grad()
def try_rollouts(model: nn.Module, tokens: int = 6) -> None:
    """What transformers samples in training from a padded batch, for models that training takes: greedy rows."""
    check_architecture(model)
    prompts = [ids.prompt_ids.tolist() for ids in ragged()[:3]]
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(each)) + each for each in prompts])
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts])
    written = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False)
    for each, found in zip(prompts, written[:, longest:].tolist(), strict=True):
        wanted = plain_draw(model, each, 0, tokens, 0.0)
        assert found[: len(wanted)] == wanted, "rollouts are not those of plain rows"


def over_long(model: nn.Module) -> list[Prompt]:
    """A prompt that no small model's context holds."""
    return [prompt("the cat sat on the mat " * CONTEXT)]
