"""A run, watched: its curves, what it costs, the rollouts of its recorded steps, one prompt's forks through training.

    TrainingMonitor("runs/2026-11-23T06-00-00_embedded")

Reads the run's directory, and needs no one's permission: the run may go on in this process, in another one, or be over
for a week. A daemon thread looks at most ten times a second and ends with the run, or with the view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from traitlets import Bool, Bytes, Dict, Int, List, Unicode, observe

from omniopd.errors import DataError, RunError
from omniopd.io.units import duration
from omniopd.records import EvalRecord, RolloutRecord, StepRecord
from omniopd.runs.following import Follower, Update
from omniopd.runs.store import MANIFEST, Run
from omniopd_widgets._parts import curves, history
from omniopd_widgets._parts.polling_view import PollingView
from omniopd_widgets._parts.rollout_detail import RolloutDetail
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, shorten, table, to_json
from omniopd_widgets._parts.static_html import curves_text
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.rollout_view import RolloutView

_RECENT = 20  # steps whose mean says how long one takes
_PROBLEMS = 20


class TrainingMonitor(PollingView):
    """Follows the run in a directory.

    Assign `step` to see a recorded step's rollouts (`newest` lets it go with the run), `selected` to open the rollout
    of that row beneath, `pointed` to do both, `prompt` to follow one prompt (its id) through training, `smoothing` for
    curves that are means of so many steps, `live` to look again or no longer. `steps`, `evals` and `rollout` hold the
    records themselves.
    """

    made_of = (RolloutView, AuditPanel)
    name = Unicode("").tag(sync=True)
    status = Dict().tag(sync=True)
    panels: List[Any] = List().tag(sync=True)
    data = Bytes(b"").tag(sync=True)
    smoothing = Int(1, min=1).tag(sync=True)
    findings: List[Any] = List().tag(sync=True)
    failures: List[Any] = List().tag(sync=True)
    recorded: List[Any] = List().tag(sync=True)
    step = Int(-1).tag(sync=True)
    newest = Bool(True).tag(sync=True)
    rows: List[Any] = List().tag(sync=True)
    hidden_rows = Int(0).tag(sync=True)
    selected = Int(-1).tag(sync=True)
    # Step and row in one: sent as two, the step would close the row that is open already.
    pointed = Dict({"step": -1, "row": -1, "count": 0}).tag(sync=True)
    prompts: List[Any] = List().tag(sync=True)
    prompt = Unicode("").tag(sync=True)
    forks = Dict().tag(sync=True)
    _activity = "following"

    def __init__(self, run: Run | str | Path, interval_s: float = 0.25, **traits: Any) -> None:
        self.opened = RolloutDetail()
        self._follower = Follower(run)
        self._history = history.History(self._follower.run)
        self._shown: tuple[int, list[RolloutRecord]] = (-1, [])
        self._evals_found = -1
        super().__init__(interval_s, **traits)
        self.name = to_json(self.run.manifest.name or self.run.path.name)
        # A run that is over is whole at once: what a notebook shows of it does not hang on a thread.
        self.live = self._poll() and (not self.status["over"] or self._poll())

    @property
    def run(self) -> Run:
        return self._follower.run

    @property
    def steps(self) -> list[StepRecord]:
        """The step records that count so far."""
        return self._follower.steps

    @property
    def evals(self) -> list[EvalRecord]:
        """The evaluations that count so far."""
        return self._follower.evals

    @property
    def rollout(self) -> RolloutRecord | None:
        """The selected rollout of the step shown."""
        return next((record for record in self._shown[1] if record.row == self.selected), None)

    def close(self) -> None:
        """Stop following and take the view off the page."""
        super().close()
        self.opened.close()

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────

    def _poll(self) -> bool:
        """Read the run once; returns whether it is worth reading again."""
        with self._lock:
            update = self._follower.look()
            if update.status is None and not (self.run.path / MANIFEST).exists():
                self.problem = f"{self.run.path} is gone: it was moved or removed while it was being watched"
                return False
            changed, complete = self._history.read()
            with self.hold_sync():
                self._show(update, changed)
            going_on = not (update.is_over and complete and not update.steps and not update.evals)
            if not going_on:
                self.live = False
            return going_on

    def _show(self, update: Update, rollouts_changed: bool) -> None:
        if update.steps or update.evals or update.restarted or not self.status:
            self._show_curves()
            self.failures = curves.failures(self.steps)
        if len(self.evals) != self._evals_found:
            self._evals_found = len(self.evals)
            self.findings = _findings(self.evals, self.run.test_split)
        self.status = _status(update, self.steps)
        problems = [*update.problems, *self._history.problems.values()]
        if problems:
            self.problem = shorten("\n".join(dict.fromkeys([*self.problem.splitlines(), *problems][:_PROBLEMS])), 2_000)
        if rollouts_changed:
            self._show_recorded()

    @observe("smoothing")
    def _show_curves(self, _: Any = None) -> None:
        with self._lock, self.hold_sync():
            self.panels, self.data = curves.packed(curves.panels(self.steps, self.evals), self.smoothing)

    def _show_recorded(self) -> None:
        recorded, before = self._history.steps, self.step
        self.recorded = recorded
        self.prompts = self._history.prompts()
        if recorded and (self.newest or before not in recorded):
            self.step = recorded[-1]
        elif not recorded:
            self.step = -1
        if self.step == before:
            self._show_rows()  # the same step may have been rewritten
        if self.prompts and self.prompt not in {p["key"] for p in self.prompts}:
            self.prompt = str(self.prompts[0]["key"])
        else:
            self._show_forks()

    # ── one step, one rollout, one prompt ────────────────────────────────────────────────────────────────────────

    @observe("step")
    def _on_step(self, change: Any) -> None:
        with self._lock:
            if self.recorded and change["new"] != self.recorded[-1]:
                self.newest = False
            self.selected = -1
            self._show_rows()

    @observe("newest")
    def _on_newest(self, change: Any) -> None:
        if change["new"] and self.recorded:
            self.step = self.recorded[-1]

    @observe("selected")
    def _on_selected(self, change: Any) -> None:
        with self._lock:
            if change["new"] >= 0:
                self.newest = False  # the run would take away what is being read
            self._open_beneath(*self.opened.show(self.rollout, self.run))

    @observe("pointed")
    def _on_pointed(self, change: Any) -> None:
        with self._lock:
            self.step = change["new"]["step"]
            self.selected = change["new"]["row"]

    @observe("prompt")
    def _on_prompt(self, change: Any) -> None:
        with self._lock:
            self._show_forks()

    def _show_rows(self) -> None:
        records: list[RolloutRecord] = []
        if self.step in self.recorded:
            try:
                records = self._history.rollouts(self.step)
            except RunError as error:
                self.problem = str(error)
        self._shown = (self.step, records)
        self.rows = history.rows(records)
        self.hidden_rows = len(records) - len(self.rows)

    def _show_forks(self) -> None:
        records = self._history.of_prompt(self.prompt) if self.prompt else []
        self.forks = history.through_training(records) if records else {}

    # ── where no kernel runs ─────────────────────────────────────────────────────────────────────────────────────

    def summary(self) -> str:
        state, step, steps = (self.status.get(name) for name in ("state", "step", "steps"))
        return f"{shorten(self.name, 60)}: {state}, step {step} of {steps}"

    def fallback(self) -> Sequence[SafeHTML]:
        parts = [element("p", self.status.get("words", ""))]
        parts += [element("p", sentence) for sentence in self.findings]
        parts.append(curves_text(curves.panels(self.steps, self.evals)))
        if self.failures:
            cells = [(f["reason"], f["count"], f["last"]) for f in self.failures]
            parts.append(table(("fork without an answer", "times", "last at step"), cells, limit=120))
        if self.rows:
            heads = ("row", "question", "answer", "tokens", "forks")
            rows = [[row[name] for name in heads] for row in self.rows[:20]]
            parts.append(table(heads, rows, f"Rollouts of step {self.step}"))
        return parts


def _status(update: Update, steps: Sequence[StepRecord]) -> JsonObject:
    """Where the run stands, in words and numbers."""
    status = update.status
    step, planned = (status.step, status.steps) if status else (0, 0)
    recent = [r.metrics["step_time"] for r in steps[-_RECENT:] if "step_time" in r.metrics]
    pace = sum(recent) / len(recent) if recent else None
    left = pace * (planned - step) if pace is not None and not update.is_over and step < planned else None
    words = [update.state or "no status", f"step {step} of {planned}"]
    if pace is not None:
        words.append(f"{duration(pace)} a step")
    if left is not None:
        words.append(f"about {duration(left)} left")
    if status and status.message:
        words.append(shorten(status.message, 300))
    return to_json(
        {
            "state": update.state, "step": step, "steps": planned, "words": " · ".join(words),
            "updated": status.updated if status else "", "over": update.is_over,
            "cost_usd": sum(r.cost_usd for r in steps), "read": sum(r.input_tokens for r in steps),
            "written": sum(r.output_tokens for r in steps), "unanswered": sum(sum(r.failures.values()) for r in steps),
        }
    )  # fmt: skip


def _findings(evals: Sequence[EvalRecord], split: str) -> list[str]:
    """Whether the student got better or only sharper, on the split's problems: differences with their intervals, in
    sentences."""
    if len({record.step for record in evals if record.model == "student"}) < 2:
        return []
    from omniopd.evaluation.tables import findings, report_rows

    rows = report_rows(evals, split)
    return [to_json(shorten(sentence, 400)) for sentence in [*_sharper(rows), *findings(rows)]]


def _sharper(rows: Mapping[str, Sequence[EvalRecord]]) -> list[str]:
    """Whether a gain at temperature 1 is more than less random sampling, as far as the intervals show it."""
    from omniopd.evaluation.compare import best_temperature, paired_difference, shows
    from omniopd.evaluation.tables import AFTER, BEFORE

    before, after = rows.get(BEFORE, []), rows.get(AFTER, [])
    hot = [[record for record in records if record.temperature == 1] for records in (after, before)]
    if not all(hot):
        return []
    try:
        at_best = paired_difference(best_temperature(after), best_temperature(before))
        at_one = paired_difference(hot[0][0], hot[1][0])
    except DataError:
        return []
    if shows(at_best) == "better":
        return ["Only sharper? No: there are more right answers at the best temperature too."]
    if shows(at_one) == "better":
        return ["Only sharper? Nothing more is shown: the gain at temperature 1 is none at the best temperature."]
    return []
