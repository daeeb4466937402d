"""A recorded rollout, opened: the rollout view and the audit panel beneath it, at the same fork and the same text."""

from __future__ import annotations

from collections.abc import Sequence

from omniopd.records import RolloutRecord
from omniopd.runs.store import Run
from omniopd_widgets._parts.base import View
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.rollout_view import RolloutView


class RolloutDetail:
    """Shows one rollout after another in the same two views."""

    def __init__(self) -> None:
        self._views: tuple[RolloutView, AuditPanel] | None = None

    @property
    def rollout(self) -> RolloutView | None:
        """The view of the rollout opened last."""
        return self._views[0] if self._views else None

    def show(self, record: RolloutRecord | None, run: Run) -> Sequence[View]:
        """The views of the rollout, at its most interesting fork; none of None."""
        if record is None:
            return ()
        if self._views is None:
            rollout, panel = self._views = RolloutView(record, anchor_weight=_anchor_weight(run)), AuditPanel(record)
            rollout.observe(lambda _: _to_panel(rollout, panel), ["fork", "continuation"])
            panel.observe(lambda _: _to_rollout(panel, rollout), ["fork", "continuation"])
        else:
            rollout, panel = self._views
            rollout.show(record)
            panel.show(record)
        title = f"row {record.row} of step {record.step}"
        rollout.label, panel.label = f"rollout of {title}", f"audits of {title}"
        _to_panel(rollout, panel)
        return (rollout, panel) if record.audits else (rollout,)

    def close(self) -> None:
        for view in self._views or ():
            view.close()


def _to_panel(rollout: RolloutView, panel: AuditPanel) -> None:
    if 0 <= rollout.fork < len(rollout.forks) and panel.go_to(rollout.forks[rollout.fork]["start"]):
        panel.continuation = rollout.continuation


def _to_rollout(panel: AuditPanel, rollout: RolloutView) -> None:
    if 0 <= panel.fork < len(panel.audits):
        start = panel.audits[panel.fork].start
        places = [place for place, fork in enumerate(rollout.forks) if fork["start"] == start]
        if places:
            rollout.fork, rollout.continuation = places[0], panel.continuation


def _anchor_weight(run: Run) -> float | None:
    """β of the recipe that was run; None where the manifest does not say."""
    objective = run.manifest.recipe.get("objective")
    value = objective.get("anchor_weight") if isinstance(objective, dict) else None
    return float(value) if isinstance(value, (int, float)) else None
