"""The forks of runs: filtered, sorted, grouped, labelled by hand, and opened in their answers.

    ForkExplorer("runs/embedded", where="entropy > 1 and agreement < .3")

All rows stay here; the page has one page of them. A thread reads what is not read yet, and what a run in progress adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Int, List, Unicode, observe

from omniopd.errors import ConfigError, RunError
from omniopd.records import AuditRecord, RolloutRecord
from omniopd.runs.fork_labels import LABELS
from omniopd.runs.fork_table import grouped, kept
from omniopd.runs.search import require_column
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import Run
from omniopd_widgets._parts.fork_source import ForkSource, counts_of, name_of
from omniopd_widgets._parts.polling_view import PollingView
from omniopd_widgets._parts.rollout_detail import RolloutDetail
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, shorten, table, tables, to_json
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.rollout_view import RolloutView

if TYPE_CHECKING:
    import pandas

PAGE, PAIRS, GROUPS = 100, 12, 60
_FIRST_S, _SLICE_S = 1.0, 0.5  # how long it reads before it shows what it has
_LONGEST, _INERT = 160, 12
_CUT = ("chunk", "teacher_text", "wrote", "writes", "problem", "note")
_SHOWN = (
    "run", "step", "rollout", "start", "stop", "scan", "kind", "entropy", "probability", "agreement", "posterior_mean",
    "wrote", "writes", "chunk", "teacher_text", "texts", "problem", "label", "note",
)  # fmt: skip


class ForkExplorer(PollingView):
    """The forks of a run, of several, or of all in a folder. What the user does is an assignment:

    `where` keeps the forks that an expression holds for (`mistake` says why it does not), `sort` and `descending` order
    them, `by` counts them by a column or by "pair"; `first` is the first row shown. `selected` names a fork: its answer
    opens beneath, `rollout` and `audit` are its records, `judgement` and `note` its label by hand. `labelled` gives a
    fork its label, {"fork": its name, "label": one of `labels`, "note": why}, which is written to its run.
    """

    made_of = (RolloutView, AuditPanel)
    rows: List[Any] = List().tag(sync=True)
    total = Int(0).tag(sync=True)
    matching = Int(0).tag(sync=True)
    runs = Int(0).tag(sync=True)
    reading = Bool(False).tag(sync=True)
    pairs: List[Any] = List().tag(sync=True)
    groups: List[Any] = List().tag(sync=True)
    labels: List[Any] = List(list(LABELS)).tag(sync=True)
    agreement: List[Any] = List().tag(sync=True)
    mistake = Unicode("").tag(sync=True)

    where = Unicode("").tag(sync=True)
    sort = Unicode("").tag(sync=True)
    descending = Bool(True).tag(sync=True)
    by = Unicode("").tag(sync=True)
    first = Int(0).tag(sync=True)
    selected = Unicode("").tag(sync=True)
    labelled = Dict().tag(sync=True)
    judgement = Unicode("").tag(sync=True)
    note = Unicode("").tag(sync=True)

    _activity = "reading"

    def __init__(
        self, runs: Run | str | Path | Iterable[Run | str | Path], interval_s: float = 1.0, **traits: Any
    ) -> None:
        self._detail = RolloutDetail()
        self._source = ForkSource(runs)
        self._found: pandas.DataFrame = self._source.table
        self.rollout: RolloutRecord | None = None
        self.audit: AuditRecord | None = None
        super().__init__(interval_s, **traits)
        self.runs = len(self._source.runs)
        self._poll(_FIRST_S)
        self._open()
        self.live = True

    @property
    def table(self) -> pandas.DataFrame:
        """The forks that match, in their order: the columns of `omniopd forks`."""
        return self._found

    def close(self) -> None:
        """Stop reading, and take the view and what is open beneath it off the page."""
        super().close()
        self._detail.close()

    def _poll(self, seconds: float = _SLICE_S) -> bool:
        with self._lock:
            changed, done = self._source.look(seconds)
            with self.hold_sync():
                self.reading = not done
                if changed:
                    self.total = len(self._source.table)
                    self.problem = shorten(" · ".join(self._source.problems), 800)
                    self.agreement = self._source.agreement() if done else self.agreement
                    self._filter()
            return not done or any(run.state in GOING_ON for run in self._source.runs.values())

    @observe("where", "sort", "descending", "by")
    def _on_question(self, _: Any) -> None:
        with self._lock, self.hold_sync():
            self.first = 0
            self._filter()

    @observe("first")
    def _on_first(self, _: Any) -> None:
        with self._lock:
            self._page()

    def _filter(self) -> None:
        """What matches, in order. A mistake is told, and what was found before stays."""
        try:
            found = kept(self._source.table, self.where)
            groups = grouped(found, self.by).head(GROUPS) if self.by else None
            if self.sort:
                column = require_column(found, self.sort)
                found = found.sort_values(column, ascending=not self.descending, kind="stable")
        except ConfigError as error:
            self.mistake = to_json(str(error))
            return
        self._found, self.mistake, self.matching = found, "", len(found)
        self.pairs = counts_of(grouped(found, "pair").head(PAIRS))
        self.groups = [] if groups is None else counts_of(groups)
        self._page()

    def _page(self) -> None:
        at = max(0, min(self.first, len(self._found) - 1))
        self.rows = [_row(row) for row in self._found.iloc[at : at + PAGE][list(_SHOWN)].to_dict("records")]

    @observe("selected")
    def _on_selected(self, _: Any) -> None:
        with self._lock:
            self._open()

    def _open(self) -> None:
        """The answer of the selected fork, at that fork."""
        number = self._source.number(self.selected) if self.selected else None
        run, self.rollout, self.audit = None, None, None
        if number is not None:
            try:
                run, self.rollout, self.audit = self._source.rollout(number)
            except RunError as error:
                self.problem = str(error)
        row = {} if number is None else self._source.row(number)
        with self.hold_sync():
            self.judgement, self.note = to_json(str(row.get("label", ""))), to_json(str(row.get("note", "")))
        if run is None or self.rollout is None:
            self._open_beneath()
            return
        self._open_beneath(*self._detail.show(self.rollout, run))
        view = self._detail.rollout
        places = [at for at, fork in enumerate(view.forks) if fork["start"] == row["start"]] if view is not None else []
        if view is not None and places:
            view.fork = places[0]

    @observe("labelled")
    def _on_labelled(self, change: Any) -> None:
        with self._lock:
            fork, label, note = (str(change["new"].get(name, "")) for name in ("fork", "label", "note"))
            number = self._source.number(fork)
            try:
                if number is None:
                    raise RunError(f"there is no fork {fork!r} here: its run has written its answers anew")
                self._source.give_label(number, label, note)
            except RunError as error:
                self.problem = str(error)
                return
            with self.hold_sync():
                if fork == self.selected:
                    self.judgement, self.note = to_json(label), to_json(note)
                self.agreement = self._source.agreement()
                self._filter()

    def summary(self) -> str:
        # No path: it would tell of a machine in every saved notebook.
        return f"{self.matching:,} of {self.total:,} forks of {self.runs} run{'s' * (self.runs != 1)}"

    def fallback(self) -> Sequence[SafeHTML]:
        heads = ("step", "answer", "tokens", "kind", "entropy", "agreement", "the student wrote", "the teacher, mostly")
        cells = [
            (r["step"], r["rollout"], r["start"] if r["stop"] - r["start"] < 2 else f"{r['start']}–{r['stop'] - 1}",
             r["kind"], _short(r["entropy"]), _short(r["agreement"]), r["chunk"][:100],
             (r["teacher_text"] or r["problem"])[:100])
            for r in self.rows[:_INERT]
        ]  # fmt: skip
        where = [element("p", f"where {self.where}")] if self.where else []
        pairs = [(p["wrote"], p["writes"], p["forks"]) for p in self.pairs[:6]]
        disagree = [table(("the student", "the teacher", "forks"), pairs, "Where they differ")] if pairs else []
        return [*where, *tables(heads, cells, 4), *disagree]


def _row(row: dict[Any, Any]) -> JsonObject:
    texts = {name: shorten(row[name], _LONGEST) for name in _CUT}
    return to_json({**row, **texts, "run": Path(row["run"]).name, "id": name_of(row)})


def _short(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"
