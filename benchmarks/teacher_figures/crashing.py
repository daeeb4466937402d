"""Programs killed with SIGKILL while answers arrive: what is on the disk stays, and is not asked for again."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from omniopd.teachers.access.guard import prepare
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.retry import draw_seed
from omniopd.teachers.spending.budget import BudgetedTeacher
from tests.teachers.faulty_server import in_a_process, told

from .calling import Row, asked, teacher

FORK = multiprocessing.get_context("fork")


def kills(kills: int, concurrency: int) -> list[Row]:
    """A teacher with cache and budget killed at random moments and started again, until everything is answered.

    An answer is acknowledged when `on_result` hears of it, and when the ledger settles its call: neither may come
    before it is on the disk.
    """
    prepare()  # once, before the forks
    chance = random.Random(0)
    requests = asked(12 * kills, 10)
    with in_a_process(latency_s=0.2) as url, tempfile.TemporaryDirectory() as folder:
        file, ledger, said = (Path(folder) / name for name in ("answers.sqlite", "ledger.jsonl", "said"))
        # No call is made here: a fork has no threads of its parent.
        hosted = teacher(url, concurrency=concurrency)
        cached = CachedTeacher(hosted, file)
        draws, questions = {}, [cached.question(request) for request in requests]
        cached.answers.close()
        for request, key in zip(requests, questions, strict=True):
            for piece in hosted.endpoint.sample_batches(0, request):
                [number] = piece.numbers
                draws[draw_seed(piece.seed, number, 0)] = key, number
        twice, in_flight, done, unwritten, settled_early = 0, [], 0, 0, 0
        known: set[tuple[str, int]] = set()
        finished = False
        while not finished:
            child = FORK.Process(target=_ask_all, args=(url, concurrency, file, ledger, said, requests))
            before = len(told(url)["seen"])
            child.start()
            if done < kills:
                _wait_for(lambda before=before: len(told(url)["seen"]) > before + concurrency, child)
                time.sleep(chance.uniform(0.0, 0.6))
                os.kill(child.pid or 0, signal.SIGKILL)
                done += 1
            child.join()
            finished = child.exitcode == 0
            assert finished or child.exitcode == -signal.SIGKILL
            seen = [draws[call["seed"]] for call in told(url)["seen"][before:]]
            twice += len([draw for draw in seen if draw in known])
            known = _rows(file)
            heard = {int(line) for line in said.read_text().split("\n")[:-1]} if said.exists() else set()
            unwritten += len({(questions[index], n) for index in heard for n in range(10)} - known)
            settled_early = max(settled_early, _settled(ledger) - len(known))
            in_flight.append(len([draw for draw in seen if draw not in known]))
        everything = len(told(url)["seen"])
    return [
        (f"written answers asked for again, {done} kills, {len(draws)} texts", twice, "=", 0),
        ("texts that on_result had heard of and the disk had not", unwritten, "=", 0),
        ("calls settled in the ledger beyond the texts on the disk", settled_early, "≤", 0),
        (f"calls in flight at a kill, at most (of {concurrency} allowed)", max(in_flight), "≤", concurrency),
        ("calls ÷ texts", everything / len(draws), "≤", 1 + done * concurrency / len(draws)),
        ("texts lost", len(draws) - len(known), "=", 0),
    ]


def writers(kills: int, writers: int) -> list[Row]:
    """Processes that write at once and are killed in turn: every row that was acknowledged is there."""
    chance = random.Random(1)
    lost = acknowledged = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.sqlite"
        AnswerStore(file).close()
        running: list[tuple[Any, Path]] = []
        for kill in range(kills + writers):
            if kill >= writers:
                time.sleep(chance.uniform(0.05, 0.6))
                process, _ = running[kill - writers]
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            said = Path(folder) / f"said-{kill}"
            process = FORK.Process(target=_write, args=(file, said, f"writer {kill}"))
            process.start()
            running.append((process, said))
        for process, _ in running[kills:]:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        answers = AnswerStore(file)
        for number, (_, said) in enumerate(running):
            lines = said.read_text().split("\n")[:-1] if said.exists() else []
            acknowledged += len(lines)
            there = answers.of(f"writer {number}")
            lost += len([line for line in lines if int(line) not in there])
        answers.close()
        db = sqlite3.connect(file)
        [(integrity,)] = db.execute("PRAGMA integrity_check")
        db.close()
    return [
        (f"acknowledged rows lost, of {acknowledged}, {writers} writers, {kills} kills", lost, "=", 0),
        ("integrity faults", integrity != "ok", "=", 0),
    ]


def _ask_all(url: str, concurrency: int, file: Path, ledger: Path, said: Path, requests: list[Any]) -> None:
    cached = CachedTeacher(teacher(url, concurrency=concurrency), file)
    budgeted = BudgetedTeacher(cached, math.inf, ledger, allow_unknown_price=True)
    with open(said, "a", buffering=1) as out:
        answers = budgeted.continue_from(requests, lambda index, answer: out.write(f"{index}\n"))
    os._exit(0 if all(a.problem is None for a in answers) else 1)


def _settled(ledger: Path) -> int:
    """Calls whose end stands in the ledger; what a later process gave up for lost is none of them."""
    if not ledger.exists():
        return 0
    lines = [line for line in ledger.read_text().split("\n") if line.startswith('{"settled"') and line.endswith("}")]
    return sum(entry["calls"] for entry in map(json.loads, lines) if not entry["unsure"])


def _write(file: Path, said: Path, name: str) -> None:
    answers = AnswerStore(file)
    with open(said, "w", buffering=1) as out:
        for number in range(10**9):
            answers.add(name, {number: StoredAnswer("x" * 200, False, "m", "raw", True)})
            out.write(f"{number}\n")


def _rows(file: Path) -> set[tuple[str, int]]:
    db = sqlite3.connect(file)
    try:
        return set(db.execute("SELECT question, number FROM draws").fetchall())
    finally:
        db.close()


def _wait_for(true: Any, child: Any) -> None:
    while not true() and child.is_alive():
        time.sleep(0.02)
