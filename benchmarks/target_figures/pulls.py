"""What each target pulls at, as the gradient of its loss with respect to the student's logits, line by line.

Closed forms, so that one forward serves all of them: the rest is the student's own backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.target_figures.labelling import Labelled
from omniopd.method.evidence import other_rollouts_mean
from omniopd.method.posterior import posterior_label_weights

Pull = Float[Tensor, "token vocab"]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A batch of answers, one line per token: the student's and the teacher's log-probabilities, and what was drawn."""

    student: Float[Tensor, "token vocab"]
    teacher: Float[Tensor, "token vocab"]
    row: Int[Tensor, " token"]
    place: Int[Tensor, " token"]
    ids: Int[Tensor, " token"]

    @property
    def probabilities(self) -> Tensor:
        return self.student.exp()

    def own(self, weights: Float[Tensor, " token"]) -> Pull:
        """Σ weight · −log π(y)."""
        pull = weights[:, None] * self.probabilities
        pull[torch.arange(len(pull)), self.ids] -= weights
        return pull

    def towards(self, weights: Float[Tensor, "token vocab"]) -> Pull:
        """Σ weight_v · −log π(v)."""
        return weights.sum(-1, keepdim=True) * self.probabilities - weights


def reverse_kl(view: View) -> Pull:
    """KL(π ‖ π_T), white-box."""
    gap = view.student - view.teacher
    return view.probabilities * (gap - _reverse(view)[:, None])


def forward_kl(view: View) -> Pull:
    """KL(π_T ‖ π), white-box."""
    return view.probabilities - view.teacher.exp()


def sampled_token(view: View) -> Pull:
    """The policy gradient of the reverse KL's sampled tokens, white-box."""
    gap = (view.student - view.teacher).gather(-1, view.ids[:, None])[:, 0]
    return -view.own(gap)


def future_credit(view: View, cost: Float[Tensor, " token"], discount: float) -> Pull:
    """What every token brings about later in its answer: Σ (C_{>t} − b_t) ∇ log π(y_t), to be added to a target."""
    return -view.own(future(cost, view.row, view.place, discount))


def future(cost: Tensor, row: Tensor, place: Tensor, discount: float) -> Float[Tensor, " token"]:
    """Σ_{u > t} discount^(u−t) cost_u, less the mean of the other answers at the same place."""
    table = torch.full((int(row.max()) + 1, int(place.max()) + 2), torch.nan, dtype=torch.float64)
    table[row, place] = cost.double()
    later = torch.zeros_like(table)
    for t in range(table.shape[1] - 2, -1, -1):
        later[:, t] = discount * (later[:, t + 1] + torch.nan_to_num(table[:, t + 1]))
    later = later.masked_fill(table.isnan(), torch.nan)
    centred = later - other_rollouts_mean(later, range(len(later)))
    return centred[row, place].to(cost.dtype)


def reverse_cost(view: View) -> Tensor:
    return _reverse(view)


def forward_cost(view: View) -> Tensor:
    """The cross-entropy of the student under the teacher, exactly."""
    return -(view.teacher.exp() * view.student).sum(-1)


def labels(view: View, asked: Labelled) -> Pull:
    return view.towards(shares(asked))


def label_cost(view: View, asked: Labelled) -> Tensor:
    return -(shares(asked) * view.student).sum(-1)


def posterior_kl(view: View, asked: Labelled, concentration: float) -> Pull:
    return view.towards(posterior_label_weights(asked.counts, view.student, concentration))


def centred(view: View, asked: Labelled) -> Pull:
    """k / N of the student's own token less the mean of the other answers' labelled tokens."""
    there = asked.samples > 0
    share = shares(asked).gather(-1, view.ids[:, None])[there]
    baseline = other_rollouts_mean(share, view.row[there].tolist())
    weights = torch.zeros(len(view.ids))
    weights[there] = (share - baseline)[:, 0]
    return view.own(weights)


def analytic_baseline(view: View, asked: Labelled) -> Pull:
    """k / N of the student's own token less what the student would have got in expectation, Σ π k / N."""
    share = shares(asked)
    return view.own(share.gather(-1, view.ids[:, None])[:, 0] - (view.probabilities * share).sum(-1))


def analytic_expectation(view: View, asked: Labelled) -> Pull:
    """The expectation of `analytic_baseline` over the student's token: towards each label, by π k / N."""
    return view.towards(view.probabilities * shares(asked))


def shares(asked: Labelled) -> Float[Tensor, "token vocab"]:
    return asked.counts / asked.samples.clamp(min=1)[:, None]


def _reverse(view: View) -> Tensor:
    return (view.probabilities * (view.student - view.teacher)).sum(-1)


def gradient(logits: Tensor, parameters: Sequence[Tensor], pull: Pull) -> Float[Tensor, " parameter"]:
    """The student's gradient for a pull at its logits, flat; the graph is kept for the next one."""
    found = torch.autograd.grad(logits, parameters, pull.to(logits.dtype), retain_graph=True)
    return torch.cat([g.flatten() for g in found])
