"""The target bench: what would each target teach, seen from its gradient alone? No training; three minutes.

    python benchmarks/targets.py [--batches 5] [--rollouts 32] [--forks 16] [--samples 8] [--chunk-tokens 2]

For every target, control, similarity and scheduler: the cosine of its gradient between the two halves of a batch
(signal against noise), and with the gradient of white-box distillation, the full reverse KL to the teacher on the same
rollouts (direction), for one batch and for the mean of all. The anchor is left out: at the start its gradient is 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from omniopd import embedded
from omniopd.auditing import audit, evidence, similarity_named
from omniopd.errors import DataError
from omniopd.evaluation.compare import MASS, Interval, mean_interval
from omniopd.io.quiet import quiet_libraries
from omniopd.method.controls import CONTROLS
from omniopd.method.targets import TARGETS
from omniopd.method.tensors import fork_targets, schedule
from omniopd.models.batching import rollout_batch, target_batch
from omniopd.models.sampling import sample
from omniopd.teachers.local import LocalTeacher
from omniopd.training.objective import micro_batch_loss
from omniopd.types import AuditedRollout, Rollout


@dataclass(frozen=True)
class Case:
    """One row of the table. What it does not name is the recipe's."""

    name: str
    target: str = "labels"
    similarity: str = "exact"
    power: float = 1.0
    scheduler: str = "peak"
    control: str = "none"
    depth: int = 1
    redraws: int = 0
    continuation_weight: float = 0.0


CASES = [
    Case("labels, depth 1"),
    Case("labels, depth 2", depth=2),
    Case("posterior KL", "posterior_kl"),
    Case("posterior KL, depth 2", "posterior_kl", depth=2),
    Case("prefix credit", "prefix_credit"),
    Case("centred, exact", "centred"),
    Case("centred, exact, same-fork baseline", "centred", redraws=4),
    Case("centred, tokens", "centred", "tokens"),
    Case("centred, ROUGE-1", "centred", "rouge1"),
    Case("centred, characters", "centred", "characters"),
    Case("centred, characters^8", "centred", "characters", 8.0),
    Case("centred, embedding", "centred", "embedding"),
    Case("continuations", "none", continuation_weight=1.0),
    Case("paper, characters", "paper", "characters"),
    Case("paper, exact", "paper"),
    Case("labels, random forks", scheduler="random"),
    Case("labels, early forks", scheduler="early"),
    Case("labels, causal forks", scheduler="causal"),
    Case("control: labels, self-teacher", control="self_teacher"),
    Case("control: labels, shuffled", control="shuffled"),
    Case("control: labels, constant", control="constant"),
    Case("control: labels, prior only", control="prior_only"),
    Case("control: posterior KL, self-teacher", "posterior_kl", control="self_teacher"),
    Case("control: posterior KL, shuffled", "posterior_kl", control="shuffled"),
    Case("control: centred, self-teacher", "centred", control="self_teacher"),
    Case("control: centred, shuffled", "centred", control="shuffled"),
    Case("control: centred, prior only", "centred", control="prior_only"),
    Case("control: paper, constant", "paper", "characters", control="constant"),
    Case("control: paper, prior only", "paper", "characters", control="prior_only"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("batches", 5), ("rollouts", 32), ("forks", 16), ("samples", 8), ("chunk-tokens", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quiet_libraries()
    started = time.perf_counter()
    bench = Bench(options)
    found: dict[str, list[BatchGradients]] = {}
    for batch in range(options.batches):
        for name, gradients in bench.gradients(batch):
            found.setdefault(name, []).append(gradients)
    reports = {name: judge(gradients, found[WHITE_BOX]) for name, gradients in found.items()}
    print(table(reports))
    minutes = (time.perf_counter() - started) / 60
    print(f"\n{verdict(reports)} ({options.batches} batches, {minutes:.1f} minutes)")


def flat_gradient(loss: Float[Tensor, ""], model: nn.Module) -> Float[Tensor, " parameter"]:
    """d loss / d θ over all trainable parameters, as one detached vector; 0 where the loss does not reach."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            torch.zeros(p.numel(), device=p.device) if g is None else g.detach().flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def grad_cosine(a: Float[Tensor, " parameter"], b: Float[Tensor, " parameter"]) -> float:
    """Cosine of the angle between two gradients; NaN where one of them is 0 and points nowhere."""
    norm = a.double().norm() * b.double().norm()
    return float(a.double() @ b.double() / norm) if norm > 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class BatchGradients:
    """A target's gradient on the two halves of one batch of rollouts."""

    first: Float[Tensor, " parameter"]
    second: Float[Tensor, " parameter"]

    @property
    def whole(self) -> Float[Tensor, " parameter"]:
        return self.first + self.second


@dataclass(frozen=True, slots=True)
class GradientReport:
    """`halves` and `direction` are means over batches, with batches as units; `mean_direction` is that of the mean
    gradient of all batches, its interval from resampling them. None: the gradient is 0."""

    halves: Interval | None
    direction: Interval | None
    mean_direction: Interval | None


def judge(target: Sequence[BatchGradients], white_box: Sequence[BatchGradients]) -> GradientReport:
    """A target beside white-box distillation on the same batches. Raises DataError for fewer than two batches."""
    if len(target) != len(white_box) or len(target) < 2:
        raise DataError(f"{len(target)} batches beside {len(white_box)}: give the same two or more")
    if any(not g.whole.any() for g in target):
        return GradientReport(None, None, None)
    halves = [grad_cosine(g.first, g.second) for g in target]
    direction = [grad_cosine(g.whole, w.whole) for g, w in zip(target, white_box, strict=True)]
    return GradientReport(
        mean_interval(halves, method="t"),
        mean_interval(direction, method="t"),
        _mean_direction([g.whole for g in target], [w.whole for w in white_box]),
    )


def _mean_direction(ours: list[Tensor], theirs: list[Tensor]) -> Interval:
    """cos(mean of ours, mean of theirs) and its percentile interval over resampled batches, from inner products."""
    a, b = torch.stack(ours).double(), torch.stack(theirs).double()
    own, other, cross = (a @ a.T).numpy(), (b @ b.T).numpy(), (a @ b.T).numpy()
    n = len(ours)

    def cosine(counts: np.ndarray) -> np.ndarray:
        def form(matrix: np.ndarray) -> np.ndarray:
            return np.einsum("ri,ij,rj->r", counts, matrix, counts)

        return form(cross) / np.sqrt(form(own) * form(other))

    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=2000).astype(float)
    low, high = np.quantile(cosine(drawn), [(1 - MASS) / 2, (1 + MASS) / 2])
    return Interval(float(cosine(np.ones((1, n)))[0]), float(low), float(high), MASS, n)


WHITE_BOX, SAMPLED_TOKEN = "white-box, full reverse KL", "white-box, sampled token"


class Bench:
    """The lab's models, and the gradients of every case on one batch of rollouts after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lab = options, embedded.lab()
        self.teacher = LocalTeacher(self.lab.teacher, self.lab.tokenizer)
        self.student_as_teacher = LocalTeacher(self.lab.student, self.lab.tokenizer)
        self.prompts = self.lab.task.prompts("train", options.batches * options.rollouts, options.seed)

    def gradients(self, batch: int) -> Iterator[tuple[str, BatchGradients]]:
        """Every row's gradient on batch number `batch`."""
        o, lab = self.options, self.lab
        prompts = self.prompts[batch * o.rollouts : (batch + 1) * o.rollouts]
        rollouts = sample(lab.student, lab.tokenizer, prompts, max_tokens=o.max_tokens, seed=o.seed)
        yield WHITE_BOX, self._halves(rollouts, lambda part, first: self._white_box(part, full=True))
        yield SAMPLED_TOKEN, self._halves(rollouts, lambda part, first: self._white_box(part, full=False))
        audits: dict[tuple, list[AuditedRollout]] = {}
        for case in CASES:
            # Cases that differ in their similarity alone compare the same texts.
            asked = (case.scheduler, case.redraws, CONTROLS[case.control].asks_student)
            if asked not in audits:
                audits[asked] = self._audit(rollouts, case, batch)
            yield case.name, self._case(_compared(audits[asked], case), case, batch)

    def _audit(self, rollouts: list[Rollout], case: Case, batch: int) -> list[AuditedRollout]:
        o, chooser = self.options, torch.Generator().manual_seed(batch)
        return audit(
            rollouts,
            [schedule(case.scheduler, r.entropies, o.forks, o.chunk_tokens, chooser) for r in rollouts],
            self.student_as_teacher if CONTROLS[case.control].asks_student else self.teacher,
            similarity_named(case.similarity, case.power),
            o.samples,
            tokenizer=self.lab.tokenizer,
            seed=o.seed * 1000 + batch,
            redraws=case.redraws,
            student=self.student_as_teacher,
        )

    def _case(self, audited: list[AuditedRollout], case: Case, batch: int) -> BatchGradients:
        generator = torch.Generator().manual_seed(batch)
        targets = fork_targets(evidence(audited), case.target, case.control, 1.0, case.depth, generator)
        by_row = iter(targets)
        rows = [[next(by_row) for _ in item.audits] for item in audited]

        def loss(part: list[Rollout], first: int) -> Tensor:
            own, flat = audited[first : first + len(part)], [t for row in rows[first : first + len(part)] for t in row]
            inputs = rollout_batch(part, self.lab.tokenizer.pad_token_id)
            mask = inputs["completion_mask"].bool()
            inputs |= target_batch(own, flat, mask, continuation_weight=case.continuation_weight).tensors()
            counts = 1.0 if TARGETS[case.target].gives == "counts" else None
            return micro_batch_loss(self.lab.student, inputs, None, 0.0, 1.0, concentration=counts).total

        return self._halves([item.rollout for item in audited], loss)

    def _halves(self, rollouts: list[Rollout], loss) -> BatchGradients:
        middle = len(rollouts) // 2
        parts = ((rollouts[:middle], 0), (rollouts[middle:], middle))
        return BatchGradients(*(flat_gradient(loss(part, first), self.lab.student) for part, first in parts))

    def _white_box(self, rollouts: list[Rollout], full: bool) -> Tensor:
        """Σ KL(π_θ ‖ π_T) over the response tokens: exactly, or as the policy gradient of its sampled tokens."""
        inputs = rollout_batch(rollouts, self.lab.tokenizer.pad_token_id)
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        position = (attention.cumsum(1) - 1).clamp(min=0)
        time, mask = inputs["completion_ids"].shape[1], inputs["completion_mask"].bool()

        def log_p(model: torch.nn.Module) -> Tensor:
            logits = model(input_ids=ids, attention_mask=attention, position_ids=position).logits
            return torch.log_softmax(logits[:, -time - 1 : -1].float(), -1)[mask]

        student = log_p(self.lab.student)
        with torch.no_grad():
            teacher = log_p(self.lab.teacher)
        if full:
            return (student.exp() * (student - teacher)).sum()
        chosen = inputs["completion_ids"][mask].unsqueeze(-1)
        own, theirs = student.gather(-1, chosen), teacher.gather(-1, chosen)
        return ((own - theirs).detach() * own).sum()


def _compared(audited: list[AuditedRollout], case: Case) -> list[AuditedRollout]:
    similarity = similarity_named(case.similarity, case.power)
    return [
        replace(item, audits=tuple(replace(a, similarities=similarity(a.chunk, a.texts)) for a in item.audits))
        for item in audited
    ]


def table(reports: dict[str, GradientReport]) -> str:
    """Markdown, the best direction first."""
    lines = [
        "| target | between halves | with white-box, one batch | with white-box, mean of all |",
        "| --- | --- | --- | --- |",
    ]
    for name, r in sorted(reports.items(), key=lambda item: -_order(item[1])):
        cells = (_cosine(r.halves), _cosine(r.direction), _cosine(r.mean_direction))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(reports: dict[str, GradientReport]) -> str:
    """The best direction, and what these batches cannot tell from it: every target within the best one's interval."""
    targets = [case.name for case in CASES if not case.name.startswith("control")]
    best = max(targets, key=lambda name: _order(reports[name]))
    interval = reports[best].mean_direction
    if interval is None:
        return "No target has a gradient here."
    level = [f"`{name}`" for name in targets if name != best and _order(reports[name]) >= interval.low]
    beside = f"; not told apart from it: {', '.join(level)}" if level else ""
    return f"For this student and teacher, train `{best}`{beside}."


def _order(report: GradientReport) -> float:
    return -2.0 if report.mean_direction is None else report.mean_direction.mean


def _cosine(interval) -> str:
    return "no gradient" if interval is None else f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


if __name__ == "__main__":
    main()
