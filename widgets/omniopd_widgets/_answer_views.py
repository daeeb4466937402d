"""The views of one answer: one selection and one set of settings behind all four of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets

from omniopd.config import Recipe
from omniopd.records import RolloutRecord
from omniopd_widgets._parts.pencil import place_of
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.posterior_plot import RECORDED, PosteriorPlot
from omniopd_widgets.rollout_view import RolloutView
from omniopd_widgets.update_ledger import OBJECTIVE, UpdateLedger

# Of the recipe, by dotted names: what the views show and Train launches.
SETTINGS = (
    "audit.way", "audit.forks", "audit.chunk_tokens", "audit.samples", "audit.at_once", "audit.scheduler",
    "audit.similarity", *(f"objective.{name}" for name in OBJECTIVE),
)  # fmt: skip
_EMPTY = RolloutRecord(0, 0, "", (), (), (), ())


class AnswerViews:
    """`turned(name, value)` hears of a setting of the recipe that somebody turns in one of the views.

    What changes in the views in a thread that is `showing` is not taken for what a user did.
    """

    def __init__(self, recipe: Recipe, turned: Callable[[str, Any], None]) -> None:
        self.rollout = RolloutView(_EMPTY, anchor_weight=recipe.objective.anchor_weight)
        self.panel = AuditPanel(_EMPTY)
        self.posterior = PosteriorPlot()
        self.ledger = UpdateLedger((), recipe)
        self.views = self.rollout, self.panel, self.posterior, self.ledger
        self._showing: int | None = None
        self._turned = turned
        ipywidgets.link((self.rollout, "continuation"), (self.panel, "continuation"))
        self.rollout.observe(self._follow, "selected")
        self.posterior.observe(lambda change: self._go_to(change["new"]), "selected")
        self.ledger.observe(lambda change: self._go_to(change["new"]), "selected")
        self.panel.observe(lambda change: self._go_to(self._panel_start()), "fork")
        # A setting that a view lets one turn is the one setting: the others follow.
        for view, names in (
            (self.posterior, {"concentration": "objective.concentration", "similarity": "audit.similarity"}),
            (self.panel, {"similarity": "audit.similarity"}),
            (self.ledger, {"similarity": "audit.similarity", **{name: f"objective.{name}" for name in OBJECTIVE}}),
        ):
            view.observe(lambda change, names=names: self._turn(names[change["name"]], change["new"]), list(names))

    def show(
        self, record: RolloutRecord, forks: Sequence[Any], recipe: Recipe, at: int | None, stand: bool = True
    ) -> None:
        """Another record, or the same under other settings; `at` is the token to select. With `stand`, the views' own
        controls go where the settings are."""
        with self.showing():
            self.rollout.show(record, forks=forks)
            if at is not None and at >= 0:
                self.rollout.selected = at
            self.panel.show(record, forks)
            self.posterior.show(record, forks=forks)
            self.ledger.show(record, recipe, forks)
            if stand:
                self.stand_as(recipe)
        self._follow()

    @contextmanager
    def showing(self) -> Iterator[None]:
        before, self._showing = self._showing, threading.get_ident()
        try:
            yield
        finally:
            self._showing = before

    @property
    def is_showing(self) -> bool:
        """Whether this very thread does: beside it the user goes on."""
        return self._showing == threading.get_ident()

    def stand_as(self, recipe: Recipe) -> None:
        """The views' own controls go where the settings are."""
        self.posterior.concentration = recipe.objective.concentration
        self.ledger.target = recipe.objective.target
        self.rollout.anchor_weight = recipe.objective.anchor_weight
        # Of one that only a model can compute there are the recorded values, and none of texts with each other.
        for view, names, instead in (
            (self.panel, [name for name, _ in self.panel.names], RECORDED),
            (self.posterior, [one["name"] for one in self.posterior.similarity_names], RECORDED),
            (self.ledger, self.ledger.similarity_menu, "characters"),
        ):
            view.similarity = recipe.audit.similarity if recipe.audit.similarity in names else instead

    def _turn(self, name: str, value: Any) -> None:
        if not self.is_showing and value != RECORDED:
            self._turned(name, value)

    def _follow(self, _: Any = None) -> None:
        """The other views follow the token that is selected in the answer."""
        at = self.rollout.selected
        for audit in self.rollout.record.audits:
            if audit.start <= at < audit.stop:
                self.panel.go_to(audit.start)
                for view, start in ((self.posterior, place_of(audit)), (self.ledger, audit.start)):
                    if view.selected != start:
                        view.selected = start
                return

    def _go_to(self, start: int) -> None:
        """A view was pointed at another fork: the answer goes there, and with it the others."""
        at = self.rollout.selected
        # A token inside the chunk is where the views follow it to: it keeps its place.
        if any(a.start == start and a.start <= at < a.stop for a in self.rollout.record.audits):
            return
        if not self.is_showing and start >= 0 and at != start:
            self.rollout.selected = start

    def _panel_start(self) -> int:
        audits = self.panel.audits
        return audits[self.panel.fork].start if 0 <= self.panel.fork < len(audits) else -1
