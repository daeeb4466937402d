"""What a run will ask of a teacher behind an API: calls, tokens, dollars, hours. Known before the first call.

Counted in the paper's words: rollouts × M forks × N samples × C tokens a step. Sends nothing; its one act
is to refuse a sum that was not accepted. What a run may spend at most is `BudgetedTeacher`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.config import METHODS, Recipe
from omniopd.errors import Refused
from omniopd.io.units import dollars, duration
from omniopd.method.controls import CONTROLS
from omniopd.method.forks import teacher_tokens
from omniopd.method.scan import expected_run, expected_texts, whole_run
from omniopd.teachers.hosted.streaming import is_streamed
from omniopd.teachers.spending.prices import Price
from omniopd.types import Usage

PROMPT_TOKENS, LATENCY_S = 150.0, 1.0  # where nothing better is known: a short problem, a second a call


@dataclass(frozen=True, slots=True)
class TeacherEstimate:
    """What a run will take. `usd` is None where no price is known; `hours` are those spent waiting for the teacher."""

    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    hours: float

    def __str__(self) -> str:
        return (
            f"{self.calls:,} calls, {self.input_tokens:,} tokens read, {self.output_tokens:,} written: "
            f"{dollars(self.usd)}, {duration(3600 * self.hours)} of waiting"
        )


@dataclass(frozen=True, slots=True)
class _Load:
    """Calls that are alike: so many at once `rounds` times, each reading and writing so many tokens."""

    rounds: int
    calls: int
    input_tokens: float
    output_tokens: float


def estimate(
    recipe: Recipe,
    price: Price | None,
    latency_s: float = LATENCY_S,
    *,
    prompt_tokens: float = PROMPT_TOKENS,
    extra_input: float = 0.0,
    extra_output: float = 0.0,
    samples_per_call: int = 1,
    steps_done: int = 0,
    controls: Sequence[str] | None = None,
) -> TeacherEstimate:
    """The whole run of a recipe, its controls and probes included, where every rollout is as long as it may be.

    Of a run that has done `steps_done` steps what is left; `controls` are those still to be trained (None: the
    recipe's).

    `prompt_tokens` is the mean length P₀ of a problem; a fork's prefix is on average half a rollout longer. `extra_*`
    tokens come on top of each call (an instruction's words, a model's thoughts); `samples_per_call` is the n of a call.
    The recipe's limits per minute stretch the hours. Retries are not counted.
    """
    controls = recipe.evaluation.controls if controls is None else controls
    loads = _loads(recipe, steps_done, controls, prompt_tokens + extra_input, extra_output, max(1, samples_per_call))
    calls = sum(load.rounds * load.calls for load in loads)
    read = sum(load.rounds * load.calls * load.input_tokens for load in loads)
    written = sum(load.rounds * load.calls * load.output_tokens for load in loads)
    usd = None if calls else 0.0
    if price is not None:
        usd = sum(load.rounds * load.calls * _call_usd(price, load) for load in loads)
    seconds = sum(load.rounds * math.ceil(load.calls / recipe.teacher.concurrency) * latency_s for load in loads)
    for amount, limit in (
        (calls, recipe.teacher.requests_per_minute), (read + written, recipe.teacher.tokens_per_minute)
    ):  # fmt: skip
        seconds = max(seconds, 60 * amount / limit) if limit else seconds
    return TeacherEstimate(calls, round(read), round(written), usd, seconds / 3600)


def require_accepted(found: TeacherEstimate, ask_above_usd: float, accepted_usd: float | None, way_out: str) -> None:
    """Raises Refused where a run will cost more than may be spent without a question, and that was not accepted.

    An unknown price counts as above any sum, and is accepted by any. `way_out` ends the sentence: how to
    accept here.
    """
    if not found.calls or (accepted_usd is not None and accepted_usd >= (found.usd or 0.0)):
        return
    if found.usd is None:
        raise Refused(f"this run takes {found}, and its price is not known here: {way_out}")
    if found.usd > ask_above_usd:
        raise Refused(f"this run takes {found}, above the {dollars(ask_above_usd)} that need no question: {way_out}")


def _loads(
    recipe: Recipe, done: int, controls: Sequence[str], before: float, extra_output: float, per_call: int
) -> list[_Load]:
    """What is asked at each step after `done`, at each that records probes, and by the controls that ask the same
    teacher."""
    training, audit, longest = recipe.training, recipe.audit, recipe.student.max_tokens
    left = max(0, training.steps - done)
    cost = METHODS[recipe.method].cost
    if cost == "nothing":
        return []  # a grader's word, or logits: no teacher is asked for text
    if cost == "answers":
        answers = math.ceil(left * training.rollouts / training.passes)
        return [_Load(1, answers, before, longest + extra_output)]
    if audit.way == "scan":
        # Every text is a call. A guess: how many it takes, and how long they are, depends on how often the two agree.
        each = audit.samples * (audit.forks or math.ceil(expected_texts(longest)))
        written = written_of_a_scan(recipe, longest) + extra_output
    else:
        forks = min(audit.forks, longest // audit.chunk_tokens)
        drawn = teacher_tokens(audit.chunk_tokens, recipe.teacher.tokens_per_student_token)
        calls, rest = divmod(audit.samples, per_call)
        each = (calls + (rest > 0)) * forks
        written = drawn * audit.samples / (calls + (rest > 0)) + extra_output
    asks = not CONTROLS[recipe.objective.control].asks_student
    # A control is trained from the run's start, however far the run itself has come.
    steps = left * asks + training.steps * sum(not CONTROLS[c].asks_student for c in controls)
    recorded = (
        {1, *range(training.record_every, training.steps + 1, training.record_every)}
        if training.record_every
        else set()
    )
    prefix = before + longest / 2
    return [
        _Load(steps, training.rollouts * each, prefix, written),
        _Load(
            sum(step > done for step in recorded) if asks else 0,
            training.probe_prompts * each,
            prefix,
            written,
        ),
    ]


def written_of_a_scan(recipe: Recipe, length: int) -> int:
    """What a text of a scan writes, in the teacher's tokens: up to its difference where it is streamed, else on."""
    most, teacher = min(recipe.audit.chunk_tokens, length), recipe.teacher
    each = expected_run(most) if is_streamed(teacher.model, teacher.stream) else whole_run(most, length)
    return teacher_tokens(math.ceil(each), teacher.tokens_per_student_token)


def _call_usd(price: Price, load: _Load) -> float:
    return price.of(Usage(input_tokens=round(load.input_tokens), output_tokens=round(load.output_tokens)))
