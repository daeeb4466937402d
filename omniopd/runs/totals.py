"""What a run took, summed over its steps: updates, tokens of student and teacher, dollars, seconds. Reads records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from omniopd.records import StepRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """`student_tokens` were sampled to learn from (0 where the teacher's answers are learnt, as in SFT).

    `teacher_read` and `teacher_written` are the teacher's own tokens: what it was sent and answered, or, where its
    logits are seen, every prompt and answer that went through it. `teacher_cached` is the part of `teacher_read` that
    it had read before, behind the same beginning.
    """

    updates: int
    student_tokens: float
    teacher_read: int
    teacher_written: int
    teacher_cached: int
    calls: int
    usd: float
    seconds: float

    def scaled(self, share: float) -> Totals:
        """A share of all of it."""
        return Totals(**{name: round(value * share, 6) for name, value in asdict(self).items()})


def step_seconds(step: StepRecord) -> float:
    """How long an optimizer step took: as the trainer says, else its own time, else the sum of its phases."""
    seconds = step.metrics.get("step_time", step.seconds.get("step"))
    return sum(step.seconds.values()) if seconds is None else seconds


def totals(steps: Sequence[StepRecord], rollouts: int) -> Totals:
    """The sums over `steps`, each with `rollouts` answers of the student; evaluations are not counted."""
    return Totals(
        updates=len(steps),
        student_tokens=rollouts
        * sum(s.metrics.get("length/mean", s.metrics.get("completions/mean_length", 0.0)) for s in steps),
        teacher_read=sum(s.input_tokens for s in steps),
        teacher_written=sum(s.output_tokens for s in steps),
        teacher_cached=sum(s.cached_tokens for s in steps),
        calls=sum(s.calls for s in steps),
        usd=sum(s.cost_usd for s in steps),
        seconds=sum(map(step_seconds, steps)),
    )
