"""How far each chunk is trusted, and what would change that: prior, evidence and posterior per fork.

α, N and the centring are recomputed in the page from similarities that travelled once; another similarity compares the
texts at hand again, here. Neither asks a teacher. What would cost something (more texts than at hand, other forks,
another chunk length) is priced while it is typed, and handed on Enter to the functions given to `on_pay`. A caller that
knows better than the records what is at hand sets the prices with `price_with`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Int, List, TraitError, Unicode, observe, validate

from omniopd.errors import ConfigError, OmniOPDError
from omniopd.io.units import duration
from omniopd.method.posterior import nominal_posterior, shares, spread_interval, subsample_spread
from omniopd.method.similarity import without_model
from omniopd.records import AuditRecord, Posterior, RolloutRecord
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.fork_names import Nth, fork_short, numbered
from omniopd_widgets._parts.prices import Quoted, StepUsage, TokenPrice, quote, usage_of
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, tables, to_json

RECORDED = "recorded"
CENTRINGS = ("none", "others", "these")
LABEL_CHARACTERS = 120

WANTED = ("forks", "samples", "chunk_tokens")

Compare = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Order:
    """What the user pressed Enter on: M forks × N texts of C tokens, and the price that was shown for it."""

    forks: int
    samples: int
    chunk_tokens: int
    price: Quoted


class PosteriorPlot(View):
    """Show the posteriors of a rollout's audits (or of a list of audits).

    Args:
        record: a rollout, or its audits.
        others: further rollouts of the same step: their forks are the baseline of the centring "others".
        more_similarities: further ones by name, such as the embedding's, as `(chunk, texts) -> floats`.

    Traits: `concentration` (α), `samples` (how many of the texts at hand count), `similarity`, `centring` ("none": the
    paper's π̂; "others", "these": k/N less the mean over other rollouts' forks, or over the forks shown), `selected`
    (the first token of a fork, −1 for none). `results()` gives the numbers on screen.

    A run of a scan is shown by its last token, the one from which texts may part: k of N agree with it, and its prior
    is the student's probability of it. `scan` says that there are some: what another scan costs is not priced here.
    """

    forks = List(Dict()).tag(sync=True)
    similarities = List(List(Float())).tag(sync=True)
    others_share = Float(None, allow_none=True).tag(sync=True)
    similarity_names = List(Dict()).tag(sync=True)
    usage = Dict().tag(sync=True)
    concentration = Float(1.0).tag(sync=True)
    samples = Int(0).tag(sync=True)
    similarity = Unicode(RECORDED).tag(sync=True)
    centring = Enum(CENTRINGS, default_value="none").tag(sync=True)
    selected = Int(-1).tag(sync=True)
    order = Dict().tag(sync=True)
    typed = Dict().tag(sync=True)
    quoted = Dict().tag(sync=True)
    scan = Bool(False).tag(sync=True)

    def __init__(
        self,
        record: RolloutRecord | Sequence[AuditRecord] = (),
        others: Sequence[RolloutRecord] = (),
        more_similarities: Mapping[str, Compare] | None = None,
        **traits: Any,
    ) -> None:
        self._audits: tuple[AuditRecord, ...] = ()
        self._others: tuple[AuditRecord, ...] = ()
        self._compare: dict[str, Compare] = {**without_model(), **(more_similarities or {})}
        self._found: dict[str, tuple[list[list[float]], float | None]] = {}
        self._seconds: dict[str, float] = {}
        self._usage = StepUsage()
        self._payers: list[Callable[[Order], Any]] = []
        self._quoter: Callable[[int, int, int], Quoted] | None = None
        super().__init__()
        self.show(record, others)
        for name, value in traits.items():
            setattr(self, name, value)

    def show(
        self,
        record: RolloutRecord | Sequence[AuditRecord],
        others: Sequence[RolloutRecord] = (),
        forks: Iterable[Any] = (),
    ) -> None:
        """Show other audits under the same settings, with all texts at hand; `forks`: planned ones, which count where
        the answer's are numbered."""
        audits = record.audits if isinstance(record, RolloutRecord) else tuple(record)
        rollout = record if isinstance(record, RolloutRecord) else None
        whole = [a for a in audits if a.similarities]
        counted = {} if rollout is None else numbered(rollout, forks)
        named = [counted.get(a.start, (k, len(whole))) for k, a in enumerate(whole)]
        self._usage = usage_of(whole)
        self._audits = tuple(pencil.at_its_end(a, rollout) for a in whole)
        own = None if rollout is None else rollout.row
        beside = [(a, r) for r in others if r.row != own for a in r.audits if a.similarities]
        self._others = tuple(pencil.at_its_end(a, r) for a, r in beside)
        self._found.clear()
        selected = self.selected
        with self.hold_sync():
            self.scan = any(a.run for a in self._audits)
            self.forks = [_fork(*each) for each in zip(self._audits, whole, named, strict=True)]
            self.usage, self.typed = asdict(self._usage), {}
            self.quoted = {} if self._quoter else self._priced({key: self.usage[key] or 1 for key in WANTED})
            self.samples = max((len(a.similarities) for a in self._audits), default=0)
            self.order = {}
            self._compare_again()
            if selected not in {a.start for a in self._audits}:
                # What is opened first should be worth looking at: where the student hesitated most.
                worth = [a for a in self._audits if not a.run or pencil.said(a)] or self._audits
                self.selected = max(worth, key=lambda a: a.entropy).start if worth else -1

    def on_pay(self, act: Callable[[Order], Any]) -> Callable[[], None]:
        """Call `act(order)` when the user presses Enter on a priced setting. Returns a function that disconnects it."""
        self._payers.append(act)
        return lambda: self._payers.remove(act)

    def price_with(self, quoter: Callable[[int, int, int], Quoted]) -> None:
        """Have `quoter(forks, samples, chunk_tokens)` price other settings."""
        self._quoter, self.typed, self.quoted = quoter, {}, {}

    def results(self) -> list[dict[str, Any]]:
        """Per fork, what is on screen: start, posterior mean, the shares of data and prior, intervals, weight."""
        rows = self._numbers()
        for row in rows:
            row["nominal"] = Posterior(row["agree"], row["disagree"]).interval()
        return rows

    def price(self, forks: int | None = None, samples: int | None = None, chunk_tokens: int | None = None) -> Quoted:
        """What other settings would cost beyond the texts at hand."""
        usage = self._usage
        wanted = (
            usage.forks if forks is None else forks,
            usage.samples if samples is None else samples,
            usage.chunk_tokens if chunk_tokens is None else chunk_tokens,
        )
        return quote(usage, *wanted) if self._quoter is None else self._quoter(*wanted)

    def summary(self) -> str:
        if not self._audits:
            return "no audits"
        count, texts = len(self._audits), max(len(a.similarities) for a in self._audits)
        what = "run" if self.scan else "fork"
        return f"{count} {what}{'s' * (count != 1)}, {texts} texts each, α = {self.concentration:g}"

    def fallback(self) -> Sequence[SafeHTML]:
        if not self._audits:
            return [element("p", "No audits: ask the teacher about a fork first.")]
        headers = ["fork", "entropy", "own confidence", "agreement", "trust", "95 % from these texts", "weight"]
        rows = [
            (
                fork_short(f["nth"], f["first"], f["stop"]), f"{a.entropy:.2f}", f"{r['prior']:.3f}",
                f"{r['share']:.3f}", f"{r['posterior_mean']:.3f}", f"{r['spread'][0]:.3f} – {r['spread'][1]:.3f}",
                f"{r['weight']:+.3f}",
            )
            for a, f, r in zip(self._audits, self.forks, self._numbers(), strict=True)
        ]  # fmt: skip
        note = (
            f"Compared by {self.similarity}; samples {self.samples}, α = {self.concentration:g}, "
            f"centring {self.centring}. "
            f"{'Of each run of a scan its last token is shown: texts agree with all before it. ' * self.scan}"
            "The trust is the mean of a Beta whose width is no real uncertainty, since similarities are added up."
        )
        return [element("p", note), *tables(headers, rows, 60)]

    @validate("concentration")
    def _no_negative_concentration(self, proposal: Any) -> float:
        if not 0 <= proposal["value"] <= 1e6:
            raise TraitError(f"concentration (α) is {proposal['value']}: it must lie between 0 and 1,000,000")
        return float(proposal["value"])

    @validate("samples")
    def _samples_at_hand(self, proposal: Any) -> int:
        at_hand = max((len(a.similarities) for a in self._audits), default=0)
        if not min(1, at_hand) <= proposal["value"] <= at_hand:
            raise TraitError(f"samples is {proposal['value']}: the texts at hand allow {min(1, at_hand)} to {at_hand}")
        return int(proposal["value"])

    @validate("similarity")
    def _known_similarity(self, proposal: Any) -> str:
        if proposal["value"] not in (RECORDED, *self._compare):
            raise TraitError(
                f"similarity is {proposal['value']!r}: it must be one of {', '.join((RECORDED, *self._compare))}"
            )
        return str(proposal["value"])

    @observe("similarity")
    def _compare_again(self, _: Any = None) -> None:
        """The similarities under the chosen name: once compared, they are kept."""
        if (problem := self._computed(self.similarity)) and self.similarity != RECORDED:
            self.similarity = RECORDED
        if self.similarity in self._found:
            with self.hold_sync():
                self.similarities, self.others_share = self._found[self.similarity]
                names = (RECORDED, *self._compare)
                self.similarity_names = [{"name": name, "takes": self._takes(name)} for name in names]
        self.problem = problem

    def _computed(self, name: str) -> str:
        """Compare all texts by this similarity unless done before; returns what went wrong, or an empty text."""
        if name in self._found:
            return ""
        start = time.perf_counter()
        try:
            own = [self._with(name, audit) for audit in self._audits]
            others = [self._with(name, audit) for audit in self._others]
        except (ConfigError, ValueError, RuntimeError, OSError) as error:
            return f"similarity {name!r} could not be computed, the recorded one is shown: {error}"
        shares_of_others = [sum(values) / len(values) for values in others]
        self._found[name] = (own, sum(shares_of_others) / len(others) if others else None)
        self._seconds[name] = time.perf_counter() - start
        return ""

    def _takes(self, name: str) -> str:
        if name == RECORDED:
            return "free"
        return f"local, {duration(self._seconds[name])}" if name in self._seconds else "local seconds"

    @observe("typed")
    def _quote_typed(self, _: Any = None) -> None:
        """Price the settings being typed."""
        wanted: dict[str, Any] = {key: self.typed.get(key) for key in WANTED}
        if not all(type(value) is int and 0 < value <= 1e6 for value in wanted.values()):
            return
        self.quoted = self._priced(wanted)

    def _priced(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        try:
            price = self.price(**wanted)
            text, kind = str(price), "free" if price.is_free else "paid"
        except OmniOPDError as error:
            text, kind = str(error), "refused"
        if kind == "free" and self._quoter is None:
            text = "already asked"
        return {**wanted, "text": to_json(text), "kind": kind}

    @observe("order")
    def _hand_over(self, _: Any) -> None:
        """An order from the page, priced here: what is paid is what the records say."""
        if not self.order:
            return
        forks, samples, chunk_tokens = (int(self.order[key]) for key in WANTED)
        try:
            price = self.price(forks, samples, chunk_tokens)
        except OmniOPDError:
            price = TokenPrice()  # whoever takes the order reports why not
        if price.is_free and self._quoter is None:
            return
        before = self.quoted
        if before and [before[key] for key in WANTED] == [forks, samples, chunk_tokens]:
            self._quote_typed()
            if self.quoted["kind"] == "paid" and self.quoted["text"] != before["text"]:
                self.problem = f"The price is now {self.quoted['text']}: press Enter again to accept it."
                return
        for act in tuple(self._payers):
            act(Order(forks, samples, chunk_tokens, price))
        if not self._payers:
            self.problem = (
                "No teacher is connected: open this plot in the workbench, or register a function with on_pay."
            )

    def _numbers(self) -> list[dict[str, Any]]:
        """`results` without the nominal intervals, whose library takes long to load."""
        rows = []
        for audit, values in zip(self._audits, self.similarities, strict=True):
            n = min(self.samples, len(values))
            posterior = nominal_posterior(values, audit.prior, self.concentration, n)
            data, prior = shares(n, self.concentration)
            sub = subsample_spread(values, n, audit.prior, self.concentration)
            rows.append(
                {
                    "start": audit.start, "samples": n, "share": sum(values) / len(values), "prior": audit.prior,
                    "posterior_mean": posterior.mean, "agree": posterior.agree, "disagree": posterior.disagree,
                    "data_share": data, "prior_share": prior,
                    "deviation": sub.deviation, "low": sub.low, "high": sub.high,
                    "spread": spread_interval(values, audit.prior, self.concentration, n),
                }
            )  # fmt: skip
        baseline = self._baseline([row["share"] for row in rows])
        return [
            row | {"weight": row["posterior_mean"] if baseline is None else row["share"] - baseline} for row in rows
        ]

    def _with(self, name: str, audit: AuditRecord) -> list[float]:
        found = audit.similarities if name == RECORDED else self._compare[name](audit.chunk, audit.texts)
        return [float(value) for value in found]

    def _baseline(self, own_shares: Sequence[float]) -> float | None:
        if self.centring == "none" or not own_shares:
            return None
        return (self.others_share or 0.0) if self.centring == "others" else sum(own_shares) / len(own_shares)


def _fork(audit: AuditRecord, whole: AuditRecord, nth: Nth) -> JsonObject:
    """Of a run of a scan `start` is its last token, and `first` its first one."""
    return to_json(
        {
            "nth": nth, "first": whole.start, "start": audit.start, "stop": audit.stop,
            "entropy": audit.entropy, "prior": audit.prior,
            "text": audit.chunk[:LABEL_CHARACTERS], "run": audit.run,
        }
    )  # fmt: skip
