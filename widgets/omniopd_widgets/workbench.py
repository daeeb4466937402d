"""The workbench: a problem, the student's answer, its forks, an audit, the posterior, the loss; and then a run of it.

Views know records; this file alone loads models, through `omniopd.pipeline.session`, and does so in a thread of its
own, so that a click returns at once. A hosted teacher is asked only on a press of a priced
button; a teacher that runs here is asked as soon as a fork is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import ipywidgets

from omniopd.config import Recipe, load_recipe
from omniopd.costs.request import CostEstimate
from omniopd.errors import OmniOPDError
from omniopd.pipeline.session import Session
from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.pencil import place_of
from omniopd_widgets._parts.worker import Worker
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.launcher import Launcher
from omniopd_widgets.posterior_plot import Order, PosteriorPlot
from omniopd_widgets.question_bar import QuestionBar
from omniopd_widgets.rollout_view import RolloutView
from omniopd_widgets.update_ledger import UpdateLedger

SHOWN_SETTINGS = (
    "audit.way", "audit.forks", "audit.chunk_tokens", "audit.samples", "audit.at_once", "audit.scheduler",
    "audit.similarity", "objective.target",
)  # fmt: skip
# The recipe of labels audits single tokens, which train well and read badly.
READABLE = {"audit.forks": 4, "audit.chunk_tokens": 6, "audit.similarity": "characters", "objective.target": "paper"}


class Workbench(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """One screen: prompt → rollout → forks → audit → posterior → "train with these settings" → launcher.

    Args:
        recipe: a recipe, its name or its file; its student, teacher and task are used.
        exploration: a session to use instead of one made from `recipe`; the launcher then gets no settings from here.
        runs: the folder where the launcher makes runs; None for no launcher.
        **settings: settings of the recipe, dots as two underscores (`teacher__model="anthropic/claude-haiku-4-5"`).

    `bar`, `rollout`, `panel`, `posterior`, `ledger` and `launcher` are the views; `wait()` lets a script wait until
    what was asked for is on the screen.
    """

    def __init__(
        self,
        recipe: Recipe | str = "embedded",
        exploration: Session | None = None,
        runs: str | None = "runs",
        problems: int = 50,
        **settings: Any,
    ) -> None:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        self._named = named
        # What a run of its own can be made of: an exploration's student and task have no name to tell it.
        self._recipe = recipe if exploration is None and isinstance(recipe, str) else None
        start = READABLE if recipe == "labels" and load_recipe(recipe, **named).audit.way != "scan" else {}
        self.session = exploration or Session(recipe, **{**start, **named})
        self._problems = self.session.problems(problems)
        self._showing = False
        self.bar = QuestionBar(
            [p.messages[-1]["content"] for p in self._problems],
            settings={name: attrgetter(name)(self.session.recipe) for name in SHOWN_SETTINGS},
            temperature=self.session.recipe.student.temperature,
            student=self.session.student.name,
            teacher=self.session.recipe.teacher.model,
        )
        self._worker = Worker(self.bar, "workbench")
        self.rollout = RolloutView(_EMPTY, anchor_weight=self.session.recipe.objective.anchor_weight)
        self.panel = AuditPanel(_EMPTY)
        self.posterior = PosteriorPlot()
        self.ledger = UpdateLedger((), self.session.recipe)
        self.launcher = Launcher("train", runs=runs) if runs is not None else None
        self._below = ipywidgets.VBox([])
        super().__init__([self.bar, self.rollout, self._below, *([self.launcher] if self.launcher else [])])
        self.bar.observe(self._pressed, "pressed")
        self.bar.observe(self._settings_changed, "settings")
        self.rollout.observe(lambda change: self._opened(change["new"]), "opened")
        self.rollout.observe(lambda change: self._selected(change["new"]), "selected")
        self.posterior.price_with(self._quoted)
        self.posterior.on_pay(self._ordered)
        self.posterior.observe(lambda change: self._select(change["new"]), "selected")
        self.ledger.observe(lambda change: self._select(change["new"]), "selected")
        self.panel.observe(lambda change: self._select(self._panel_start()), "fork")
        ipywidgets.link((self.rollout, "continuation"), (self.panel, "continuation"))

    def answer(self) -> None:
        """Have the student answer the chosen problem."""
        bar = self.bar
        asked = bar.own_text or self._problems[bar.problem_index]
        seed, temperature = bar.seed, bar.temperature
        self._worker.do("the student answers …", lambda: self._show(self.session.answer(asked, seed, temperature)))

    def ask(self, position: int | None = None) -> None:
        """Ask the teacher at a token (the selected one by default)."""
        at = self.rollout.selected if position is None else position

        def work() -> None:
            self._show(self.session.ask([self.session.fork_at(at)]), at)

        self._worker.do(f"the teacher continues at token {at} …", work)

    def ask_all(self) -> None:
        """Ask the teacher about the answer as training would: at every fork, or in a scan."""

        def work() -> None:
            self._show(self.session.ask_everywhere(), self.rollout.selected)
            if scans:
                self.rollout.open_main_fork()

        scans = self.session.recipe.audit.way == "scan"
        self._worker.do("the teacher reads the answer …" if scans else "the teacher continues at all forks …", work)

    def wait(self, timeout_s: float = 120.0) -> Workbench:
        """Return when the last thing asked for is done; its error, if any, is in `bar.problem`."""
        self._worker.wait(timeout_s)
        return self

    def close(self) -> None:
        """Take everything off the page and end the thread."""
        self._worker.close(drop=True)
        for view in (*self.views, *([self.launcher] if self.launcher else [])):
            view.close()
        super().close()

    def __repr__(self) -> str:
        return f"Workbench({self.bar.summary()})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The box, with a fixed repr, and with what its views leave behind where no kernel runs."""
        data: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        html = "".join(str(view.fallback_html()) for view in self.views)
        return data | {"text/plain": repr(self), "text/html": html}

    @property
    def views(self) -> tuple[View, ...]:
        return (self.bar, self.rollout, self.panel, self.posterior, self.ledger)

    # ── what the user does ───────────────────────────────────────────────────────────────────────────────────────

    def _pressed(self, change: dict[str, Any]) -> None:
        act: dict[str, Callable[[], None]] = {
            "answer": self.answer, "ask": self.ask, "ask_all": self.ask_all, "use": self._use,
        }  # fmt: skip
        act.get(change["new"]["action"], lambda: None)()

    def _opened(self, position: int) -> None:
        if position < 0:
            return
        self.rollout.opened = -1  # so that the same place can be opened again
        if self.session.rollout is None:
            return
        price = self.session.price([self.session.fork_at(position)])
        if price.is_paid:
            self.bar.problem = ""
            self.bar.place = f"token {position}: press “Ask the teacher here” to pay {price}"
        else:
            self.ask(position)

    def _quoted(self, forks: int, samples: int, chunk_tokens: int) -> CostEstimate:
        if self.session.rollout is None:
            return CostEstimate(0, 0)
        return self.session.price_with(**_audit_settings(forks, samples, chunk_tokens))

    def _ordered(self, order: Order) -> None:
        """More texts, more forks or other chunks, priced in the posterior plot and paid for there with Enter."""
        wanted = _audit_settings(order.forks, order.samples, order.chunk_tokens)

        def work() -> None:
            # One piece of work: settings that are refused must not be paid for as the old ones.
            self.session.with_settings(**wanted)
            self._show_settings({**self.bar.settings, **wanted})
            self._show(self.session.record(), self.rollout.selected)
            self._show(self.session.ask_everywhere(), self.rollout.selected)

        self._worker.do("the teacher continues at all forks …", work)

    def _settings_changed(self, change: dict[str, Any]) -> None:
        changed = {name: value for name, value in change["new"].items() if value != change["old"].get(name)}

        def work() -> None:
            try:
                self.session.with_settings(**changed)
            except OmniOPDError:
                self._show_settings(change["old"])
                raise
            if self.session.rollout is not None:
                self._show(self.session.record(), self.rollout.selected)

        if changed and not self._showing:
            self._worker.do("comparing again …", work)

    def _use(self) -> None:
        if self.launcher is None:
            self.bar.problem = 'this workbench has no launcher: make it with runs="runs"'
            return
        if self._recipe is None:
            self.bar.problem = (
                "this workbench was made of an exploration=, whose student, teacher and task a launched run cannot be "
                "told: make it of a recipe, by its name or file, to train with these settings"
            )
            return
        teacher = self.session.recipe.teacher.model
        self.launcher.use({**self._named, "teacher.model": teacher, **self.bar.settings}, recipe=self._recipe)

    def _selected(self, position: int) -> None:
        """The views below follow the token that is selected in the answer."""
        self._priced()
        holding = [a for a in self.rollout.record.audits if a.start <= position < a.stop]
        if holding:
            self._follow(holding[0])

    def _select(self, start: int) -> None:
        """A view below was pointed at another fork: the answer goes there, and with it the others."""
        at = self.rollout.selected
        # A token inside the chunk is where the views below follow it to: it keeps its place.
        if any(a.start == start and a.start <= at < a.stop for a in self.rollout.record.audits):
            return
        if not self._showing and start >= 0 and at != start:
            self.rollout.selected = start

    def _follow(self, audit: AuditRecord) -> None:
        self.panel.go_to(audit.start)
        for view, start in ((self.posterior, place_of(audit)), (self.ledger, audit.start)):
            if view.selected != start:
                view.selected = start

    def _panel_start(self) -> int:
        audits = self.panel.audits
        return audits[self.panel.fork].start if 0 <= self.panel.fork < len(audits) else -1

    # ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, record: RolloutRecord, at: int | None = None) -> None:
        self._showing = True
        try:
            self.rollout.show(record, forks=self.session.forks())
            if at is not None and at >= 0:
                self.rollout.selected = at
            self.bar.has_answer = True
            self.panel.show(record)
            self.posterior.show(record)
            self.ledger.show(record, self.session.recipe)
        finally:
            self._showing = False
        self._below.children = (self.panel, self.posterior, self.ledger) if record.audits else ()
        self._selected(self.rollout.selected)

    def _show_settings(self, settings: dict[str, Any]) -> None:
        """On the bar, without taking them for typed ones."""
        self._showing = True
        try:
            self.bar.settings = settings
        finally:
            self._showing = False

    def _priced(self) -> None:
        """What each press would cost, on the bar."""
        explore = self.session
        prices: dict[str, dict[str, Any]] = {"answer": {"text": "local seconds", "paid": False}}
        if explore.rollout is not None and 0 <= self.rollout.selected < len(explore.rollout):
            here = explore.fork_at(self.rollout.selected)
            self.bar.place = f"at token {here.start}"
            for action, price in (("ask", explore.price([here])), ("ask_all", explore.price_everywhere())):
                prices[action] = {"text": str(price), "paid": price.is_paid}
        prices["use"] = {"text": "free", "paid": False}
        self.bar.prices = prices


def _audit_settings(forks: int, samples: int, chunk_tokens: int) -> dict[str, Any]:
    return {"audit.forks": forks, "audit.samples": samples, "audit.chunk_tokens": chunk_tokens}


_EMPTY = RolloutRecord(0, 0, "", (), (), (), ())
