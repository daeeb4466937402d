"""Calls of a hosted teacher: how long, at which cost to this processor, through faults and silence."""

from __future__ import annotations

import asyncio
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from omniopd.method.tensors import edit_similarity
from omniopd.teachers.access.guard import prepare
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted import background
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.types import ContinuationRequest, Continuations, Prompt
from tests.teachers.faulty_server import RETRY_AFTER_S, in_a_process, told

Row = tuple[str, float, str, float]
QUESTION = Prompt("p", ({"role": "user", "content": "Ann has 12 apples and buys 7 more. How many has she? " * 8},))
CHUNK = " so we have 12 and 7 is"


def teacher(url: str, samples: int = 1, **settings: Any) -> HostedTeacher:
    traits = ModelTraits("hosted_vllm/m", "instruction", most_samples=samples)
    return HostedTeacher("hosted_vllm/m", api_base=url, traits=traits, **settings)


def asked(requests: int, samples: int) -> list[ContinuationRequest]:
    return [ContinuationRequest(QUESTION, f"So step {n} is", samples, 16, seed=n) for n in range(requests)]


def wall(calls: int, concurrency: int) -> list[Row]:
    """Wall time over calls × latency ÷ concurrency, at one second; connections are open already, as in a run."""
    with in_a_process(latency_s=1.0) as url:
        hosted = teacher(url, concurrency=concurrency)
        hosted.continue_from(asked(concurrency, 1))
        started, used = time.perf_counter(), time.process_time()
        answers = hosted.continue_from(asked(calls // 10, 10))
        seconds, used = time.perf_counter() - started, time.process_time() - used
    ideal = calls / concurrency
    assert all(a.problem is None for a in answers)
    # A processor that others use as well shows as waiting: what this process did not get of its own time.
    return [
        (f"wall ÷ ideal, {calls} calls of 1 s, {concurrency} in flight", seconds / ideal, "≤",
         1.1 if concurrency <= 64 else 1.5),
        ("of it, this process's processor time ÷ ideal", used / ideal, "≤", 1.5),
    ]  # fmt: skip


def wrapped(calls: int, concurrency: int, rounds: int) -> list[Row]:
    """A teacher's calls with a cache and a budget around it, as runs use it, in turns with the bare teacher; the best
    round of each, since others on the machine only ever add."""
    bare: list[tuple[float, float]] = []
    stack: list[tuple[float, float]] = []
    with in_a_process(latency_s=1.0) as url, tempfile.TemporaryDirectory() as folder:
        hosted = teacher(url, concurrency=concurrency)
        hosted.continue_from(asked(concurrency, 1))
        for number in range(rounds):
            cached = CachedTeacher(hosted, Path(folder) / f"{number}.sqlite")
            budgeted = BudgetedTeacher(cached, math.inf, Path(folder) / f"{number}.jsonl", allow_unknown_price=True)
            for one, times in ((hosted, bare), (budgeted, stack)):
                started, used = time.perf_counter(), time.process_time()
                answers = one.continue_from(asked(calls // 10, 10))
                times.append((time.perf_counter() - started, time.process_time() - used))
                assert all(a.problem is None for a in answers)
    ideal = calls / concurrency
    (wall_bare, cpu_bare), (wall_stack, cpu_stack) = (tuple(map(min, zip(*t, strict=True))) for t in (bare, stack))
    return [
        (f"wall ÷ ideal with cache and budget, {calls} calls of 1 s, {concurrency} in flight", wall_stack / ideal,
         "≤", 1.12 if concurrency <= 64 else 1.5),
        ("the same, bare", wall_bare / ideal, "≤", 1.1 if concurrency <= 64 else 1.5),
        ("processor time with cache and budget ÷ bare", cpu_stack / cpu_bare, "≤", 1.25),
        ("processor time with cache and budget ÷ ideal", cpu_stack / ideal, "≤", 1.5),
    ]  # fmt: skip


def processor(calls: int, rounds: int) -> list[Row]:
    """Processor time of a call beside one made with litellm alone: same messages, same loop, in turns."""
    litellm = prepare()
    ratios, times = [], []
    with in_a_process() as url:
        hosted = teacher(url)
        requests = asked(calls, 1)
        wires = [hosted.handover.render(request).messages for request in requests]

        async def bare(desk: object) -> None:
            slots = asyncio.Semaphore(64)

            async def one(number: int) -> None:
                async with slots:
                    await litellm.acompletion(
                        model="hosted_vllm/m", api_base=url, messages=[dict(m) for m in wires[number] or ()],
                        max_tokens=16, temperature=1.0, seed=number, max_retries=0,
                    )  # fmt: skip

            await asyncio.gather(*(one(number) for number in range(calls)))

        background.run(bare)
        hosted.continue_from(requests)
        for _ in range(rounds):
            alone, ours = _used(lambda: background.run(bare)), _used(lambda: hosted.continue_from(requests))
            ratios.append(ours / alone)
            times.append(1000 * alone / calls)
    return [
        ("processor time of a call ÷ litellm alone, median", statistics.median(ratios), "≤", 1.2),
        ("litellm alone, ms of processor time a call", statistics.median(times), "≤", 20),
    ]


def faults(calls: int) -> list[Row]:
    """Faults of 13 kinds on 30% of the calls, two texts a call, beside the same without."""
    requests = asked(calls // 5, 10)
    settings: dict[str, Any] = {"call_timeout_s": 5.0, "patience": RetryPolicy(pause_s=0.05, longest_pause_s=1.0)}
    with in_a_process() as url:
        expected = _soft_counts(teacher(url, 2, **settings).continue_from(requests))
    with in_a_process(faults=(0.3, 5)) as url:
        answers = teacher(url, 2, **settings).continue_from(requests)
        seen = told(url)["seen"]
    found = _soft_counts(answers)
    return [
        ("audits lost", sum(a.problem is not None for a in answers), "=", 0),
        ("soft counts that differ", sum(a != b for a, b in zip(expected, found, strict=True)), "=", 0),
        ("retries before Retry-After", _early(seen), "=", 0),
        (f"requests per call, {calls} calls", len(seen) / calls, "≤", 1.6),
        ("calls with a fault, share", sum(c["fault"] is not None for c in seen) / len(seen), "≤", 0.32),
    ]


def silent(connections: int, deadline_s: float = 8.0) -> list[Row]:
    """Connections that never answer: when they are given up, and what is left of them."""
    with in_a_process() as url:
        teacher(url).continue_from(asked(4, 1))  # what the first call alone costs is not part of this
    with in_a_process(faults=(1.0, 0, ("hang",))) as url:
        hosted = teacher(url, concurrency=connections, call_timeout_s=600.0, batch_deadline_s=deadline_s)
        before = _tasks()
        started = time.perf_counter()
        answers = hosted.continue_from(asked(connections // 10, 10))
        seconds = time.perf_counter() - started
        left = _tasks() - before
        port = int(url.split(":")[2].split("/")[0])
        time.sleep(0.5)
        to_it = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]
        sockets = sum(c.status == psutil.CONN_ESTABLISHED for c in to_it)
        seen = told(url)
    assert {a.problem for a in answers} == {"deadline"}
    return [
        ("connections that were open at once, short of all", connections - seen["most_open"], "≤", 0),
        ("seconds after the deadline", seconds - deadline_s, "≤", 1.0),
        ("sockets left", sockets, "=", 0),
        ("tasks left", left, "=", 0),
    ]


def _soft_counts(answers: list[Continuations]) -> list[float]:
    return [float(edit_similarity(CHUNK, a.texts).sum()) if a.texts else -1.0 for a in answers]


def _early(seen: list[dict[str, Any]]) -> int:
    """Calls for a draw that came sooner after its 429 than the server had asked for."""
    told_at: dict[tuple[str, int], float] = {}
    early = 0
    for call in sorted(seen, key=lambda call: call["came"]):
        draw = call["question"], call["seed"]
        early += draw in told_at and call["came"] - told_at.pop(draw) < RETRY_AFTER_S
        if call["fault"] == "429":
            told_at[draw] = call["answered"]
    return early


def _used(work: Any) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _tasks() -> int:
    """Tasks of the teachers' loop, litellm's own workers apart."""

    async def count(desk: object) -> int:
        return sum("litellm" not in repr(task.get_coro()) for task in asyncio.all_tasks())

    return background.run(count)
