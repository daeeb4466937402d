"""A teacher that nobody waits for: its texts come while the student samples (waves) and learns (staleness).

Waves: the answers of a step are sampled in equal parts, and a part is with the teacher while the next is sampled. The
draws are those of the whole batch, so that nothing else changes.

Staleness 1: while a step is learnt, the answers of the next one are with the teacher. The student that samples them has
not taken the step in between; they are sampled before it, from the prompts that come next.

    step t:   sample t + 1, ask ──────────▶ (teacher) ──────────▶ ready
              wait for t, learn t          │ step t + 1: sample t + 2, ask; wait for t + 1, learn t + 1

A checkpoint holds the answers that are with the teacher, or a resumed run would sample others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from omniopd.io.processes import gathered, is_main, on_main
from omniopd.method.evidence import ForkTarget
from omniopd.method.staleness import MOST_RATIO, truncated_ratio
from omniopd.models.text.token_text import pieces
from omniopd.training.background import Audits, Background, Work, busy_seconds
from omniopd.training.on_policy import OnPolicyTrainer
from omniopd.training.rollouts import as_prompts
from omniopd.training.statistics import spend
from omniopd.training.trl.rows_of_a_batch import RowsOfABatch
from omniopd.training.trl.seeding import seed_global_generators
from omniopd.types import AuditedRollout, Rollout, Usage

AHEAD = "answers_ahead.json"


@dataclass(slots=True)
class Answers:
    """This process's answers for one step, with what is being asked about them (by whom: `_asks_in_shares`).

    `step` and `sampled_at` count the steps done before the one that learns from them, and before they were sampled.
    `paid` is what they took before the run was resumed, `waited` the seconds that the student has stood still for them.
    """

    step: int
    sampled_at: int
    completion_ids: list[list[int]] = field(default_factory=list)
    rollouts: list[Rollout] = field(default_factory=list)
    asked: list[Audits] = field(default_factory=list)
    audited: list[AuditedRollout] | None = None
    paid: Usage = field(default_factory=Usage)
    waited: float = 0.0


class Overlapping(OnPolicyTrainer):
    """A base whose answers are audited beside sampling and learning, where `args.waves` or `args.staleness` say so.

    A subclass says how rows are audited and where (the hooks), and learns from `_answers`, once they are
    `_waited_for`.
    """

    _answers: Answers | None = None  # of this step; None where nothing overlaps
    _ahead: Answers | None = None  # of the next
    _kept: dict[str, Any] | None = None  # what a checkpoint held of them
    _inputs: Sequence[dict[str, Any]] = ()
    _next_inputs: list[dict[str, Any]] | None = None
    _held: tuple[Any, Any] | None = None  # an epoch's iterator, and what it gave ahead of time

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _audit_threads(self) -> int:
        """A hook: how many audits are done beside each other; 0: each at once, where it is asked for."""
        raise NotImplementedError

    def _asks_in_shares(self) -> bool:
        """A hook: whether each process has its own rows audited, not the main one all of them."""
        raise NotImplementedError

    def _audits_of(self, rollouts: list[Rollout], step: int, first: int) -> list[tuple[int, Work]]:
        """A hook: the audits that this process has to do, each with its first row in the global batch. `rollouts` are
        its own from row `first` on; all processes call this together."""
        raise NotImplementedError

    def _scores(self, step: int) -> bool:
        """A hook: whether the answers of this step need log-probabilities and entropies before the loss."""
        raise NotImplementedError

    @cached_property
    def _background(self) -> Background:
        return Background(self._audit_threads())

    # ── what comes next ──────────────────────────────────────────────────────────────────────────────────────────

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        fetch = partial(super().get_batch_samples, epoch_iterator, num_batches, device)
        if not self.args.staleness:
            return fetch()
        held = self._held
        now = held[1] if held is not None and held[0] is epoch_iterator and held[1][0] else fetch()
        coming = fetch()
        # A pass over the data ends without a look at the next: its first answers are sampled when they are learnt.
        self._held = epoch_iterator, coming
        self._next_inputs = coming[0][0] if coming[0] else None
        return now

    # ── sampling ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._inputs = inputs
        return super()._generate_and_score_completions(inputs)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        def draw(ids: list[list[int]]) -> list[list[int]]:
            found: list[list[int]] = draw_all(ids, *rest, **more)
            return found

        draw_all, step = super()._generate_single_turn, self.state.global_step
        if not self.model.training or (self.args.waves == 1 and not self.args.staleness):
            self._answers = None
            return draw(prompt_ids)
        if self._ahead is not None and self._ahead.step == step:
            self._answers = self._ahead
        elif self._kept is not None and self._kept["step"] == step:
            self._answers = self._revived(self._kept, self._inputs, prompt_ids)
        else:
            self._answers = self._sampled(draw, step, self._inputs, prompt_ids)
        self._ahead = self._kept = None
        # The first answers are looked at before more are asked about: a teacher that does not work is found out there.
        if self.args.staleness and 0 < step < self.state.max_steps - 1 and self._next_inputs:
            coming = self._tokenize_prompts([row["prompt"] for row in self._next_inputs])[0]
            self._ahead = self._sampled(draw, step + 1, self._next_inputs, coming)
        return self._answers.completion_ids

    def _sampled(
        self, draw: Callable[[list[list[int]]], list[list[int]]], step: int, inputs: Sequence[dict[str, Any]],
        prompt_ids: list[list[int]],
    ) -> Answers:  # fmt: skip
        """Answers for the step, wave by wave, each with the teacher as soon as it is there."""
        made = Answers(step, self.state.global_step)
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        own, by_row = len(inputs), self._draws_by_row()
        size = own // self.args.waves
        for first in range(0, own, size):
            wave = slice(first, first + size)
            seed_global_generators("sampling", self.args.seed, step, 0 if by_row else rank)
            whole = not by_row or (size == own and count == 1)
            with nullcontext() if whole else RowsOfABatch(rank * own + first, count * own):
                ids = draw(prompt_ids[wave])
            made.completion_ids += ids
            self._begin(made, self._unscored(inputs[wave], prompt_ids[wave], ids), self._scores(step))
        return made

    def _begin(self, made: Answers, rollouts: list[Rollout], score: bool) -> None:
        first = self.accelerator.process_index * len(self._inputs) + len(made.rollouts)
        scored = self._scored(rollouts) if score else rollouts
        if score:
            self.note_gap(scored)
        made.rollouts += scored
        with nullcontext() if self._background.threads else self.stopwatch.phase("teacher"):
            made.asked += [self._background.do(*work) for work in self._audits_of(scored, made.step, first)]

    def _unscored(
        self, inputs: Sequence[dict[str, Any]], prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]]
    ) -> list[Rollout]:
        return [
            Rollout(
                prompt=prompt,
                prompt_ids=torch.tensor(before),
                token_ids=torch.tensor(ids),
                logprobs=torch.full((len(ids),), torch.nan),
                entropies=torch.full((len(ids),), torch.nan),
                pieces=pieces(self.tokenizer, ids),
                finish="stop" if ids and ids[-1] in self.eos_token_ids else "length",
            )
            for prompt, before, ids in zip(as_prompts(inputs), prompt_ids, completion_ids, strict=True)
        ]

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────

    def _finished(self, answers: Answers) -> list[AuditedRollout]:
        """The audits of the global batch, once they are all there."""
        if answers.audited is None:
            asked = sorted(answers.asked, key=lambda audits: audits.first)

            def found() -> list[AuditedRollout]:
                return [item for audits in asked for item in audits.found.result()]

            answers.audited = gathered(found()) if self._asks_in_shares() else on_main(found)
        return answers.audited

    def _waited_for(self, answers: Answers) -> list[AuditedRollout]:
        """The same, with how long it took for the log: what was hidden behind the student's work, what was waited."""
        before = self.stopwatch.so_far("teacher")
        with self.stopwatch.phase("teacher"):
            audited = self._finished(answers)
        answers.waited += self.stopwatch.so_far("teacher") - before
        if self._background.threads and is_main():
            metrics = self._metrics["train"]
            metrics["teacher/seconds_hidden"].append(max(0.0, busy_seconds(answers.asked) - answers.waited))
            metrics["teacher/seconds_waited"].append(answers.waited)
        self._metrics["train"]["answers/staleness"].append(float(answers.step - answers.sampled_at))
        return audited

    def train(self, *args: Any, **kwargs: Any) -> Any:
        is_whole = False
        try:
            found = super().train(*args, **kwargs)
            is_whole = True
            return found
        finally:
            self._background.close(interrupted=not is_whole)
            self._held = self._ahead = None

    # ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        ahead = self._ahead
        if ahead is None:
            return
        # Waited for, so that what they cost is known, and what is paid for is in the cache when the run is resumed.
        began, usage = time.perf_counter(), ahead.paid
        # What fails is raised by the step that learns from them: this one is done, and its checkpoint stands.
        with suppress(Exception):
            usage = usage + spend(self._finished(ahead))
        ahead.waited += time.perf_counter() - began
        rows = gathered(
            [
                {"tokens": ids, "logprobs": rollout.logprobs.tolist(), "entropies": rollout.entropies.tolist()}
                for ids, rollout in zip(ahead.completion_ids, ahead.rollouts, strict=True)
            ]
        )
        kept = {"step": ahead.step, "sampled_at": ahead.sampled_at, "usage": asdict(usage), "rows": rows}
        if is_main():
            Path(output_dir, AHEAD).write_text(json.dumps(kept), encoding="utf-8")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        file = None if checkpoint is None else Path(checkpoint, AHEAD)
        if file is not None and self.args.staleness and file.is_file():
            self._kept = json.loads(file.read_text(encoding="utf-8"))

    def _revived(self, kept: dict[str, Any], inputs: Sequence[dict[str, Any]], prompt_ids: list[list[int]]) -> Answers:
        """Answers of a checkpoint, with the teacher again: a cache has what it said."""
        first = self.accelerator.process_index * len(inputs)
        rows = kept["rows"][first : first + len(inputs)]
        made = Answers(kept["step"], kept["sampled_at"], paid=Usage(**kept["usage"]))
        made.completion_ids = [row["tokens"] for row in rows]
        rollouts = [
            replace(rollout, logprobs=torch.tensor(row["logprobs"]), entropies=torch.tensor(row["entropies"]))
            for rollout, row in zip(self._unscored(inputs, prompt_ids, made.completion_ids), rows, strict=True)
        ]
        self._begin(made, rollouts, score=False)
        return made


def corrected(
    audited: Sequence[AuditedRollout], targets: Sequence[Sequence[ForkTarget]], now: Sequence[Rollout]
) -> tuple[list[list[ForkTarget]], dict[str, float]]:
    """Weights on tokens that an earlier student drew, for the one that learns from them (`method.staleness`), and how
    far the two are apart, for the log. `now` are the rollouts as that one scores them."""
    made, ratios = [], []
    for item, row, scored in zip(audited, targets, now, strict=True):
        chunks = [slice(audit.fork.start, audit.fork.stop) for audit in item.audits]
        of_row = [
            truncated_ratio(scored.logprobs[chunk], item.rollout.logprobs[chunk], together=not audit.run)
            for chunk, audit in zip(chunks, item.audits, strict=True)
        ]
        made.append([replace(t, weights=t.weights * ratio) for t, ratio in zip(row, of_row, strict=True)])
        ratios += of_row
    if not ratios:
        return made, {}
    every = torch.cat(ratios)
    cut = every >= MOST_RATIO * (1 - 1e-6)
    return made, {"ratio/mean": float(every.mean()), "ratio/truncated_share": float(cut.float().mean())}
