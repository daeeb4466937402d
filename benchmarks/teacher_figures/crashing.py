"""Programs killed with SIGKILL while answers arrive: what is on the disk stays, and is not asked for again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from omniopd.teachers.answers import Answers, Stored
from omniopd.teachers.buying import draw_seed
from omniopd.teachers.cached import CachedTeacher
from omniopd.teachers.transport import prepare
from tests.teachers.faulty_server import in_a_process, told

from .calling import Row, asked, teacher

FORK = multiprocessing.get_context("fork")


def kills(kills: int, concurrency: int) -> list[Row]:
    """A cached teacher killed at random moments and started again, until everything is answered."""
    prepare()  # once, before the forks
    chance = random.Random(0)
    requests = asked(12 * kills, 10)
    with in_a_process(latency_s=0.2) as url, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.sqlite"
        # No call is made here: a fork has no threads of its parent.
        hosted = teacher(url, concurrency=concurrency)
        Answers(file).close()
        draws = {}
        for request in requests:
            key = CachedTeacher(hosted, file).question(request)
            for piece in hosted.pieces(0, request):
                [number] = piece.numbers
                draws[draw_seed(piece.seed, number, 0)] = key, number
        twice, in_flight, done = 0, [], 0
        known: set[tuple[str, int]] = set()
        finished = False
        while not finished:
            child = FORK.Process(target=_ask_all, args=(url, concurrency, file, requests))
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
            in_flight.append(len([draw for draw in seen if draw not in known]))
        everything = len(told(url)["seen"])
    return [
        (f"written answers asked for again, {done} kills, {len(draws)} texts", twice, "=", 0),
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
        Answers(file).close()
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
        answers = Answers(file)
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


def _ask_all(url: str, concurrency: int, file: Path, requests: list[Any]) -> None:
    answers = CachedTeacher(teacher(url, concurrency=concurrency), file).continue_from(requests)
    os._exit(0 if all(a.problem is None for a in answers) else 1)


def _write(file: Path, said: Path, name: str) -> None:
    answers = Answers(file)
    with open(said, "w", buffering=1) as out:
        for number in range(10**9):
            answers.add(name, {number: Stored("x" * 200, False, "m", "raw", True)})
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
