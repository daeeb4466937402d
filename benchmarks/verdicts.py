"""How often 95% intervals of a comparison hold the truth, and how often they say "better" where nothing is.

    python -m benchmarks.verdicts [--studies 2000]

Studies are made up: problems of their own difficulty, seeds that differ, answers that are drawn. The truth is known.
"""

from __future__ import annotations

import argparse

import numpy as np

from omniopd.evaluation.compare import difference_interval, pooled_interval, shows


def studies(
    seeds: int, problems: int, answers: int, effect: float, spread: float, floor: bool, count: int
) -> tuple[float, float, float, float]:
    """Shares of `count` studies whose interval holds the truth, that say "better", "worse", "undetermined".

    `effect` and `spread` (over seeds) are in logits. With several seeds the truth is that of endless seeds on these
    problems; with one it is that of endless problems. `floor`: problems so hard that hardly one is ever answered.
    """
    draws = np.random.default_rng([seeds, problems, answers, int(100 * effect), int(100 * spread), int(floor)])
    held, said = 0, {"better": 0, "worse": 0, "undetermined": 0}
    many = draws.normal(-5 if floor else 0, 1.5, 20_000)
    for _ in range(count):
        difficulty = draws.choice(many, problems)
        moved = effect + spread * draws.standard_normal(seeds)
        ours = draws.binomial(answers, _right(difficulty + moved[:, None])) / answers
        theirs = draws.binomial(answers, _right(np.tile(difficulty, (seeds, 1)))) / answers
        if seeds > 1:
            found = pooled_interval(ours - theirs)
            over = effect + spread * draws.standard_normal((400, 1)) if spread else np.array([[effect]])
            truth = float((_right(difficulty + over) - _right(difficulty)).mean())
        else:
            found = difference_interval((ours[0] - theirs[0]).tolist(), resamples=2000)
            truth = float((_right(many + moved[0]) - _right(many)).mean())
        held += np.isnan(found.low) or found.low - 1e-12 <= truth <= found.high + 1e-12
        words = shows(found).partition(" (")[0].partition(",")[0]
        said[words] = said.get(words, 0) + 1
    return held / count, said["better"] / count, said["worse"] / count, said["undetermined"] / count


def _right(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    count = parser.parse_args().studies
    print("seeds problems answers effect spread floor | holds  better  worse  undetermined")
    for seeds, problems, answers in (
        (1, 2, 1), (1, 5, 4), (1, 10, 1), (1, 40, 16), (1, 500, 1),
        (2, 1, 4), (2, 10, 1), (2, 500, 4), (3, 2, 1), (3, 10, 1), (3, 100, 1), (8, 10, 1), (8, 500, 16),
    ):  # fmt: skip
        for effect, spread, floor in ((0.0, 0.0, False), (0.0, 0.3, False), (0.0, 0.0, True), (0.7, 0.3, False)):
            shares = studies(seeds, problems, answers, effect, spread, floor, count)
            row = f"{seeds:5} {problems:8} {answers:7} {effect:6} {spread:6} {'yes' if floor else 'no':>5}"
            print(row, "|", "  ".join(f"{100 * share:5.1f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
