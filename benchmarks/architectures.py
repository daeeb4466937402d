"""Every causal language model of the installed transformers, small: is it right, refused in a sentence, or wrong?

Scores, entropies and KL of a padded batch, draws of samples and of trees, and the gradient of a step against slow twins
(`tests/trials.py`), in float64. `python benchmarks/architectures.py [TYPE ...]`; a line each, then the counts. Exit
status 1 where any is wrong.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from omniopd.models.architecture.reading import way_of
from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.models.decoding import context_length
from tests.architectures import NAMES, build
from tests.trials import REFUSED, own_logits, try_branches, try_draws, try_gradient, try_rollouts, try_scores

torch.set_num_threads(1)
TOLERANCE = 1e-4  # nats
COLUMNS = ("scores", "draws", "trees", "gradient", "training")


def main() -> int:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    counts: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    for name in sys.argv[1:] or NAMES:
        started = time.perf_counter()
        tolerance = TOLERANCE
        try:
            pair = [build(name, seed) for seed in (0, 1)]
            own_logits(pair[0], [5, 6, 7])
        except Exception as error:  # not built so, or not of text alone
            print(f"{name:24s} is not tried: {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)
            continue
        try:
            pair = [build(name, seed, exact=True) for seed in (0, 1)]
            own_logits(pair[0], [5, 6, 7])
        except Exception:  # it computes in 32 bits only
            pair, tolerance = [build(name, seed) for seed in (0, 1)], 20 * TOLERANCE
        model, reference = pair
        tried = {
            "scores": lambda: try_scores(model, reference, tolerance),  # noqa: B023
            "draws": lambda: try_draws(model),  # noqa: B023
            "trees": lambda: try_branches(model),  # noqa: B023
            "gradient": lambda: try_gradient(model, reference, 10 * tolerance),  # noqa: B023
            "training": lambda: try_rollouts(build(name)),  # noqa: B023
        }
        words: list[str] = []
        sentences: set[str] = set()
        for column, trial in tried.items():
            try:
                trial()
                word = "right"
            except REFUSED as error:
                word = "refused"
                sentences.add(str(error))
            except Exception as error:
                word = "WRONG"
                sentences.add(f"{column}: {type(error).__name__}: {str(error).strip().splitlines()[0][:150]}")
            counts[column][word] += 1
            words.append(f"{word:8s}")
        try:
            usual = build(name)
            way = way_of(usual)
            how = f"{'padded' if way.padded else 'even'}/{way.cache}/{'tree' if supports_trees(usual) else 'rows'}"
        except REFUSED:
            how = "-"
        context = context_length(model)
        print(f"{name:24s} {' '.join(words)} {how:18s} {'no limit' if context == 2**31 else context} "
              f"{time.perf_counter() - started:.1f} s", flush=True)  # fmt: skip
        for sentence in sorted(sentences):
            print(f"    {sentence}", flush=True)
    for column, words_of in counts.items():
        print(f"{column}: " + ", ".join(f"{word} {count}" for word, count in sorted(words_of.items())))
    return int(any(words_of["WRONG"] for words_of in counts.values()))


if __name__ == "__main__":
    raise SystemExit(main())
