"""A TRL trainer that does not report success for having learnt nothing.

A step whose gradient is 0 moves no weight, costs what any step costs, and would end as `finished`. Most trainers stop
after the first one; GRPO, whose steps are idle as long as all answers of a group are equally right, at its end if all
were. What learns beside weights of 4 bits is widened, or its steps would round to nothing. Knows no files of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omniopd.errors import TrainingError
from omniopd.method.controls import CONTROLS
from omniopd.method.evidence import ForkTarget
from omniopd.method.targets import TARGETS
from omniopd.models.four_bits import widen_adapters
from omniopd.types import AuditedRollout

# Nats per token: what the rounding of two forwards of one student leaves of a divergence that is 0.
_ROUNDING = 1e-5
_ALLOW = "set allow_zero_gradient (training.allow_zero_gradient in a recipe) if that is meant"


class LearnsSomething:
    """Goes before a TRL trainer among a class's bases. Who records a step calls `refuse_idle` when it is recorded."""

    args: Any
    model: Any
    state: Any
    allow_zero_gradient = False
    # Why the audits of this step teach nothing; "" where they do, or where there are none.
    _untaught = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widen_adapters(self.model)

    def refuse_idle(self, logs: dict[str, float]) -> None:
        """Raises TrainingError for a step, by its log, that learnt nothing."""
        if self._is_idle(logs):
            raise TrainingError(f"step {self.state.global_step} learnt nothing: {self._why()}; {_ALLOW}")

    def train(self, *args: Any, **kwargs: Any) -> Any:
        found = super().train(*args, **kwargs)  # type: ignore[misc]
        steps = [log for log in self.state.log_history if "grad_norm" in log]
        if steps and all(self._is_idle(log) for log in steps):
            raise TrainingError(f"none of {len(steps)} steps learnt anything: {self._why()}; {_ALLOW}")
        return found

    def _is_idle(self, logs: dict[str, float]) -> bool:
        if self.allow_zero_gradient or getattr(self.args, "allow_zero_gradient", False) or "grad_norm" not in logs:
            return False
        # The student asked about itself starts without a gradient by design: such a control shows just that.
        if CONTROLS[getattr(self.args, "control", "none")].asks_student:
            return False
        # A pull that is rounding is none, though an optimiser would make steps of it.
        anchored = max(logs.get(name) or 0.0 for name in ("kl/anchored", "kl/audited"))
        return logs["grad_norm"] == 0 or (bool(self._untaught) and not anchored > _ROUNDING)

    def _why(self) -> str:
        return self._untaught or "its gradient is 0, as where the student already says what it is taught"


def why_untaught(audited: Sequence[AuditedRollout], targets: Sequence[ForkTarget], args: Any) -> str:
    """Why nothing that a teacher wrote moves a weight, and what to change; "" where something does. An empty text says
    nothing, though it may be as similar to one chunk as to none."""
    audits = [audit for item in audited for audit in item.audits]
    tokens = any(ids for audit in audits for ids in audit.continuation_ids)
    if audits and not tokens and not any(text for audit in audits for text in audit.texts):
        return f"all texts at {len(audits)} forks are empty: try the teacher out (omniopd teacher check)"
    weighed = any(bool(t.weights.any()) or any(w for slots in t.labels for w in slots.values()) for t in targets)
    if weighed or (args.continuation_weight > 0 and tokens):
        return ""
    failed = [u.problem for item in audited for u in item.unanswered]
    if not audits and not failed:
        return "no token was audited, so all were held near the start: let answers be longer (max_completion_length)"
    if not audits:
        most = max(set(failed), key=failed.count)
        return f"all {len(failed)} forks went unanswered, most often {most!r}: mend the teacher"
    target = TARGETS[args.target]
    if target.gives == "nothing" or (target.labelled and not tokens):
        return f"no text at {len(audits)} forks can be written in the student's tokens: give another teacher"
    if not CONTROLS[args.control].texts:
        return f"the target {args.target!r} knows nothing without the teacher's texts: choose another control"
    return (
        f"the target {args.target!r} weighs every token of {len(audits)} forks by 0, as where all texts agree with the "
        "answers alike: choose another similarity, target or teacher"
    )
