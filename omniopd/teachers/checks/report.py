"""What a preflight found out about a teacher, as values and as a plain table. Sends nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from omniopd.config import HANDOVERS
from omniopd.io.units import dollars, duration
from omniopd.teachers.checks.probes import (
    CONTINUES,
    EMPTY,
    OTHER,
    PREAMBLE,
    REFUSAL,
    RESTARTS,
    SPACING,
    THINKS,
    UNANSWERED,
    share,
)
from omniopd.teachers.spending.prices import Price
from omniopd.teachers.spending.usage import COSTS_MOST, COSTS_WRITTEN
from omniopd.types import Usage

# The share of known beginnings that must be continued. A raw prompt leaves no room for a restart that would not show as
# one, and a small model copies and counts badly: there, some are enough if nothing else speaks against it.
ENOUGH, SOME = 0.75, 0.25
USABLE, UNUSABLE = 0, 1


@dataclass(frozen=True, slots=True)
class Trial:
    """A handover on the known beginnings: what each text made of its prefix, or why the provider `refused` it.

    `ends` are what the prefixes ended in, in the order of `findings`; `echoes` counts texts that repeated the prefix
    before they went on. `here`: the model runs in this process, which hands it the very tokens: what it makes of
    them says something about the model alone.
    """

    handover: str
    exact: bool
    findings: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    echoes: int = 0
    refused: str = ""
    here: bool = False

    @property
    def goes_on(self) -> float:
        """The share of texts that went on, a lost space forgiven."""
        return share(self.findings, CONTINUES, SPACING)

    @property
    def works(self) -> bool:
        if self.here:
            return share(self.findings, EMPTY, UNANSWERED) <= 1 - ENOUGH
        if self.handover in HANDOVERS and HANDOVERS[self.handover].completes:
            unclear = share(self.findings, OTHER)
            return not self.refused and self.goes_on >= SOME and self.goes_on + unclear >= ENOUGH
        return not self.refused and self.goes_on >= ENOUGH

    def __str__(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        if not self.findings:
            return "not tried"
        counts = Counter(self.findings)
        words = [f"{counts[CONTINUES]} of {len(self.findings)} known beginnings go on"]
        for name in (SPACING, RESTARTS, PREAMBLE, REFUSAL, THINKS, EMPTY, UNANSWERED, OTHER):
            where = [end for end, finding in zip(self.ends, self.findings, strict=True) if finding == name]
            if where:
                words.append(f"{name} {len(where)} (after {', '.join(where)})")
        return "; ".join(words)


@dataclass(frozen=True, slots=True)
class SamplingCheck:
    """Draws of an open beginning. `cold` is how many different texts temperature 0 gave of `cold_asked`, `warm` the
    teacher's own temperature; one call that was asked for `per_call` texts brought `brought`. `taken`: the model takes
    a temperature at all; `greedy`: the teacher's own is 0, so that all its texts are one."""

    cold: int = 0
    cold_asked: int = 0
    warm: int = 0
    warm_asked: int = 0
    per_call: int = 1
    brought: int = 1
    taken: bool = True
    greedy: bool = False


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """One call with a draft that no text agrees with, of `asked` tokens.

    `streamed`: it came piece by piece; `parted`: it was left before its end, when `written` tokens had been written,
    by the teacher's own count if `told`. `costs`: what such a call is entered with. `problem`: why no answer came.
    """

    streamed: bool = False
    parted: bool = False
    asked: int = 0
    written: int = 0
    told: bool = False
    costs: str = COSTS_MOST
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"not known: {self.problem}"
        if not self.streamed:
            return "no: a scan asks for whole texts, and what is written behind a difference is wasted and paid"
        if not self.parted:
            return f"yes; its {self.written} tokens came so fast that none was left to be saved"
        count = "by its own count" if self.told else "counted here, since it tells no count until a text has ended"
        return f"yes; left where the text parted, after {self.written} of {self.asked} tokens ({count})"

    @property
    def cost(self) -> str:
        """What is known of the bill for the rest: no answer says whether a provider wrote on."""
        if self.costs == COSTS_WRITTEN:
            return "what was written until then (teacher.parted_costs): the teacher is known to stop there"
        return (
            "the most that it can, unsure: whether it writes on and bills that cannot be seen from here; if it is "
            'known to stop, set teacher.parted_costs = "written"'
        )


@dataclass(frozen=True, slots=True)
class TeacherReport:
    """What is known of a teacher after a few calls. `problem` says in one sentence why it cannot be used ("": it can).

    `claimed` is the handover that was to be used, `handover` the one that works. Seconds per call; tokens are the
    provider's own counts.
    """

    model: str
    problem: str = ""
    claimed: str = ""
    handover: str = ""
    trials: tuple[Trial, ...] = ()
    sampling: SamplingCheck | None = None
    stream: StreamCheck | None = None
    served_models: tuple[str, ...] = ()
    calls: int = 0
    latency_median_s: float = 0.0
    latency_p95_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    price: Price | None = None
    is_hosted: bool = True

    @property
    def usable(self) -> bool:
        return not self.problem

    @property
    def exit_status(self) -> int:
        return USABLE if self.usable else UNUSABLE

    @property
    def chosen(self) -> Trial | None:
        return next((t for t in self.trials if t.handover == self.handover), None)

    @property
    def proposal(self) -> str:
        """The setting to change, where another handover than the claimed one works."""
        differs = self.usable and self.handover and self.handover != self.claimed
        return f'teacher.handover = "{self.handover}"' if differs else ""

    def rows(self) -> list[tuple[str, str]]:
        """What the table says, line by line."""
        rows = [("teacher", self.model)]
        if self.served_models:
            rows.append(("answers as", ", ".join(self.served_models)))
        for trial in self.trials:
            kind = "exact" if trial.exact else "not exact"
            rows.append((f"handover {trial.handover}", f"{kind}; {trial}"))
        if self.chosen is not None and self.chosen.findings:
            rows.append(("echo, preamble, refusal", ", ".join(f"{rate:.0%}" for rate in self.rates)))
        rows += _sampling_rows(self.sampling)
        if self.stream is not None:
            rows.append(("streams", str(self.stream)))
            if self.stream.parted:
                rows.append(("a text that is left", f"costs {self.stream.cost}"))
        if self.calls:
            rows.append(
                ("latency", f"median {duration(self.latency_median_s)}, 95th percentile {duration(self.latency_p95_s)}")
            )
        rows.append(("price", self._price()))
        if self.calls:
            rows.append(("this check", f"{self.calls} calls, {self._spent()}"))
        if self.proposal:
            rows.append(("proposal", f"{self.proposal} ({self.claimed} does not work)"))
        rows.append(("verdict", "usable" if self.usable else f"not usable: {self.problem}"))
        return rows

    @property
    def rates(self) -> tuple[float, float, float]:
        """Echoes, preambles and refusals of the chosen handover, as shares of the known beginnings."""
        trial = self.chosen
        if trial is None or not trial.findings:
            return 0.0, 0.0, 0.0
        return trial.echoes / len(trial.findings), share(trial.findings, PREAMBLE), share(trial.findings, REFUSAL)

    def __str__(self) -> str:
        rows = [(name, _printable(text)) for name, text in self.rows()]
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(f"{name:<{width}}{text}" for name, text in rows)

    __repr__ = __str__

    def _price(self) -> str:
        if not self.is_hosted:
            return "none: it runs here"
        if self.price is None:
            return "unknown: give teacher.usd_per_million_input and teacher.usd_per_million_output"
        read, written = (dollars(1e6 * usd) for usd in (self.price.input_usd, self.price.output_usd))
        return f"{read} and {written} per million tokens read and written"

    def _spent(self) -> str:
        tokens = f"{self.usage.input_tokens:,} tokens read, {self.usage.output_tokens:,} written"
        return tokens if self.price is None else f"{tokens}, {dollars(self.usage.cost_usd)}"


def _sampling_rows(sampling: SamplingCheck | None) -> list[tuple[str, str]]:
    if sampling is None:
        return []
    rows = []
    if not sampling.taken:
        rows.append(("temperature", "not taken: the provider's own sampling"))
    elif sampling.cold_asked:
        alike = "repeats itself" if sampling.cold == 1 else f"gives {sampling.cold} different texts"
        rows.append(("temperature 0", f"{alike} in {sampling.cold_asked} draws"))
    alike = " (temperature 0: all samples are one text, so audit.samples=1 says as much)" if sampling.greedy else ""
    rows.append(("draws", f"{sampling.warm} different texts in {sampling.warm_asked} draws{alike}"))
    if sampling.per_call > 1:
        rows.append(("texts per call", f"{sampling.brought} where {sampling.per_call} were asked for"))
    return rows


def _printable(text: str) -> str:
    """A provider's words without control characters, on one line."""
    return "".join(c if c.isprintable() else " " for c in text)
