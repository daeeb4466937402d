"""A model on a task at one temperature: how often it is right, how long it talks, how often it is cut off.

The problems are the same for every model, step and seed, so that differences can be paired; a draw is seeded by (seed,
problem, sample) alone, so that neither batches nor other problems change it, and an evaluation that was stopped goes on
where it was. Knows a task by `prompts` and `grade`; one that also has `readable(prompt, response)` tells whether an
answer could be found at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError
from omniopd.evaluation.partial_results import PartialResults
from omniopd.evaluation.repetition import repetition
from omniopd.io.processes import count, gathered, on_main, own_share
from omniopd.models.decoding import context_length
from omniopd.models.loading import end_ids
from omniopd.models.sampling import sample_ids
from omniopd.models.text.token_text import decode
from omniopd.records import EvalRecord, ProblemResult
from omniopd.tasks.rows import require_answers
from omniopd.tasks.safe_grade import safe_grade
from omniopd.types import Prompt, Task

PROBLEM_SEED = 0  # chooses the problems, never the draws: another one would unpair every evaluation
Progress = Callable[[int, int], None]
Results = Callable[[Sequence[ProblemResult], bool], object]


def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    samples: int = 1,
    temperature: float = 1.0,
    limit: int | None = None,
    seed: int = 0,
    split: str = "test",
    max_tokens: int = 512,
    batch: int = 256,
    step: int = 0,
    name: str = "student",
    progress: Progress | None = None,
    keep: Path | None = None,
    on_results: Results | None = None,
    shared: bool = False,
) -> EvalRecord:
    """Accuracy of `model` on the first `limit` problems of a split (None: all), `samples` answers each.

    The draws are those of `models.sampling.sample` with this seed, cut neither by top-p nor by top-k; temperature 0
    takes one answer, since all would be the same. `batch` answers are written at a time, and at least those to one
    problem; `progress(done, all)` counts them, `on_results(results, found)` gets them, first those `found` in `keep`.
    `step` and `name` ("student", "teacher") go into the record, where tables and lists of runs read them. At
    temperature 1 the entropy of the answers' tokens is measured too, as they are drawn. An answer counts as
    readable where the task says so, or, for a task that does not say, where it ended by itself. A grader that throws
    has found the answer wrong; the record says why. `keep` is a file that holds finished batches until the end: the
    same call, begun again, asks for the others only (`seconds` are then the last call's). Whoever names it answers for
    the model being the same. `shared`: every process makes this call, takes its share of the problems, and gets the
    record of all; `keep` is the main one's.

    Raises ConfigError for settings that cannot work, DataError for a split without problems or a prompt that fills the
    model's context, and what a task raises on purpose (Refused).
    """
    if samples < 1 or batch < 1 or max_tokens < 1 or temperature < 0:
        raise ConfigError(
            f"samples is {samples}, batch {batch}, max_tokens {max_tokens}, temperature {temperature}: the first three "
            "must be at least 1, and the temperature not below 0"
        )
    if temperature == 0:
        samples = 1
    started = time.perf_counter()
    prompts = problems_of(task, split, limit)
    ends = frozenset(end_ids(model, tokenizer))
    together = max(1, batch // samples)
    settings = {"model": name, "step": step, "task": task.name, "split": split, "temperature": float(temperature)}
    kept = PartialResults(keep, {**settings, "samples": samples, "seed": seed, "max_tokens": max_tokens})
    if shared:
        kept.results = on_main(lambda: kept.results)
    missing = [prompt for prompt in prompts if prompt.id not in kept.results]
    together *= count() if shared else 1
    if on_results is not None and kept.results:
        on_results([kept.results[prompt.id] for prompt in prompts if prompt.id in kept.results], True)
    if progress is not None:
        progress((len(prompts) - len(missing)) * samples, len(prompts) * samples)
    for start in range(0, len(missing), together):
        some = missing[start : start + together]
        own = own_share(some) if shared else some
        nats = _Nats(len(own), samples) if temperature == 1 else None
        written = sample_ids(
            model, tokenizer, own, max_tokens, temperature, seed, samples,
            batch_tokens=batch * context_length(model), watch=nats,
        )  # fmt: skip
        entropies = [None] * len(own) if nats is None else nats.means()
        results = [_graded(task, tokenizer, *one, ends) for one in zip(own, written, entropies, strict=True)]
        if shared:
            results = gathered(results)
        kept.add(results)
        if on_results is not None:
            on_results(results, False)
        if progress is not None:
            progress((len(prompts) - len(missing) + start + len(some)) * samples, len(prompts) * samples)
    return EvalRecord(
        model=name,
        task=task.name,
        split=split,
        temperature=float(temperature),
        samples=samples,
        seed=seed,
        max_tokens=max_tokens,
        problems=tuple(kept.results[prompt.id] for prompt in prompts),
        step=step,
        seconds=time.perf_counter() - started,
    )


def problems_of(task: Task, split: str = "test", limit: int | None = None) -> list[Prompt]:
    """The problems that an evaluation takes, the same every time. Raises ConfigError and DataError for what it lacks:
    to be called where training begins, when evaluations come later."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: evaluate at least one problem, or None for all")
    prompts = task.prompts(split, limit, PROBLEM_SEED)
    if not prompts:
        raise DataError(f"the split {split!r} of {task.name} has no problems: evaluate on another split")
    require_answers(task, prompts, f"the evaluation on {split!r}")
    return prompts


class _Nats:
    """Entropy of the distributions that the answers to each prompt were drawn from, at temperature 1."""

    def __init__(self, prompts: int, samples: int) -> None:
        self._samples = samples
        self._sums, self._tokens = [0.0] * prompts, [0] * prompts

    def __call__(self, rows: list[int], logits: Tensor) -> None:
        for row, nats in zip(rows, torch.special.entr(logits.float().softmax(-1)).sum(-1).tolist(), strict=True):
            self._sums[row // self._samples] += nats
            self._tokens[row // self._samples] += 1

    def means(self) -> list[float | None]:
        """Per token; None where there is none. Rounded, since the last digits depend on what is drawn together."""
        return [round(nats / n, 4) if n else None for nats, n in zip(self._sums, self._tokens, strict=True)]


def _graded(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    answers: Sequence[Sequence[int]],
    entropy: float | None,
    ends: frozenset[int],
) -> ProblemResult:
    texts = [decode(tokenizer, ids) for ids in answers]
    stopped = [bool(ids) and ids[-1] in ends for ids in answers]
    can_read = getattr(task, "readable", None)
    right, failures = _right(task, prompt, texts)
    return ProblemResult(
        prompt_id=prompt.id,
        right=right,
        samples=len(answers),
        readable=sum(stopped) if can_read is None else sum(bool(can_read(prompt, text)) for text in texts),
        truncated=len(answers) - sum(stopped),
        mean_tokens=sum(map(len, answers)) / len(answers),
        tokens=tuple(map(len, answers)),
        repetition=sum(map(repetition, answers)) / len(answers),
        failures=failures,
        entropy=entropy,
    )


def _right(task: Task, prompt: Prompt, texts: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """How many texts are right, and why the grader threw at others."""
    grades = [safe_grade(task, prompt, text) for text in texts]
    return sum(right for right, _ in grades), tuple(reason for _, reason in grades if reason)
