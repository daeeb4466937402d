"""pass@k: the chance that at least one of k answers is right, estimated without bias from n ≥ k answers.

Of n answers c are right; k of them drawn without replacement are all wrong with probability C(n-c, k)/C(n, k)
(Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1). Knows counts only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from omniopd.errors import DataError
from omniopd.records import EvalRecord


def pass_at_k(right: int, samples: int, k: int) -> float:
    """1 - C(samples - right, k) / C(samples, k), as a product, so that no binomial grows large.

    Raises DataError for counts that cannot be: k above `samples`, or `right` outside 0…`samples`.
    """
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise DataError(
            f"pass@{k} of {samples} answers with {right} right does not exist: it needs at least {max(k, 1)} answers, "
            "and no more right ones than answers"
        )
    # All k miss the right ones: each right answer r stays undrawn with probability 1 - k/(samples - right + r).
    return (
        1.0 - math.prod(1.0 - k / n for n in range(samples - right + 1, samples + 1)) if samples - right >= k else 1.0
    )


def mean_pass_at_k(record: EvalRecord, k: int) -> float:
    """pass@k averaged over the problems of an evaluation; NaN without problems. Raises DataError with fewer samples."""
    if not record.problems:
        return math.nan
    return math.fsum(per_problem_pass_at_k(record, k)) / len(record.problems)


def per_problem_pass_at_k(record: EvalRecord, k: int) -> Sequence[float]:
    """pass@k of each problem, in the order of the record: values for an interval over problems."""
    return tuple(pass_at_k(problem.right, problem.samples, k) for problem in record.problems)
