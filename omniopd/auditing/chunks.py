"""Ask a teacher about forks: N texts from each, beside the chunk that the student wrote there.

Knows no model: rollouts and texts go in, evidence comes out. A fork without a full answer is data, not an error: its
tokens stay anchored and the reason is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from omniopd.method.forks import teacher_tokens
from omniopd.method.posterior import chunk_probability
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.identity import check_token_ratio
from omniopd.types import (
    Audit,
    AuditedRollout,
    ContinuationRequest,
    Continuations,
    Fork,
    Rollout,
    Similarity,
    Teacher,
    Unanswered,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSIDE_CHARACTER = "fork inside a character"


def audit(
    rollouts: Sequence[Rollout],
    forks: Sequence[Sequence[Fork]],
    teacher: Teacher,
    similarity: Similarity,
    samples: int = 10,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    tokens_per_student_token: float = 1.0,
    redraws: int = 0,
    student: Teacher | None = None,
    on_result: Callable[[int, Continuations], None] | None = None,
    first_row: int = 0,
) -> list[AuditedRollout]:
    """Continue every fork's prefix `samples` times and compare with what the student wrote there.

    `forks` holds one list per rollout. All requests go to the teacher in one call, prefixes of a rollout ascending.
    With the student's `tokenizer`, requests carry the prefix as the student's own ids, and texts are cut to as many
    student tokens as the chunk has and given as tokens too; without it they are compared as they come. A
    `tokens_per_student_token` other than 1 means another tokenizer: the teacher is asked for a few tokens more, and of
    a text that was cut short only whole words become student tokens. A text in a fork's answer that is missing, or a
    fork inside a character, leaves the fork in `unanswered`. Raises ConfigError where the teacher is known to have
    another tokenizer and the ratio is 1.
    `redraws` > 0 has the `student` (as a Teacher) continue each fork K times as well: the mean similarity of those
    with the teacher's texts is the same-fork baseline.
    `on_result(i, continuations)` hears of each answer as it arrives. `first_row` numbers the first rollout: with the
    row and the seed of a training step, a rollout audited alone gets the texts that it got there.
    """
    if len(rollouts) != len(forks):
        raise ValueError(f"{len(rollouts)} rollouts but forks for {len(forks)}: give one list of forks per rollout")
    check_token_ratio(teacher, tokenizer, tokens_per_student_token, [rollout.text for rollout in rollouts])
    forks = [sorted(row, key=lambda fork: fork.start) for row in forks]
    places, requests = _requests(rollouts, forks, samples, seed, tokens_per_student_token, first_row, tokenizer)
    reencoded = _reencoded(places, requests, tokenizer)
    answers = dict(zip(places, ask(teacher, requests, on_result) if requests else [], strict=True))
    redrawn: dict[tuple[int, int], Continuations] = {}
    if redraws and student is not None and requests:
        # Draws after the teacher's own: a student that is its own teacher would otherwise repeat the very texts.
        own = [
            replace(r, samples=redraws, max_tokens=_tokens(forks[row][index]), first_sample=samples)
            for (row, index), r in zip(places, requests, strict=True)
        ]
        redrawn = dict(zip(places, ask(student, own), strict=True))

    whole = {place: answer for place, answer in answers.items() if _problem(answer, samples) is None}
    trimmed = _trim(whole, rollouts, forks, tokenizer, other_tokenizer=tokens_per_student_token != 1)
    redrawn = {place: answer for place, answer in redrawn.items() if answer.texts}
    own_trimmed = _trim(redrawn, rollouts, forks, tokenizer)

    audited = []
    for row, rollout in enumerate(rollouts):
        audits: list[Audit] = []
        unanswered: list[Unanswered] = []
        for index, fork in enumerate(forks[row]):
            place = row, index
            if place not in answers:
                unanswered.append(Unanswered(fork, INSIDE_CHARACTER))
            elif place not in whole:
                answer = answers[place]
                unanswered.append(Unanswered(fork, _problem(answer, samples) or "", answer.usage))
            else:
                chunk = _chunk(rollout, fork, tokenizer)
                made = _compare(rollout, fork, chunk, whole[place], trimmed[place], own_trimmed.get(place), similarity)
                audits.append(replace(made, reencodes=place in reencoded))
        audited.append(AuditedRollout(rollout, tuple(audits), tuple(unanswered)))
    return audited


def _tokens(fork: Fork) -> int:
    return fork.stop - fork.start


def _requests(
    rollouts: Sequence[Rollout],
    forks: Sequence[Sequence[Fork]],
    samples: int,
    seed: int,
    tokens_per_student_token: float,
    first_row: int,
    tokenizer: PreTrainedTokenizerBase | None,
) -> tuple[list[tuple[int, int]], list[ContinuationRequest]]:
    from omniopd.models.decoding import row_seed
    from omniopd.models.text.token_text import ends_inside_character
    from omniopd.models.text.vocabulary import tokenizer_mark
    from omniopd.teachers.handover.thinking import ends_in_open_thought

    mark = "" if tokenizer is None else tokenizer_mark(tokenizer)
    places, requests = [], []
    for row, rollout in enumerate(rollouts):
        ids: list[int] = rollout.token_ids.tolist()
        in_thought = None if tokenizer is None else ends_in_open_thought(tokenizer, rollout.prompt_ids.tolist())
        for index, fork in enumerate(forks[row]):
            if fork.stop > len(rollout) or fork.start < 0:
                raise ValueError(f"fork [{fork.start}, {fork.stop}) lies outside a rollout of {len(rollout)} tokens")
            if ends_inside_character(rollout.pieces, fork.start):
                continue
            prefix = "".join(rollout.pieces[: fork.start])
            max_tokens = teacher_tokens(_tokens(fork), tokens_per_student_token)
            places.append((row, index))
            # By row and fork, so that two rollouts of one prompt do not share their draws.
            own_seed = row_seed(seed, first_row + row, fork.start)
            asked = ContinuationRequest(rollout.prompt, prefix, samples, max_tokens, seed=own_seed)
            if tokenizer is not None:
                asked = replace(asked, prefix_ids=tuple(ids[: fork.start]), tokenizer=mark, in_thought=in_thought)
            requests.append(asked)
    return places, requests


def _reencoded(
    places: Sequence[tuple[int, int]],
    requests: Sequence[ContinuationRequest],
    tokenizer: PreTrainedTokenizerBase | None,
) -> set[tuple[int, int]]:
    """The forks whose prefix, as a text, is encoded to other tokens than the student wrote."""
    if tokenizer is None:
        return set()
    from omniopd.models.text.encoding import encode

    found = encode(tokenizer, [request.prefix for request in requests], special=False)
    return {
        place for place, request, ids in zip(places, requests, found, strict=True) if tuple(ids) != request.prefix_ids
    }


def _problem(answer: Continuations, samples: int) -> str | None:
    """Why an answer is not evidence; None where it is."""
    if answer.problem is not None or len(answer.texts) >= samples:
        return answer.problem
    return f"{len(answer.texts)} of {samples} texts"


def _chunk(rollout: Rollout, fork: Fork, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """What the student wrote there, without a last character that goes on behind the chunk: whether that is ever
    finished must not change the rest (a decoder gives up a whole run of byte tokens for one that is missing)."""
    pieces = rollout.pieces[fork.start : fork.stop]
    if tokenizer is None or pieces[-1]:
        return "".join(pieces)
    from omniopd.models.text.token_text import decode_whole

    ids: list[int] = rollout.token_ids.tolist()
    return decode_whole(tokenizer, ids[: fork.start], ids[fork.start : fork.stop])


def _compare(
    rollout: Rollout,
    fork: Fork,
    chunk: str,
    answer: Continuations,
    trimmed: _Trimmed,
    redrawn: _Trimmed | None,
    similarity: Similarity,
) -> Audit:
    redraw_similarity = None
    if redrawn is not None:
        means = [similarity(text, trimmed.texts).mean() for text in redrawn.texts]
        redraw_similarity = float(torch.stack(means).mean())
    return Audit(
        fork=fork,
        chunk=chunk,
        chunk_ids=tuple(rollout.token_ids[fork.start : fork.stop].tolist()),
        texts=trimmed.texts,
        continuation_ids=trimmed.ids,
        similarities=similarity(chunk, trimmed.texts),
        continuations=answer,
        prior=float(chunk_probability(rollout.logprobs[fork.start : fork.stop])),
        redraw_similarity=redraw_similarity,
    )


@dataclass(frozen=True, slots=True)
class _Trimmed:
    """Texts as long as their fork's chunk, as strings and as student tokens."""

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...] | None, ...]


def _trim(
    answers: Mapping[tuple[int, int], Continuations],
    rollouts: Sequence[Rollout],
    forks: Sequence[Sequence[Fork]],
    tokenizer: PreTrainedTokenizerBase | None,
    other_tokenizer: bool = False,
) -> dict[tuple[int, int], _Trimmed]:
    """Every answer's texts cut, by (row, fork); one that stopped gets the end-of-turn token.

    Where a teacher of another tokenizer was cut short, its last word may be half of one ("un" of "unlikely"), which
    would be no token of the student's.
    """
    if tokenizer is None:
        return {place: _Trimmed(answer.texts, (None,) * len(answer.texts)) for place, answer in answers.items()}
    from omniopd.models.text.token_text import ContinuationText, continuation_tokens

    written = []
    for (row, index), answer in answers.items():
        rollout, fork = rollouts[row], forks[row][index]
        prefix_ids, prefix = rollout.token_ids[: fork.start].tolist(), "".join(rollout.pieces[: fork.start])
        unfinished = frozenset(i for i, stopped in enumerate(answer.ended) if other_tokenizer and not stopped)
        written.append(ContinuationText(prefix_ids, prefix, answer.texts, _tokens(fork), unfinished))
    end, made = tokenizer.eos_token_id, {}
    for (place, answer), w, found in zip(
        answers.items(), written, continuation_tokens(tokenizer, written), strict=True
    ):
        ids = tuple(
            (*tokens, end) if tokens is not None and stopped and end is not None and len(tokens) < w.tokens else tokens
            for (_, tokens), stopped in zip(found, answer.ended, strict=True)
        )
        made[place] = _Trimmed(tuple(text for text, _ in found), ids)
    return made
