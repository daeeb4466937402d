"""Which similarity tells right from wrong on real text? Recorded model solutions of GSM8K, no model run.

    python benchmarks/real_text.py FOLDER     # the folder of GSM8K's example_model_solutions.jsonl

Each question has four recorded solutions, labelled right or wrong, and a worked answer. A solution's score is its mean
similarity to the worked answer and to the *other* right solutions, over the first `--characters` of both. Reported:
the chance that a right solution scores above a wrong one of the same question (AUROC within a question; the pooled one
also rewards easy questions), and the same for pairs that share their first 30 characters, compared from where they
part, which is what an audit compares. Shortness is the control. Intervals: questions resampled.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from omniopd.method.similarity import without_model
from omniopd.models.embedding import embedding_similarity

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SHARED = 30
Score = Callable[[str, Sequence[str]], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--characters", type=int, default=200, help="compared of each text, about 50 tokens (200)")
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    questions = read(options.folder / "example_model_solutions.jsonl")
    scores: dict[str, Score] = {name: _mean_of(compare) for name, compare in without_model().items()}
    # The lab's own embedding was trained on its own stories: what a small, foreign one is worth on other text.
    scores["embedding, the lab's"] = _mean_of(embedding_similarity("embedded:embedding"))
    scores["control: shortness"] = lambda text, _: -float(len(text))
    print(f"{len(questions)} questions; texts cut at {options.characters} characters\n")
    print(f"| similarity | within a question | pairs that share ≥ {SHARED} characters |")
    print("| --- | --- | --- |")
    for name, score in scores.items():
        within = [wins_within(q, score, options.characters) for q in questions]
        parted = [after_parting(q, score, options.characters) for q in questions]
        cells = (auroc_within(within, options.resamples), auroc_pooled(parted, options.resamples))
        print(f"| {name} | {' | '.join(cells)} |")
    pairs = [p for question in parted for p in question]
    print(f"\nWithin: {sum(bool(w) for w in within)} questions with a right and a wrong solution. "
          f"Shared beginnings: {len(pairs)} pairs, {sum(right for _, right in pairs)} of them right.")  # fmt: skip


def read(file: Path) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Per question the worked answer and the solutions with their labels."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(r["ground_truth"], [(r[s]["solution"], bool(r[s]["is_correct"])) for s in SYSTEMS]) for r in rows]


def wins_within(question: tuple[str, list[tuple[str, bool]]], score: Score, characters: int) -> list[float]:
    """1 for each pair of a right and a wrong solution of which the right one scores higher, .5 for a tie."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for place, (text, right) in enumerate(question[1]):
        found[right].append(score(text[:characters], [r[:characters] for r in _references(question, place)]))
    return [float(a > b) + 0.5 * (a == b) for a in found[True] for b in found[False]]


def after_parting(
    question: tuple[str, list[tuple[str, bool]]], score: Score, characters: int
) -> list[tuple[float, bool]]:
    """Score and label of each (solution, reference) that begin alike, from where they part."""
    found = []
    for place, (text, right) in enumerate(question[1]):
        for reference in _references(question, place):
            shared = _shared(text, reference)
            if shared >= SHARED and text != reference:
                rest = text[shared : shared + characters]
                found.append((score(rest, [reference[shared : shared + characters]]), right))
    return found


def auroc_within(wins: list[list[float]], resamples: int) -> str:
    """Mean over questions (each counts once), with a bootstrap interval over them."""
    means = np.array([np.mean(w) for w in wins if w])
    draws = np.random.default_rng(0).integers(0, len(means), (resamples, len(means)))
    low, high = np.quantile(means[draws].mean(1), [0.025, 0.975])
    return f"{means.mean():.3f} [{low:.3f}, {high:.3f}]"


def auroc_pooled(parted: list[list[tuple[float, bool]]], resamples: int) -> str:
    """Over all pairs, questions resampled as wholes: pairs of one question are not independent."""
    own = [p for p in parted if p]
    draws = np.random.default_rng(0).integers(0, len(own), (resamples, len(own)))
    values = [auroc([pair for i in draw for pair in own[i]]) for draw in draws[: min(resamples, 400)]]
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{auroc([pair for question in own for pair in question]):.3f} [{low:.3f}, {high:.3f}]"


def auroc(pairs: Sequence[tuple[float, bool]]) -> float:
    """The chance that a right one scores above a wrong one, by ranks; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata([score for score, _ in pairs])
    right = np.array([label for _, label in pairs])
    n, m = right.sum(), (~right).sum()
    return float((ranks[right].sum() - n * (n + 1) / 2) / (n * m))


def _shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _references(question: tuple[str, list[tuple[str, bool]]], without: int) -> list[str]:
    return [question[0], *(text for place, (text, right) in enumerate(question[1]) if right and place != without)]


def _mean_of(similarity: Callable[..., Iterable[float]]) -> Score:
    return lambda text, references: float(np.mean([float(value) for value in similarity(text, references)]))


if __name__ == "__main__":
    main()
