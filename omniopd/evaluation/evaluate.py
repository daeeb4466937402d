"""A model on a task at one temperature: how often it is right, how long it talks, how often it is cut off.

The problems are the same for every model, step and seed, so that differences can be paired; a draw is seeded by (seed,
problem, sample) alone, so that neither batches nor other problems change it. Knows a task by `prompts` and `grade`; one
that also has `readable(prompt, response)` tells whether an answer could be found at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from torch import nn
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError
from omniopd.models.chat import prompt_ids
from omniopd.models.decoding import Sampling, context_length, continue_ids, row_seed
from omniopd.models.pieces import decode
from omniopd.records import EvalRecord, ProblemResult
from omniopd.types import Prompt, Task

TEMPERATURES = (0.0, 0.3, 0.5, 0.7, 1.0)
PROBLEM_SEED = 0  # chooses the problems, never the draws: another one would unpair every evaluation
Progress = Callable[[int, int], None]


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
) -> EvalRecord:
    """Accuracy of `model` on the first `limit` problems of a split (None: all), `samples` answers each.

    Temperature 0 takes one answer, since all would be the same. Sampling is cut neither by top-p nor by top-k. `batch`
    answers are written at a time; `progress(done, all)` counts them. `step` and `name` ("student", "teacher") go into
    the record, where tables and lists of runs read them. An answer counts as readable where the task says so, or, for a
    task that does not say, where it ended by itself. Raises ConfigError for settings that cannot work, and DataError
    for a split without problems or a prompt that leaves no room to answer.
    """
    if samples < 1 or batch < 1 or max_tokens < 1 or temperature < 0:
        raise ConfigError(
            f"samples is {samples}, batch {batch}, max_tokens {max_tokens}, temperature {temperature}: the first three "
            "must be at least 1, and the temperature not below 0"
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: evaluate at least one problem, or None for all")
    if temperature == 0:
        samples = 1
    started = time.perf_counter()
    prompts = task.prompts(split, limit, PROBLEM_SEED)
    if not prompts:
        raise DataError(f"the split {split!r} of {task.name} has no problems: evaluate on another split")
    encoded = [prompt_ids(tokenizer, prompt.messages) for prompt in prompts]
    _check_lengths(prompts, encoded, max_tokens, context_length(model))
    answers = _answers(model, tokenizer, prompts, encoded, samples, temperature, seed, max_tokens, batch, progress)
    ends = frozenset(_end_ids(model, tokenizer))
    problems = [
        _graded(task, tokenizer, prompt, answers[row * samples : (row + 1) * samples], ends)
        for row, prompt in enumerate(prompts)
    ]
    return EvalRecord(
        model=name,
        task=task.name,
        split=split,
        temperature=float(temperature),
        samples=samples,
        seed=seed,
        max_tokens=max_tokens,
        problems=tuple(problems),
        step=step,
        seconds=time.perf_counter() - started,
    )


def accuracy_by_temperature(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    temperatures: Sequence[float] = TEMPERATURES,
    samples: int = 16,
    limit: int | None = None,
    seed: int = 0,
    split: str = "test",
    max_tokens: int = 512,
    batch: int = 256,
    step: int = 0,
    name: str = "student",
    progress: Progress | None = None,
    other_samples: int = 1,
) -> list[EvalRecord]:
    """One evaluation per temperature, ascending: what tells a better student from a merely sharper one.

    The highest temperature takes `samples` answers a problem, which give both its accuracy and pass@k; those between it
    and 0 take `other_samples`. `progress` counts the answers of all of them. Arguments and errors are `evaluate`'s.
    """
    ordered = sorted(set(temperatures))
    if not ordered:
        raise ConfigError("temperatures is empty: name at least one, such as 0")
    each = [samples if temperature == ordered[-1] else other_samples for temperature in ordered]
    each = [count if temperature > 0 else 1 for count, temperature in zip(each, ordered, strict=True)]
    records: list[EvalRecord] = []
    for place, (temperature, count) in enumerate(zip(ordered, each, strict=True)):
        shown = _of_several(progress, each, place)
        records.append(
            evaluate(
                model, tokenizer, task, count, temperature, limit, seed, split, max_tokens, batch, step, name, shown
            )
        )
    return records


def _answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    encoded: Sequence[Sequence[int]],
    samples: int,
    temperature: float,
    seed: int,
    max_tokens: int,
    batch: int,
    progress: Progress | None,
) -> list[list[int]]:
    """Token ids of every answer; those to one problem stand together."""
    ends = _end_ids(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    rows = [(place, sample) for place in range(len(prompts)) for sample in range(samples)]
    # Answers to prompts of like length share a batch; `found` puts them back in order.
    order = sorted(range(len(rows)), key=lambda row: (len(encoded[rows[row][0]]), row))
    found: list[list[int]] = [[] for _ in rows]
    for start in range(0, len(rows), batch):
        some = order[start : start + batch]
        written = continue_ids(
            model,
            [encoded[rows[row][0]] for row in some],
            [row_seed("evaluate", seed, prompts[rows[row][0]].id, rows[row][1]) for row in some],
            max_tokens,
            eos_ids=ends,
            pad_id=pad,
            sampling=Sampling(float(temperature)),
            batch_tokens=batch * (max_tokens + max(len(encoded[rows[row][0]]) for row in some)),
        )
        for row, ids in zip(some, written, strict=True):
            found[row] = ids
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    return found


def _graded(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    answers: Sequence[Sequence[int]],
    ends: frozenset[int],
) -> ProblemResult:
    texts = [decode(tokenizer, ids) for ids in answers]
    stopped = [bool(ids) and ids[-1] in ends for ids in answers]
    can_read = getattr(task, "readable", None)
    return ProblemResult(
        prompt_id=prompt.id,
        right=sum(bool(task.grade(prompt, text)) for text in texts),
        samples=len(answers),
        readable=sum(stopped) if can_read is None else sum(bool(can_read(prompt, text)) for text in texts),
        truncated=len(answers) - sum(stopped),
        mean_tokens=sum(map(len, answers)) / len(answers),
    )


def _end_ids(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and those that the model's generation settings add."""
    declared = model.generation_config.eos_token_id if getattr(model, "generation_config", None) else None
    ids = [] if declared is None else [declared] if isinstance(declared, int) else list(declared)
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if not ids:
        raise ConfigError(
            f"neither the tokenizer nor the model of {tokenizer.name_or_path or 'this student'} names an end token, so "
            "no answer would end: set tokenizer.eos_token"
        )
    return sorted(set(ids))


def _check_lengths(prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]], max_tokens: int, context: int) -> None:
    for prompt, ids in zip(prompts, encoded, strict=True):
        if len(ids) + max_tokens > context:
            raise DataError(
                f"problem {prompt.id!r} has {len(ids)} tokens and {max_tokens} more may follow, but the model reads "
                f"{context}: lower max_tokens (student.max_tokens), or leave such problems out"
            )


def _of_several(progress: Progress | None, each: Sequence[int], place: int) -> Progress | None:
    """Progress of one evaluation as a part of all; every one has the same number of problems."""
    if progress is None:
        return None

    def shown(done: int, total: int) -> None:
        problems = total // each[place]
        progress(problems * sum(each[:place]) + done, problems * sum(each))

    return shown
