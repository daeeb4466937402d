"""A recorded rollout, opened: the rollout view and the audit panel beneath it, at the same fork and the same text."""

from __future__ import annotations

from typing import Any

import ipywidgets

from omniopd.records import RolloutRecord
from omniopd.runs.store import Run
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.rollout_view import RolloutView


class RolloutDetail:
    """Shows one rollout after another in the same two views; `box` holds them while one is shown."""

    def __init__(self) -> None:
        self.box = ipywidgets.VBox()
        self.rollout: RolloutView | None = None
        self.audits: AuditPanel | None = None

    def show(self, record: RolloutRecord | None, run: Run) -> None:
        """The rollout, at its most interesting fork; None takes it off the page."""
        if record is None:
            self.box.children = ()
            return
        title = f"row {record.row} of step {record.step}"
        if self.rollout is None or self.audits is None:
            self.rollout = RolloutView(record, anchor_weight=_anchor_weight(run), label=f"rollout of {title}")
            self.audits = AuditPanel(record, label=f"audits of {title}")
            self.rollout.observe(self._to_panel, ["fork", "continuation"])
            self.audits.observe(self._to_rollout, ["fork", "continuation"])
        else:
            self.rollout.show(record)
            self.audits.show(record)
            self.rollout.label, self.audits.label = f"rollout of {title}", f"audits of {title}"
        self._to_panel(None)
        self.box.children = (self.rollout, self.audits) if record.audits else (self.rollout,)

    def close(self) -> None:
        for widget in (self.rollout, self.audits, self.box):
            if widget is not None:
                widget.close()

    def _to_panel(self, _: Any) -> None:
        fork = self.rollout.forks[self.rollout.fork] if 0 <= self.rollout.fork < len(self.rollout.forks) else None
        if fork is not None and self.audits.go_to(fork["start"]):
            self.audits.continuation = self.rollout.continuation

    def _to_rollout(self, _: Any) -> None:
        if 0 <= self.audits.fork < len(self.audits.audits):
            start = self.audits.audits[self.audits.fork].start
            places = [place for place, fork in enumerate(self.rollout.forks) if fork["start"] == start]
            if places:
                self.rollout.fork = places[0]
                self.rollout.continuation = self.audits.continuation


def _anchor_weight(run: Run) -> float | None:
    """β of the recipe that was run; None where the manifest does not say."""
    objective = run.manifest.recipe.get("objective")
    value = objective.get("anchor_weight") if isinstance(objective, dict) else None
    return float(value) if isinstance(value, (int, float)) else None
