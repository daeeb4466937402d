"""Put a teacher's texts beside the student's answers, token by token, from one difference to the next.

The other way to audit beside `auditing.audit`: texts run on until they part from the answer, and each labels all the
tokens that it repeats (`method.scan`). Every answer is a little conversation of its own: ask, compare, ask again behind
the difference. A teacher that runs here is spared it: one forward over the answer gives what it would have said.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedTokenizerBase

from omniopd.method.evidence import shared
from omniopd.method.forks import teacher_tokens
from omniopd.method.posterior import chunk_probability
from omniopd.method.scan import Run, Stretch, agreed_run, segments, stretches
from omniopd.models.decoding import row_seed
from omniopd.models.text.encoding import encode
from omniopd.models.text.token_text import (
    ContinuationText,
    continuation_tokens,
    pieces_after,
    whole_characters,
)
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.identity import check_token_ratio, layers
from omniopd.teachers.handover.thinking import ends_in_open_thought
from omniopd.teachers.hosted.fetch import DEADLINE
from omniopd.teachers.hosted.teacher import HostedTeacher, given_up_at
from omniopd.teachers.local import ReadDraft
from omniopd.teachers.privileged import as_shown, local_below
from omniopd.types import (
    Audit,
    AuditedRollout,
    ContinuationRequest,
    Continuations,
    Fork,
    Rollout,
    Teacher,
    Unanswered,
    Usage,
)

NO_TOKEN = "no token of the student's"
_CONVERSATIONS = 256  # that one process leads at once
_LOOK_S = 0.1


def scan(
    rollouts: Sequence[Rollout],
    teacher: Teacher,
    tokenizer: PreTrainedTokenizerBase,
    *,
    longest: int,
    samples: int = 1,
    texts: int = 0,
    order: Callable[[Rollout], Sequence[int]] | None = None,
    at_once: int = 1,
    seed: int = 0,
    tokens_per_student_token: float = 1.0,
    first_row: int = 0,
    by_forward: bool = True,
) -> list[AuditedRollout]:
    """Every token of every answer against `samples` independent draws of the teacher's at that place.

    A text is at most `longest` student tokens long. With `texts` > 0 an answer gets so many of them at most for each
    draw, begun at the first place of `order` (its places, the most wanted first) without a label. `at_once` stretches
    of an answer are asked about side by side: a shorter wait for a few texts more. `seed`, `first_row` and
    `tokens_per_student_token` are those of `auditing.audit`. `by_forward` False has a teacher that runs here write
    every text; the labels are the same.

    The audits are `run`s: each of their texts agrees with the chunk in all tokens but perhaps the last. A place without
    a label is in no audit; where the teacher failed, what was labelled before stays. Raises ConfigError where the
    teacher is known to have another tokenizer and the ratio is 1, TeacherError as the teacher does.
    """
    check_token_ratio(teacher, tokenizer, tokens_per_student_token, [rollout.text for rollout in rollouts])
    asking = _Asking(tokenizer, samples, seed, tokens_per_student_token, first_row)
    chains = [
        _Chain(row, rollout, draw, stretch)
        for row, rollout in enumerate(rollouts)
        for draw in range(samples)
        for stretch in _stretches(rollout, longest, texts, order, at_once)
    ]
    read: dict[int, ReadDraft] = asking.read(teacher, rollouts) if by_forward else {}
    for chain in chains:
        if chain.row in read:
            _replay(chain, read[chain.row], asking.end(chain.rollout), getattr(local_below(teacher), "name", ""))
    _converse(teacher, asking, [chain for chain in chains if chain.row not in read])
    by_row: list[list[_Chain]] = [[] for _ in rollouts]
    for chain in chains:
        by_row[chain.row].append(chain)
    return _audited(rollouts, by_row, tokenizer)


@dataclass(slots=True)
class _Chain:
    """One draw along one stretch of an answer: what was asked, one text after the other, and what came of it."""

    row: int
    rollout: Rollout
    draw: int
    stretch: Stretch
    runs: list[Run] = field(default_factory=list)
    answers: list[Continuations] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)

    def take(self, asked: tuple[int, int], tokens: Sequence[int] | None, answer: Continuations) -> None:
        place, stop = asked
        if answer.problem is not None or not answer.texts:
            self.unanswered.append(_without(self.rollout, place, answer.problem or "no text", answer.usage))
            self.stretch.end()
            return
        run = agreed_run(place, tokens or (), self.rollout.token_ids[:stop].tolist())
        self.stretch.take(place, len(run.tokens))
        if run.tokens:
            self.runs.append(run)
            self.answers.append(answer)
        else:
            self.unanswered.append(_without(self.rollout, place, NO_TOKEN, answer.usage))


@dataclass(frozen=True, slots=True)
class _Asking:
    """How a place of an answer becomes a request, and the answer to it the student's tokens."""

    tokenizer: PreTrainedTokenizerBase
    samples: int
    seed: int
    ratio: float
    first_row: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def request(self, row: int, rollout: Rollout, draw: int, start: int, stop: int) -> ContinuationRequest:
        ids: list[int] = rollout.token_ids.tolist()
        return ContinuationRequest(
            rollout.prompt,
            "".join(rollout.pieces[:start]),
            samples=1,
            max_tokens=teacher_tokens(stop - start, self.ratio),
            first_sample=draw,
            seed=row_seed(self.seed, self.first_row + row),
            prefix_ids=tuple(ids[:start]),
            tokenizer=tokenizer_mark(self.tokenizer),
            in_thought=ends_in_open_thought(self.tokenizer, rollout.prompt_ids.tolist()),
            draft="".join(rollout.pieces[start:stop]),
            draft_ids=tuple(ids[start:stop]),
        )

    def read(self, teacher: Teacher, rollouts: Sequence[Rollout]) -> dict[int, ReadDraft]:
        """What a teacher that runs here would write at every place, by row; nothing of any other."""
        local = local_below(teacher)
        if local is None:
            return {}
        rows = [row for row, rollout in enumerate(rollouts) if len(rollout)]
        asked = [(rollouts[row], self.request(row, rollouts[row], 0, 0, len(rollouts[row]))) for row in rows]
        requests = [replace(one, prompt=as_shown(teacher, r.prompt), samples=self.samples) for r, one in asked]
        found = zip(rows, local.read_drafts(requests), strict=True)
        return {row: read for row, read in found if read is not None}

    def end(self, rollout: Rollout) -> int | None:
        """The token that ends a turn: the answer's own, or its tokenizer's."""
        own: list[int] = rollout.token_ids[-1:].tolist() if rollout.finish == "stop" else []
        return next(iter(own), self.tokenizer.eos_token_id)

    def tokens(self, rollout: Rollout, start: int, stop: int, answer: Continuations) -> tuple[int, ...] | None:
        """A text as the student's tokens behind the place where it was asked for; a turn ends as the student's does."""
        if not answer.texts:
            return None
        ended, end = answer.ended[0], self.end(rollout)
        if answer.token_ids:
            own = answer.token_ids[0]
            return (*own[:-1], end) if ended and own and end is not None else own
        unfinished = frozenset({0} if self.ratio != 1 and not ended else ())
        written = ContinuationText(
            rollout.token_ids[:start].tolist(), "".join(rollout.pieces[:start]), answer.texts, stop - start, unfinished
        )
        with self._lock:  # a fast tokenizer is one thread's at a time
            [[(_, ids)]] = continuation_tokens(self.tokenizer, [written])
        if ids is None or not ended or end is None or len(ids) >= stop - start:
            return ids
        return (*ids, end)


def _stretches(
    rollout: Rollout, longest: int, texts: int, order: Callable[[Rollout], Sequence[int]] | None, at_once: int
) -> list[Stretch]:
    wanted = None if order is None else order(rollout)
    return stretches(len(rollout), longest, wanted, texts, at_once, whole_characters(rollout.pieces).tolist())


def _replay(chain: _Chain, read: ReadDraft, end: int | None, name: str) -> None:
    """The conversation that a teacher would have had which is stopped at each difference: its texts, and what they
    would have taken. Whatever an earlier text of this chain had read counts as read before."""
    ids: list[int] = chain.rollout.token_ids.tolist()
    drawn, before = read.tokens[chain.draw], 0
    while (asked := chain.stretch.next()) is not None:
        place, stop = asked
        tokens = [end if t in read.ends and end is not None else t for t in drawn[place:stop]]
        run = agreed_run(place, tokens, ids[:stop])
        seen = read.prompt_tokens + place
        usage = Usage(input_tokens=seen, output_tokens=len(run.tokens), cached_tokens=min(before, seen), calls=1)
        before = read.prompt_tokens + place + shared(run.tokens, ids[place:])
        chain.take(asked, tokens, Continuations(("",), usage=usage, served_model=name))


def _converse(teacher: Teacher, asking: _Asking, chains: Sequence[_Chain]) -> None:
    """Lead all conversations to their end: together, a round at a time, with a teacher that answers many at once; else
    each by itself, so that no answer waits for another, until the teacher's deadline for a batch."""
    hosted = next((layer for layer in layers(teacher) if isinstance(layer, HostedTeacher)), None)
    if hosted is None:
        while now := [(chain, asked) for chain in chains if (asked := chain.stretch.next()) is not None]:
            requests = [asking.request(c.row, c.rollout, c.draw, *asked) for c, asked in now]
            for (chain, asked), answer in zip(now, ask(teacher, requests), strict=True):
                chain.take(asked, asking.tokens(chain.rollout, *asked, answer), answer)
        return
    failed, deadline = threading.Event(), time.monotonic() + hosted.batch_deadline_s

    def lead(chain: _Chain) -> None:
        given_up_at.set(deadline)
        try:
            while not failed.is_set() and (asked := chain.stretch.next()) is not None:
                if time.monotonic() > deadline:
                    chain.take(asked, None, Continuations((), problem=DEADLINE))
                    return
                [answer] = ask(teacher, [asking.request(chain.row, chain.rollout, chain.draw, *asked)])
                chain.take(asked, asking.tokens(chain.rollout, *asked, answer), answer)
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(max(1, min(len(chains), max(_CONVERSATIONS, hosted.endpoint.concurrency))))
    try:
        left = {pool.submit(lead, chain) for chain in chains}
        while left:  # in short waits, between which an interrupt reaches whatever thread this is
            done, left = wait(left, timeout=_LOOK_S, return_when=FIRST_EXCEPTION)
            for call in done:
                call.result()
    finally:
        # Whoever interrupts waits for what is in flight, which is paid for, and for nothing that is asked after it.
        failed.set()
        pool.shutdown(cancel_futures=True)


def _audited(
    rollouts: Sequence[Rollout], chains: Sequence[Sequence[_Chain]], tokenizer: PreTrainedTokenizerBase
) -> list[AuditedRollout]:
    """One audit for each part of an answer that the same texts speak for."""
    parts = [segments(run for chain in own for run in chain.runs) for own in chains]
    prefixes = ["".join(r.pieces[:start]) for r, own in zip(rollouts, parts, strict=True) for start, _, _ in own]
    encoded = iter(encode(tokenizer, prefixes, special=False) if prefixes else [])
    return [
        AuditedRollout(
            rollout,
            tuple(_audits(rollout, own, of_row, tokenizer, encoded)),
            tuple(sorted((u for chain in own for u in chain.unanswered), key=lambda u: u.fork.start)),
        )
        for rollout, own, of_row in zip(rollouts, chains, parts, strict=True)
    ]


def _audits(
    rollout: Rollout,
    chains: Sequence[_Chain],
    parts: Sequence[tuple[int, int, tuple[tuple[int, ...], ...]]],
    tokenizer: PreTrainedTokenizerBase,
    encoded: Iterator[list[int]],
) -> list[Audit]:
    """`encoded` are the prefixes of the parts as their texts are encoded."""
    runs = [(run, answer) for chain in chains for run, answer in zip(chain.runs, chain.answers, strict=True)]
    ids: list[int] = rollout.token_ids.tolist()
    audits = []
    for start, stop, said in parts:
        chunk = tuple(ids[start:stop])
        beside = [answer for run, answer in runs if run.start <= start and stop <= run.stop]
        begun = [answer.usage for run, answer in runs if run.start == start]
        texts = tuple(_text(tokenizer, rollout, start, stop, tokens) for tokens in said)
        audits.append(
            Audit(
                fork=Fork(start, stop, float(rollout.entropies[start])),
                chunk="".join(rollout.pieces[start:stop]),
                chunk_ids=chunk,
                texts=texts,
                continuation_ids=said,
                similarities=torch.tensor([float(tokens == chunk) for tokens in said]),
                continuations=Continuations(
                    texts,
                    usage=sum(begun, Usage()),
                    served_model=beside[0].served_model,
                    handover=beside[0].handover,
                    exact=all(answer.exact for answer in beside),
                    cached=all(answer.cached for answer in beside),
                    echoes=sum(answer.echoes for run, answer in runs if run.start == start),
                ),
                prior=float(chunk_probability(rollout.logprobs[start:stop])),
                reencodes=next(encoded) != ids[:start],
                run=True,
                begun=len(begun),
            )
        )
    return audits


def _text(
    tokenizer: PreTrainedTokenizerBase, rollout: Rollout, start: int, stop: int, tokens: Sequence[int]
) -> str:
    """The tokens as text: the student's own pieces while they agree."""
    own: list[int] = rollout.token_ids.tolist()
    if list(tokens) == own[start:stop]:
        return "".join(rollout.pieces[start:stop])
    return "".join(rollout.pieces[start : stop - 1]) + pieces_after(tokenizer, own[: stop - 1], tokens[-1:])[0]


def _without(rollout: Rollout, place: int, problem: str, usage: Usage) -> Unanswered:
    return Unanswered(Fork(place, place + 1, float(rollout.entropies[place])), problem, usage)
