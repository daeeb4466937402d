"""Why a step moved: what each fork does to the loss, where all texts agree or none, and which forks are real choices.

Everything is made from records, under the recorded target or another one by name; nothing is asked of a teacher and no
model is loaded. The arithmetic is `omniopd.method.loss_breakdown`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from traitlets import Dict, Enum, Float, Int, List, TraitError, Unicode, observe, validate

from omniopd.config.settings import ObjectiveConfig, Recipe
from omniopd.io.units import not_zero
from omniopd.method.evidence import ForkTarget
from omniopd.method.loss_breakdown import ForkContribution, LossBreakdown, break_down
from omniopd.method.recorded import recorded_targets, targets_of_records
from omniopd.method.similarity import SIMILARITIES, mean_self_agreement, without_model
from omniopd.method.targets import TARGETS
from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.fork_names import Nth, fork_short, numbered
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, shorten, tables, to_json
from omniopd_widgets._parts.savings import audit_kind, savings

RECORDED = "recorded"
LABEL_CHARACTERS = 80
OBJECTIVE = ("target", "concentration", "anchor_weight", "anchor_on", "depth")


class UpdateLedger(View):
    """Take the loss of some rollouts apart.

    Args:
        rollouts: a record, or all records of a step: baselines of centred targets are means over other rollouts.
        settings: the run's recipe, or its objective; a recipe also gives the constant that both terms are divided by.

    Traits: `target` ("recorded": what the trainer made, else a target by name), `concentration`, `anchor_weight`,
    `anchor_on`, `depth`; `similarity` (of the teacher's texts with each other, for the map), `split_entropy` and
    `split_agreement` (the map's quadrants); `selected` and `selected_row` (the fork's first token and its rollout).
    `parts()` gives the numbers on screen, `quadrant(fork)` its place on the map.
    """

    rows = List(Dict()).tag(sync=True)
    totals = Dict().tag(sync=True)
    savings = List(Dict()).tag(sync=True)
    # By name: what it says of itself, which settings act on it, whether it names the teacher's tokens.
    target_menu = Dict().tag(sync=True)
    targets_on_offer = List(Unicode()).tag(sync=True)
    similarity_menu = Dict().tag(sync=True)
    note = Unicode("").tag(sync=True)
    target = Unicode(RECORDED).tag(sync=True)
    concentration = Float(1.0).tag(sync=True)
    anchor_weight = Float(0.1).tag(sync=True)
    anchor_on = Enum(("unaudited", "all"), default_value="unaudited").tag(sync=True)
    depth = Int(1).tag(sync=True)
    similarity = Unicode("characters").tag(sync=True)
    # Undecided between two equally likely tokens is ln 2; texts that agree in more than half of their characters.
    split_entropy = Float(math.log(2)).tag(sync=True)
    split_agreement = Float(0.5).tag(sync=True)
    selected = Int(-1).tag(sync=True)
    selected_row = Int(-1).tag(sync=True)

    def __init__(
        self,
        rollouts: RolloutRecord | Sequence[RolloutRecord] = (),
        settings: Recipe | ObjectiveConfig | None = None,
        **traits: Any,
    ) -> None:
        self._rollouts: tuple[RolloutRecord, ...] = ()
        self._given = settings
        self._ledger = LossBreakdown((), 0.0, 0)
        self._agreement: list[float] = []
        self._named: dict[tuple[int, int], dict[int, Nth]] = {}  # by step and row
        self._showing = False
        super().__init__(
            target_menu={t.name: {"label": t.label, "uses": t.uses, "labelled": t.labelled} for t in TARGETS.values()},
            similarity_menu={name: SIMILARITIES[name].label for name in without_model()},
        )
        self.show(rollouts, settings)
        for name, value in traits.items():
            setattr(self, name, value)

    def show(
        self,
        rollouts: RolloutRecord | Sequence[RolloutRecord],
        settings: Recipe | ObjectiveConfig | None = None,
        forks: Sequence[Any] = (),
    ) -> None:
        """Show other rollouts; with `settings`, under these. `forks`: planned ones, which count where an answer's are
        numbered."""
        given = (rollouts,) if isinstance(rollouts, RolloutRecord) else tuple(rollouts)
        # Nothing is learnt from probes, and they would shift the baselines of those that are learnt from.
        shown = tuple(r for r in given if not r.probe) or given
        self._rollouts = tuple(replace(r, audits=tuple(a for a in r.audits if a.similarities)) for r in shown)
        self._named = {(r.step, r.row): numbered(r, forks) for r in shown}
        self._given = settings or self._given
        recorded = recorded_targets(self._rollouts) is not None and any(r.audits for r in self._rollouts)
        self._showing = True
        with self.hold_sync():
            if settings is not None:
                objective = self._objective_given()
                for name in OBJECTIVE[1:]:
                    setattr(self, name, getattr(objective, name))
            self.targets_on_offer = [RECORDED, *TARGETS] if recorded else list(TARGETS)
            if settings is not None or self.target not in self.targets_on_offer:
                self.target = RECORDED if recorded else self._objective_given().target
            self._showing = False
            self._compare_texts()
            self.savings = [{**asdict(s), "price": str(s.price)} for s in savings(self._rollouts)]
            places = {(row["row"], row["start"]) for row in self.rows}
            if (self.selected_row, self.selected) not in places:
                first = self.rows[0] if self.rows else {"row": -1, "start": -1}
                self.selected_row, self.selected = first["row"], first["start"]

    def parts(self) -> LossBreakdown:
        """The loss taken apart, as it is on screen."""
        return self._ledger

    def quadrant(self, entropy: float, agreement: float) -> str:
        """What a fork is: the student unsure or sure, the teacher agreeing with itself or not."""
        if entropy >= self.split_entropy:
            return "real choice" if agreement >= self.split_agreement else "interchangeable wordings"
        return "settled" if agreement >= self.split_agreement else "student sure, teacher split"

    def summary(self) -> str:
        forks = len(self._ledger.forks)
        if not forks:
            return "no audits"
        return f"{forks} {'fork' if forks == 1 else 'forks'} of {len(self._rollouts)} rollouts, target {self.target}"

    def fallback(self) -> Sequence[SafeHTML]:
        if not self.rows:
            return [element("p", "No audits: ask the teacher about a fork first.")]
        totals = self.totals
        at_least = "at least " if totals["at_least"] else ""
        head = (
            f"Loss: forks {at_least}{not_zero(totals['chunk'])}, anchor {not_zero(totals['anchor'])} nats "
            f"(β = {self.anchor_weight:g} × KL on {totals['anchored_tokens']:,} tokens), "
            f"divided by {totals['normaliser']:g}. {self.note}"
        )
        headers = ["fork", "the student wrote", "weight", "tokens", "NLL", "loss", "KL", "share", "kind of fork"]
        several = len({row["row"] for row in self.rows}) > 1
        rows = [
            (
                f"answer {row['row']}, " * several + fork_short(row["nth"], row["start"], row["stop"]), row["text"],
                f"{row['weight']:+.3f}", row["tokens"],
                f"{row['nll']:.3f}", f"{'≥ ' if row['unknown'] else ''}{row['chunk']:+.3f}", not_zero(row["kl"]),
                f"{100 * row['share']:.1f} %", row["kind"],
            )
            for row in self.rows
        ]  # fmt: skip
        lines = [element("p", _saving_line(saving)) for saving in self.savings]
        return [element("p", head), *lines, *tables(headers, rows, 40)]

    @validate("target")
    def _known_target(self, proposal: Any) -> str:
        offered = self.targets_on_offer or [RECORDED, *TARGETS]
        if proposal["value"] not in offered:
            raise TraitError(f"target is {proposal['value']!r}: these records allow {', '.join(offered)}")
        return str(proposal["value"])

    @validate("similarity")
    def _known_similarity(self, proposal: Any) -> str:
        if proposal["value"] not in self.similarity_menu:
            known = ", ".join(self.similarity_menu)
            raise TraitError(f"similarity is {proposal['value']!r}: it must be one of {known}")
        return str(proposal["value"])

    @validate("concentration", "anchor_weight", "split_entropy", "split_agreement")
    def _not_negative(self, proposal: Any) -> float:
        if not 0 <= proposal["value"] <= 1e6:
            name = proposal["trait"].name
            raise TraitError(f"{name} is {proposal['value']}: it must lie between 0 and 1,000,000")
        return float(proposal["value"])

    @validate("depth")
    def _one_offset_at_least(self, proposal: Any) -> int:
        if proposal["value"] < 1:
            raise TraitError(
                f"tokens of labels (depth) are {proposal['value']}: the first one is the fork's own, so at least 1"
            )
        return int(proposal["value"])

    @observe(*OBJECTIVE, "split_entropy", "split_agreement")
    def _take_apart(self, _: Any = None) -> None:
        """The rows under the present settings, the largest share first."""
        if self._showing:
            return
        if not self._rollouts:
            self.rows, self.totals, self.note = [], {}, ""
            return
        objective = self._objective()
        made = self._ledger = break_down(self._rollouts, self._targets(objective), objective, self._normaliser())
        audits = [a for r in self._rollouts for a in r.audits]
        names = [self._named[r.step, r.row][a.start] for r in self._rollouts for a in r.audits]
        ends = [pencil.at_its_end(a, r) for r in self._rollouts for a in r.audits]
        parts = sorted(zip(made.forks, names, audits, ends, self._agreement, strict=True), key=lambda p: -p[0].size)
        size = made.size or 1.0
        with self.hold_sync():
            self.rows = [
                self._row(part, nth, audit, end.entropy, agreement, size) for part, nth, audit, end, agreement in parts
            ]
            self.totals = {
                "chunk": made.chunk_loss, "anchor": made.anchor_loss, "anchor_beside": made.anchor,
                "anchor_share": abs(made.anchor) / size, "anchored_tokens": made.anchored_tokens,
                "normaliser": made.normaliser, "at_least": not made.is_exact,
            }  # fmt: skip
            self.note = " ".join(self._notes(objective))

    @observe("similarity")
    def _compare_texts(self, _: Any = None) -> None:
        similarity = without_model()[self.similarity]
        # Texts of a run are the same but for their last tokens: those are compared.
        ends = [pencil.at_its_end(a, r) for r in self._rollouts for a in r.audits]
        self._agreement = [mean_self_agreement(a.texts, similarity) for a in ends]
        self._take_apart()

    def _targets(self, objective: ObjectiveConfig) -> list[ForkTarget]:
        if self.target == RECORDED:
            return recorded_targets(self._rollouts) or []
        return targets_of_records(self._rollouts, self.target, objective.concentration, objective.depth)

    def _row(
        self, part: ForkContribution, nth: Nth, audit: AuditRecord, entropy: float, agreement: float, size: float
    ) -> JsonObject:
        return to_json(
            {
                "row": part.row, "nth": nth, "start": part.start, "stop": part.stop,
                "tokens": part.tokens, "entropy": entropy,
                "agreement": agreement, "weight": part.weight, "label_mass": part.label_mass, "nll": part.nll,
                "quadrant": self.quadrant(entropy, agreement) if not math.isnan(agreement) else "",
                "chunk": part.chunk + part.labels, "unknown": part.label_mass_unknown > 0, "kl": part.kl,
                "anchor": part.anchor, "share": part.size / size, "kind": audit_kind(audit), "run": audit.run,
                "text": shorten(audit.chunk, LABEL_CHARACTERS),
            }
        )  # fmt: skip

    def _objective(self) -> ObjectiveConfig:
        """The run's objective with the settings on screen."""
        shown = {name: getattr(self, name) for name in OBJECTIVE if (name, getattr(self, name)) != ("target", RECORDED)}
        return replace(self._objective_given(), **shown)

    def _objective_given(self) -> ObjectiveConfig:
        given = self._given.objective if isinstance(self._given, Recipe) else self._given
        return given or ObjectiveConfig()

    def _normaliser(self) -> float:
        if isinstance(self._given, Recipe):
            return float(self._given.training.rollouts * self._given.normaliser_length)
        return 1.0

    def _notes(self, objective: ObjectiveConfig) -> list[str]:
        """What the numbers leave out, in sentences."""
        notes = []
        centred = self.target in TARGETS and TARGETS[self.target].centred
        if centred and len(self._rollouts) == 1:
            notes.append("Only one rollout is shown, so nothing is subtracted from its scores.")
        elif centred and isinstance(self._given, Recipe) and len(self._rollouts) < self._given.training.rollouts:
            notes.append(
                f"The baseline is of the {len(self._rollouts)} rollouts shown, not of the step's "
                f"{self._given.training.rollouts}."
            )
        if centred and objective.redraws:
            notes.append("The run's own baseline, the student's redraws, is in no record: “recorded” has its weights.")
        if self.target != RECORDED and objective.control != "none":
            notes.append(f"The run's control, {objective.control}, acts in “recorded” only.")
        if objective.continuation_weight > 0:
            notes.append("The additive continuation cross-entropy is in no record and not counted.")
        if not self._ledger.is_exact:
            notes.append(
                "Labels other than the student's own token count with the least they can cost (≥): their "
                "log-probabilities are in no record."
            )
        if not any(r.anchor_kl for r in self._rollouts):
            notes.append("The student has not moved yet, or nobody measured how far: the anchor costs nothing here.")
        if self._rollouts[0].probe:
            notes.append("These are probes: nothing was learnt from them; this is what they would have done.")
        return notes


def _saving_line(saving: dict[str, Any]) -> str:
    return f"{saving['setting']} {saving['now']} → {saving['smaller']} would save {saving['price']}; {saving['loses']}."
