"""A scan through a served teacher: wall time beside what is possible, and what is written behind a difference."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from omniopd import embedded
from omniopd.auditing import scan
from omniopd.models.sampling import sample
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.training.statistics import spend
from omniopd.types import AuditedRollout, Rollout, Teacher
from tests.teachers.faulty_server import in_a_process, told
from tests.teachers.streams import Streams

Row = tuple[str, float, str, float]
_WORD = re.compile(r"\s*\w+|\s*\W+")


@dataclass(frozen=True)
class NearlyTheStudent:
    """What the server writes: the student's own answer from where it was left, but for one word in `every`, the same
    word at the same place for whoever asks."""

    answers: dict[str, str]
    every: int = 12

    def __call__(self, body: dict[str, Any], seed: int) -> str:
        messages = body["messages"]
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        question = next(m["content"] for m in messages if m["role"] == "user")
        whole = self.answers[question]
        return "".join(
            " other" if found.start() >= len(begun) and self._differs(question, found.end())
            else whole[max(found.start(), len(begun)) : found.end()]
            for found in _WORD.finditer(whole)
        )

    def _differs(self, question: str, place: int) -> bool:
        return hashlib.sha256(f"{question} {place}".encode()).digest()[0] % self.every == 0


def wall(answers: int, concurrency: int, latency_s: float) -> list[Row]:
    """Beside the longest conversation, or all calls over those in flight, whichever takes longer."""
    rollouts = _answers(answers)
    with _serving(rollouts, latency_s) as url:
        teacher = _teacher(url, concurrency)
        _scan(rollouts[:concurrency], teacher)  # connections are open already, as in a run
        seconds, used, scanned = _timed(rollouts, teacher)
    calls = [sum(audit.continuations.usage.calls for audit in one.audits) for one in scanned]
    assert sum(calls) == spend(scanned).calls
    assert not any(one.unanswered for one in scanned)
    ideal = max(max(calls), sum(calls) / concurrency) * latency_s
    what = f"{answers} answers, {sum(calls)} calls of {latency_s:g} s, the longest conversation {max(calls)}"
    return [
        (f"wall ÷ ideal, {what}, {concurrency} in flight", seconds / ideal, "≤", 1.15),
        (f"processor time of a call, {answers} answers, ms", 1000 * used / sum(calls), "≤", 12),
    ]


def parallel(answers: int, concurrency: int, latency_s: float, at_once: int) -> list[Row]:
    """Several stretches of each answer at once: the wait gets shorter, and the calls more."""
    rollouts = _answers(answers)
    with _serving(rollouts, latency_s) as url:
        teacher = _teacher(url, concurrency)
        _scan(rollouts, teacher)
        alone, _, one_by_one = _timed(rollouts, teacher)
        seconds, _, scanned = _timed(rollouts, teacher, at_once)
    return [
        (f"wall of {at_once} stretches at once ÷ of one, {answers} answers, {concurrency} in flight", seconds / alone,
         "≤", 0.85),
        ("calls of it ÷ of one", spend(scanned).calls / spend(one_by_one).calls, "≤", 2),
    ]  # fmt: skip


def wrapped(answers: int, concurrency: int, latency_s: float) -> list[Row]:
    """The same with a cache and a budget around the teacher, as runs have them."""
    rollouts = _answers(answers)
    with _serving(rollouts, latency_s) as url, tempfile.TemporaryDirectory() as folder:
        bare = _teacher(url, concurrency)
        _scan(rollouts[:concurrency], bare)
        alone, _, _ = _timed(rollouts, bare)
        cached = CachedTeacher(bare, Path(folder) / "answers.sqlite")
        stack = BudgetedTeacher(cached, math.inf, Path(folder) / "ledger.jsonl", allow_unknown_price=True)
        seconds, _, scanned = _timed(rollouts, stack)
        again, _, found = _timed(rollouts, stack)
    assert [_labels(one) for one in scanned] == [_labels(one) for one in found]
    return [
        (f"wall with cache and budget ÷ bare, {answers} answers", seconds / alone, "≤", 1.1),
        (f"found again: ms a call, {answers} answers", 1000 * again / spend(scanned).calls, "≤", 10),
    ]


def written(answers: int, token_s: float) -> list[Row]:
    """Tokens that the server writes where calls are left, beside those that it writes where they are not, and the time
    that both take."""
    rollouts = _answers(answers)
    found = {}
    for stream in ("auto", "never"):
        with _serving(rollouts, 0.0, token_s) as url:
            seconds, _, scanned = _timed(rollouts, _teacher(url, 64, stream=stream))
            found[stream] = told(url)["seen"], seconds, spend(scanned)
    left = found["auto"][0]
    tokens = sum(s["written"] for s in left) / found["never"][2].output_tokens
    counted = found["auto"][2].output_tokens / sum(s["written"] for s in left)
    return [
        (f"tokens written ÷ whole texts, {answers} answers, a token in {1000 * token_s:g} ms", tokens, "≤", 0.8),
        ("tokens counted ÷ written by the server", counted, "≤", 1.0),
    ]


def _teacher(url: str, concurrency: int, **settings: Any) -> HostedTeacher:
    traits = ModelTraits("hosted_vllm/m", "prefill", parted_costs="written")
    return HostedTeacher("hosted_vllm/m", api_base=url, traits=traits, concurrency=concurrency, **settings)


def _serving(rollouts: Sequence[Rollout], latency_s: float, token_s: float = 0.0) -> Any:
    writes = NearlyTheStudent({r.prompt.messages[-1]["content"]: r.text for r in rollouts})
    return in_a_process(latency_s=latency_s, answer=writes, streams=Streams(token_s, "always"), finish="stop")


def _scan(rollouts: Sequence[Rollout], teacher: Teacher, at_once: int = 1) -> list[AuditedRollout]:
    return scan(rollouts, teacher, embedded.lab().tokenizer, longest=96, at_once=at_once)


def _timed(
    rollouts: Sequence[Rollout], teacher: Teacher, at_once: int = 1
) -> tuple[float, float, list[AuditedRollout]]:
    started, used = time.perf_counter(), time.process_time()
    scanned = _scan(rollouts, teacher, at_once)
    return time.perf_counter() - started, time.process_time() - used, scanned


def _labels(audited: AuditedRollout) -> list[Any]:
    return [(audit.fork, audit.continuation_ids) for audit in audited.audits]


@lru_cache(maxsize=4)
def _answers(count: int) -> list[Rollout]:
    lab = embedded.lab()
    return list(sample(lab.student, lab.tokenizer, lab.task.prompts("test", count), max_tokens=96, seed=0))
