"""What a run writes and a view shows: numbers and strings, no torch.

Each record is one JSON object with a `schema` number and a `kind`; unknown fields of a newer writer are ignored by
`read_record`, a missing one takes its default, and one of another type makes the line no record. Positions count
response tokens from 0; nats; US dollars; seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from omniopd.io.fields import read_fields
from omniopd.io.texts import HALF

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Posterior:
    """The paper's nominal Beta (the two-cell Dirichlet) of a chunk: `agree` and `disagree` are pseudo-counts.

    Nominal, because k is a sum of similarities and no count: its interval says nothing about how sure the mean
    similarity is. `spread_interval` in `method.posterior` does.
    """

    agree: float
    disagree: float

    @classmethod
    def of(cls, soft_count: float, samples: int, prior: float, concentration: float = 1.0) -> Posterior:
        """Pseudo-counts k + α π̄ for the chunk, the rest of N + α against it."""
        agree = soft_count + concentration * prior
        return cls(agree, samples + concentration - agree)

    @property
    def mean(self) -> float:
        return self.agree / (self.agree + self.disagree)

    def interval(self, mass: float = 0.95) -> tuple[float, float]:
        """The central interval that holds `mass`; a point where one pseudo-count is 0."""
        if self.agree <= 0 or self.disagree <= 0:
            return self.mean, self.mean
        from scipy.stats import beta

        low, high = beta.interval(mass, self.agree, self.disagree)
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One audited fork: the evidence, and what it became. `weights` are per token of the chunk, `labels` per offset.

    `text_pieces[i]` are the student's tokens of text i as they follow the prefix, as text (empty where writing the text
    down changes the prefix's own tokens); an end-of-turn token is an empty piece. `label_nll[i]` is what the labels at
    offset i cost the student, Σ weight · −log π. `exact`: the teacher continued the student's very tokens. `reencodes`:
    the prefix's text, encoded anew, gives other tokens than those. `run`: a piece of a scan, whose texts agree with the
    chunk in all tokens but perhaps the last; each token has its own weight and labels.
    """

    kind: ClassVar[str] = "audit"
    start: int
    stop: int
    entropy: float
    chunk: str
    texts: tuple[str, ...]
    similarities: tuple[float, ...]
    soft_count: float
    prior: float
    posterior_mean: float
    concentration: float
    weights: tuple[float, ...] = ()
    labels: tuple[tuple[tuple[str, float], ...], ...] = ()
    handover: str = ""
    exact: bool = True
    served_model: str = ""
    cached: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    problem: str | None = None
    text_pieces: tuple[tuple[str, ...], ...] = ()
    echoes: int = 0
    label_nll: tuple[float, ...] = ()
    reencodes: bool = False
    run: bool = False
    schema: int = SCHEMA

    @property
    def posterior(self) -> Posterior:
        return Posterior.of(self.soft_count, len(self.texts), self.prior, self.concentration)


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout of one step with its audits. Lists are per response token.

    A `probe` is one of the few fixed prompts that are answered and audited to be looked at and never learnt from; its
    `row` follows those of the batch. `right` is the grader's word (None: there is nothing to compare with).
    """

    kind: ClassVar[str] = "rollout"
    row: int
    step: int
    prompt_id: str
    messages: tuple[Mapping[str, str], ...]
    pieces: tuple[str, ...]
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    anchor_kl: tuple[float, ...] = ()
    anchored: tuple[bool, ...] = ()
    finish: str = "stop"
    answer: str | None = None
    audits: tuple[AuditRecord, ...] = ()
    unanswered: tuple[tuple[int, str], ...] = ()
    probe: bool = False
    right: bool | None = None
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimizer step. `metrics` are the names that the trainer logs; `seconds` are by phase. Of the teacher's
    `input_tokens`, `cached_tokens` had been read before, behind the same beginning; `calls` are requests sent."""

    kind: ClassVar[str] = "step"
    step: int
    loss: float
    chunk_loss: float
    anchor_loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    cached_tokens: int = 0
    calls: int = 0
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """One held-out problem: how many of `samples` answers were right, readable, cut off; mean tokens of an answer.

    `tokens` is the length of each answer; `repetition` the share of an answer's four-grams of tokens that it had used
    before, the mean over answers. `failures` says why the grader threw, once for each answer that counts as wrong so.
    `entropy` is the model's own, the mean over the answers' tokens in nats (None: not measured).
    """

    prompt_id: str
    right: int
    samples: int
    readable: int = 0
    truncated: int = 0
    mean_tokens: float = 0.0
    tokens: tuple[int, ...] = ()
    repetition: float = 0.0
    failures: tuple[str, ...] = ()
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """A model on a task at one temperature. `step` is the optimizer step of the model (0: untrained)."""

    kind: ClassVar[str] = "eval"
    model: str
    task: str
    split: str
    temperature: float
    samples: int
    seed: int
    max_tokens: int
    problems: tuple[ProblemResult, ...]
    step: int = 0
    seconds: float = 0.0
    schema: int = SCHEMA

    @property
    def accuracy(self) -> float:
        """Mean over problems of the share of right answers (the paper's Pass@1); NaN without problems."""
        if not self.problems:
            return math.nan
        return sum(p.right / p.samples for p in self.problems) / len(self.problems)

    @property
    def per_problem(self) -> dict[str, float]:
        return {p.prompt_id: p.right / p.samples for p in self.problems}

    @property
    def truncated_share(self) -> float:
        return sum(p.truncated for p in self.problems) / max(1, sum(p.samples for p in self.problems))

    @property
    def readable_share(self) -> float:
        return sum(p.readable for p in self.problems) / max(1, sum(p.samples for p in self.problems))

    @property
    def repetition(self) -> float:
        """Mean over answers; 0 where no four tokens occur twice in an answer."""
        return sum(p.repetition * p.samples for p in self.problems) / max(1, sum(p.samples for p in self.problems))

    @property
    def entropy(self) -> float | None:
        """Nats per token of the answers, the mean over problems; None where it was not measured."""
        found = [p.entropy for p in self.problems if p.entropy is not None]
        return sum(found) / len(found) if found else None

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the grader threw, once for each answer that counts as wrong for it."""
        return tuple(reason for p in self.problems for reason in p.failures)


def latest_per_temperature(evals: Iterable[EvalRecord]) -> list[EvalRecord]:
    """Of evaluations of one model the one with the most answers at each temperature, and of equal ones the last: a look
    during training (fewer problems) does not stand for the measurement that was planned. Ascending."""
    kept: dict[float, EvalRecord] = {}
    for record in evals:
        other = kept.get(record.temperature)
        if other is None or _answers(record) >= _answers(other):
            kept[record.temperature] = record
    return [kept[temperature] for temperature in sorted(kept)]


@dataclass(frozen=True, slots=True)
class RunManifest:
    """What a run is: enough to start it again. No keys, no environment beyond versions and hardware.

    `recipe` is what it is run with now; `changes` are those of its settings that were changed when it was resumed,
    each with the time, the step and, by setting, the old value and the new one.
    """

    kind: ClassVar[str] = "manifest"
    name: str
    recipe: Mapping[str, Any]
    seed: int
    created: str
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    commit: str | None = None
    command: tuple[str, ...] = ()
    changes: tuple[Mapping[str, Any], ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class ForkLabel:
    """What somebody says of the fork whose chunk begins at token `start` of an answer; of several the last counts, and
    one without `label` and `note` takes it back. `time` is UTC."""

    kind: ClassVar[str] = "fork_label"
    step: int
    rollout: int
    start: int
    chunk: str
    label: str
    note: str = ""
    time: str = ""
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class Reading:
    """What a student makes of an answer that exists: of each token its log-probability, and the entropy of the choice;
    nats."""

    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairedAnswer:
    """An answer as each of two students reads it; None where one has another tokenizer."""

    rollout: RolloutRecord
    left: Reading | None
    right: Reading | None


@dataclass(frozen=True, slots=True)
class RunNote:
    """A change of what people say of a run: tags added and taken away, its new note and title (None: as it was)."""

    kind: ClassVar[str] = "run_note"
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    note: str | None = None
    time: str = ""  # UTC
    title: str | None = None
    schema: int = SCHEMA


Record = AuditRecord | RolloutRecord | StepRecord | EvalRecord | RunManifest | ForkLabel | RunNote
_KINDS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (AuditRecord, RolloutRecord, StepRecord, EvalRecord, RunManifest, ForkLabel, RunNote)
}


def record_json(record: Record) -> str:
    """One line of JSON. NaN and infinities become null, since JSON has none; half a surrogate pair, which a provider
    may send and no file can hold, becomes its escape."""
    data = {"kind": record.kind, **_plain(asdict(record))}
    line = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return line if HALF.search(line) is None else json.dumps(data, separators=(",", ":"))


def read_record(line: str) -> Record:
    """The record in one line of JSON. Raises ValueError for a line that holds none, one whose fields are not what they
    should be, or a newer schema."""
    try:
        data = json.loads(line)
    except RecursionError as error:
        raise ValueError(f"no record in {line[:80]!r}: it is nested too deep") from error
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"no record in {line[:80]!r}: 'kind' must be one of {', '.join(sorted(_KINDS))}")
    record: Record = read_fields(_KINDS[kind], data)
    if record.schema > SCHEMA:
        raise ValueError(f"a record of schema {record.schema}, newer than {SCHEMA}: update omniopd to read it")
    if isinstance(record, StepRecord | EvalRecord | RolloutRecord) and record.step < 0:
        raise ValueError(f"step is {record.step}: steps are counted from 0")
    if isinstance(record, EvalRecord):
        for problem in record.problems:
            require_possible(problem)
    return record


def require_possible(result: ProblemResult) -> None:
    """Raises ValueError for an impossible result: without answers, or with more right ones than answers."""
    if result.samples < 1 or not 0 <= result.right <= result.samples:
        raise ValueError(f"{result.right} of {result.samples} answers to {result.prompt_id!r} are right: it cannot be")


def _answers(record: EvalRecord) -> int:
    return sum(problem.samples for problem in record.problems)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
