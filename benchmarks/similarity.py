"""Time of the similarities on 800 pairs of about 200 characters: one step of 8 rollouts with M = 10 and N = 10.

    python benchmarks/similarity.py

Prints one Markdown table; exit status 1 where a limit is broken. Variants are interleaved in one process; a time is the
process's own (a busy machine would add other programs' turns, most to the slow variants), the median of the rounds.
Plain Python's Levenshtein is timed on an eightieth of the pairs and scaled.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from rapidfuzz.distance import Levenshtein

from omniopd.method.similarity import without_model
from omniopd.method.tensors import edit_similarity, in_tensors

FORKS, SAMPLES = 80, 10
BARE, PLAIN, OURS = "bare rapidfuzz loop", "plain Python Levenshtein", "edit_similarity"
LIMITS = {BARE: 1.3, PLAIN: 1 / 1000}
SENTENCE = "so we have the sum of 12 and 7 is then 19 apples left over ; each box holds half that number = 38 / 2 ."

Pairs = list[tuple[str, list[str]]]


def pairs(seed: int = 0, characters: int = 200) -> Pairs:
    """Chunks with continuations that share a beginning of random length, as a teacher's and a student's texts do."""
    draw, words = random.Random(seed), SENTENCE.split()

    def text(beginning: str = "") -> str:
        while len(beginning) < characters:
            beginning += " " + draw.choice(words)
        return beginning

    chunks = [text() for _ in range(FORKS)]
    return [(chunk, [text(chunk[: draw.randrange(100)]) for _ in range(SAMPLES)]) for chunk in chunks]


def levenshtein(a: str, b: str) -> int:
    """Two rows of the table, as one writes it without a library."""
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]


def plain(data: Pairs) -> list[float]:
    return [1 - levenshtein(a, b) / max(len(a), len(b)) for a, texts in data for b in texts]


def bare(data: Pairs) -> list[float]:
    return [Levenshtein.normalized_similarity(a, b) for a, texts in data for b in texts]


def ours(function: Callable[[str, Sequence[str]], torch.Tensor]) -> Callable[[Pairs], list[float]]:
    return lambda data: torch.cat([function(chunk, texts) for chunk, texts in data]).tolist()


def seconds(call: Callable[[Pairs], object], data: Pairs, share: float, repeats: int) -> float:
    """Of the processor, for the whole data: the fastest of a few passes over a share of it."""
    part = data[: max(1, round(len(data) * share))]
    passes = []
    for _ in range(repeats):
        start = time.process_time()
        call(part)
        passes.append(time.process_time() - start)
    return min(passes) * len(data) / len(part)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    data = pairs()
    close = zip(bare(data[:4]), plain(data[:4]), ours(edit_similarity)(data[:4]), strict=True)
    assert all(abs(a - b) < 1e-6 and abs(a - c) < 1e-6 for a, b, c in close)

    variants: dict[str, tuple[Callable[[Pairs], object], float, int]] = {OURS: (ours(edit_similarity), 1, 5)}
    variants[BARE] = (bare, 1, 5)
    variants[PLAIN] = (plain, 1 / FORKS, 1)
    variants |= {name: (ours(in_tensors(f)), 1, 5) for name, f in without_model().items() if name != "characters"}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (call, share, repeats) in variants.items():
            times[name].append(seconds(call, data, share, repeats))

    length = statistics.mean(len(text) for _, texts in data for text in texts)
    print(f"{FORKS * SAMPLES} pairs of {length:.0f} characters, {rounds} rounds\n")
    print(f"| variant | ms, median (range) | {OURS} takes | allowed |\n| --- | ---: | ---: | ---: |")
    failed = False
    for name, found in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(times[OURS], found, strict=True))
        limit = LIMITS.get(name)
        failed |= limit is not None and ratio > limit
        shown = f"1/{1 / ratio:,.0f}" if ratio < 0.1 else f"{ratio:.2f}×"
        allowed = "" if limit is None else f"1/{1 / limit:,.0f}" if limit < 0.1 else f"{limit:.2f}×"
        span = f"{1e3 * min(found):,.2f} – {1e3 * max(found):,.2f}"
        print(f"| {name} | {1e3 * statistics.median(found):,.2f} ({span}) | {shown} | {allowed} |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
