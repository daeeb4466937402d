"""The target bench for equal teacher tokens: what does a token that a teacher reads or writes teach? A few minutes.

    python benchmarks/target_tokens.py [--batches 16] [--rollouts 24] [--trained 0] [--cached 1]

Labels at entropy peaks (the embedded recipe's), by scans of the whole answer or by a few texts an answer, and targets
made of them: the cosine with the exact gradient of white-box distillation, for endless batches (is it the same
direction?), for 64 answers, and for some numbers of teacher tokens. No text is generated: labels are drawn from the
teacher's distribution, and the price is what a teacher that is asked for texts alone would have read and written.
`--trained` first takes so many steps of white-box distillation, so that the student stands in the middle of its way.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.target_figures import labelling, pulls
from benchmarks.target_figures.angles import Gram, cosine, interval
from benchmarks.target_figures.labelling import Drawn, Labelled, Price
from benchmarks.target_figures.pulls import Pull, View
from omniopd import embedded
from omniopd.evaluation.compare import Interval
from omniopd.io.quiet import quiet_libraries
from omniopd.models.batching import rollout_batch, sequences
from omniopd.models.sampling import sample
from omniopd.types import Prompt, Rollout

DRAWS = 8
STEP = 64  # answers of a step of the recipe
Mixture = dict[str, float]
TRUE: dict[str, Mixture] = {
    "reverse KL": {"reverse": 1},
    "forward KL": {"forward": 1},
    "reverse KL with future": {"reverse": 1, "reverse, future": 1},
    "forward KL with future": {"forward": 1, "forward, future": 1},
}
MADE: dict[str, Callable[[View, Labelled], Pull]] = {
    "labels": pulls.labels,
    "posterior_kl .3": partial(pulls.posterior_kl, concentration=0.3),
    "posterior_kl 1": partial(pulls.posterior_kl, concentration=1.0),
    "posterior_kl 3": partial(pulls.posterior_kl, concentration=3.0),
    "posterior_kl 10": partial(pulls.posterior_kl, concentration=10.0),
    "centred": pulls.centred,
    "analytic baseline": pulls.analytic_baseline,
    "analytic expectation": pulls.analytic_expectation,
    "future .9": lambda view, asked: pulls.future_credit(view, pulls.label_cost(view, asked), 0.9),
    "future 1": lambda view, asked: pulls.future_credit(view, pulls.label_cost(view, asked), 1.0),
}
PLAIN = ("labels", "posterior_kl .3", "posterior_kl 1", "posterior_kl 3", "posterior_kl 10")
FEW = PLAIN[::2]
ASKED: dict[str, tuple[Callable[[Drawn, int], Labelled], Sequence[str]]] = {
    "16 forks x 8": (partial(labelling.forks, count=16, samples=8), tuple(MADE)),
    "scan": (labelling.scan, tuple(MADE)),
    "scan x 2": (partial(labelling.scan, samples=2), FEW),
    "scan x 4": (partial(labelling.scan, samples=4), FEW),
    "2 texts": (partial(labelling.starts, count=2), FEW),
    "4 texts": (partial(labelling.starts, count=4), PLAIN),
    "scan x 2, 6 more where they differ": (
        partial(labelling.second_stage, samples=2, more=6, places=4, by=labelling.disagreement), FEW,
    ),
    "scan, 7 more where the teacher wavers": (
        partial(labelling.second_stage, samples=1, more=7, places=4, by=labelling.spread), FEW,
    ),
}  # fmt: skip
# Rows of the table that are sums of measured ones.
WITH_FUTURE = {
    f"labels + {weight:g} x future {discount}, {asked}": {f"labels, {asked}": 1, f"future {discount}, {asked}": weight}
    for asked in ("16 forks x 8", "scan")
    for discount, weight in ((".9", 1.0), ("1", 1.0), (".9", 0.1), ("1", 0.1))
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("batches", 16), ("rollouts", 24), ("trained", 0), ("max-tokens", 96), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tokens", type=float, nargs="*", default=[4000, 24000, 96000], help="teacher tokens a step")
    parser.add_argument("--cached", type=float, default=1.0, help="what a token that the teacher reads again counts")
    o = parser.parse_args()
    quiet_libraries()
    started = time.perf_counter()
    lab = embedded.lab()
    prompts = lab.task.prompts("train", (o.batches + o.trained) * o.rollouts, o.seed)
    steps = [prompts[i : i + o.rollouts] for i in range(0, len(prompts), o.rollouts)]
    train(lab, steps[: o.trained], o)
    gradients: dict[str, list[Tensor]] = {}
    prices: dict[str, Price] = {}
    for batch, asked in enumerate(steps[o.trained :]):
        rollouts = sample(lab.student, lab.tokenizer, asked, max_tokens=o.max_tokens, seed=o.seed)
        for name, price, gradient in batch_gradients(lab, rollouts, o.seed * 1000 + batch):
            gradients.setdefault(name, []).append(gradient.bfloat16())  # a rounding that no inner product shows
            prices[name] = prices.get(name, Price()) + price
    print(table(Gram.of(gradients), prices, o))
    print(f"\n{o.batches} batches of {o.rollouts} answers, {(time.perf_counter() - started) / 60:.1f} minutes")


def batch_gradients(lab: embedded.Lab, rollouts: list[Rollout], seed: int) -> Iterator[tuple[str, Price, Tensor]]:
    """Every true gradient and every target's on one batch, with the price of its labels."""
    logits, teacher = response_logits(lab, rollouts)
    drawn = labelling.draw(rollouts, teacher, DRAWS, seed)
    view = View(logits.detach().log_softmax(-1), teacher, drawn.row, drawn.place, drawn.ids)
    gradient = partial(pulls.gradient, logits, list(lab.student.parameters()))
    reverse, forward = pulls.reverse_cost(view), pulls.forward_cost(view)
    yield "reverse", Price(), gradient(pulls.reverse_kl(view))
    yield "forward", Price(), gradient(pulls.forward_kl(view))
    yield "reverse, future", Price(), gradient(pulls.future_credit(view, reverse, 1.0))
    yield "forward, future", Price(), gradient(pulls.future_credit(view, forward, 1.0))
    yield "sampled token", Price(), gradient(pulls.sampled_token(view))
    for where, (ask, targets) in ASKED.items():
        asked = ask(drawn, logits.shape[-1])
        for target in targets:
            yield f"{target}, {where}", asked.price, gradient(MADE[target](view, asked))


def response_logits(lab: embedded.Lab, rollouts: list[Rollout]) -> tuple[Tensor, Tensor]:
    """The student's logits (with their graph) and the teacher's log-probabilities, one line per response token."""
    inputs = rollout_batch(rollouts, lab.tokenizer.pad_token_id)
    ids, attention, width = sequences(inputs)
    position, mask = (attention.cumsum(1) - 1).clamp(min=0), inputs["completion_mask"].bool()

    def read(model: nn.Module) -> Tensor:
        logits = model(input_ids=ids, attention_mask=attention, position_ids=position).logits
        return logits[:, -width - 1 : -1].float()[mask]

    with torch.no_grad():
        teacher = read(lab.teacher).log_softmax(-1)
    return read(lab.student), teacher


def train(lab: embedded.Lab, steps: Sequence[Sequence[Prompt]], o: argparse.Namespace, rate: float = 8e-4) -> None:
    """White-box reverse KL, a step for each list of prompts."""
    optimiser = torch.optim.AdamW(lab.student.parameters(), lr=rate, weight_decay=0.0)
    for prompts in steps:
        rollouts = sample(lab.student, lab.tokenizer, prompts, max_tokens=o.max_tokens, seed=o.seed)
        logits, teacher = response_logits(lab, rollouts)
        student = logits.log_softmax(-1)
        loss = (student.exp() * (student - teacher)).sum() / len(student)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def table(gram: Gram, prices: dict[str, Price], o: argparse.Namespace) -> str:
    """Markdown: prices per answer; cosines with each true gradient for endless batches, then with the reverse KL."""
    rows: dict[str, Mixture] = TRUE | {name: {name: 1.0} for name in gram.names if prices[name].calls}
    rows |= {"white-box, sampled token": {"sampled token": 1.0}} | WITH_FUTURE
    rows = {name: mixture for name, mixture in rows.items() if not name.startswith("future")}
    head = ["target", "read", "again", "written", "calls", *(f"{true}, endless" for true in TRUE), f"{STEP} answers"]
    lines = [head + [f"{n:,.0f} tokens" for n in o.tokens], ["---"] * (6 + len(TRUE) + len(o.tokens))]
    for name, mixture in rows.items():
        price, answers = prices[next(iter(mixture))], o.batches * o.rollouts
        step = price.tokens(o.cached) / o.batches
        counts = [STEP / o.rollouts, *(n / step for n in o.tokens if step)]

        def found(true: Mixture, batches: float, mixture: Mixture = mixture) -> str:
            products = gram.products(mixture, true)
            return _cell(interval(lambda change: cosine(change(products), batches), o.batches))

        spent = [f"{n / answers:.1f}" for n in (price.read, price.cached, price.written, price.calls)]
        cells = [*(found(true, math.inf) for true in TRUE.values()), *(found(TRUE["reverse KL"], n) for n in counts)]
        lines.append([name, *(spent if step else [""] * 4), *cells, *([] if step else [""] * len(o.tokens))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
