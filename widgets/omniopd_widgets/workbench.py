"""The workbench: an answer, what the teacher would have written at a fork of it, and what the update makes of that, on
one screen; and then a run of it.

Views know records; this file alone loads models, through `omniopd.pipeline.session`, and does so in a thread of its
own, so that a click returns at once. A hosted teacher is asked only on a press of a priced button; a teacher that runs
here is asked as soon as a fork is opened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets as t

from omniopd.config import Recipe
from omniopd.costs.request import CostEstimate
from omniopd.errors import OmniOPDError
from omniopd.io.quiet import quiet_libraries
from omniopd.pipeline.session import Session
from omniopd.records import RolloutRecord
from omniopd_widgets._answer_views import SETTINGS, AnswerViews
from omniopd_widgets._parts import beside_buttons
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.changes import Changes
from omniopd_widgets._parts.fork_story import stories
from omniopd_widgets._parts.presets import presets
from omniopd_widgets._parts.safe import SafeHTML
from omniopd_widgets._parts.worker import Worker
from omniopd_widgets.audit_panel import AuditPanel
from omniopd_widgets.launcher import Launcher
from omniopd_widgets.posterior_plot import Order, PosteriorPlot
from omniopd_widgets.question_bar import QuestionBar
from omniopd_widgets.rollout_view import RolloutView
from omniopd_widgets.update_ledger import UpdateLedger


class Workbench(View):
    """One screen: prompt → rollout → forks → audit → posterior → update → "train with these settings" → launcher.

    Args:
        recipe: a recipe, its name or its file; its student, teacher and task are used.
        exploration: a session to use instead of one made from `recipe`; the launcher then gets no settings from here.
        runs: the folder where the launcher makes runs; None for no launcher.
        **settings: settings of the recipe, dots as two underscores (`teacher__model="anthropic/claude-haiku-4-5"`).

    `settings` are the recipe's that are shown, by dotted names: what every view shows and what Train launches.
    `selected` is the token and `continuation` the teacher's text that all views show. All three can be assigned, and
    linked (`ipywidgets.link`). `bar`, `rollout`, `panel`, `posterior`, `ledger` and `launcher` are the views; `wait()`
    lets a script wait until what was asked for is on the screen, `cancel()` ends it.
    """

    made_of = (QuestionBar, RolloutView, AuditPanel, PosteriorPlot, UpdateLedger, Launcher)

    parts = t.Dict().tag(sync=True)  # the views by name, as the page finds them
    stories: t.List[Any] = t.List().tag(sync=True)
    stale = t.Unicode("").tag(sync=True)  # why the answer is not one to the question on the bar
    tab = t.Unicode("fork").tag(sync=True)
    settings = t.Dict()
    selected = t.Int(-1)
    continuation = t.Int(-1)

    def __init__(
        self, recipe: Recipe | str = "embedded", exploration: Session | None = None, runs: str | None = "runs",
        problems: int = 50, **settings: Any,
    ) -> None:  # fmt: skip
        named = {name.replace("__", "."): value for name, value in settings.items()}
        self._named = named
        # What a run of its own can be made of: an exploration's student and task have no name to tell it.
        self._recipe = recipe if exploration is None and isinstance(recipe, str) else None
        quiet_libraries()
        self.session = exploration or Session(recipe, **named)
        self._problems = self.session.problems(problems)
        self._answered: tuple[Any, ...] = ()
        self._told: Recipe | None = None  # what the views show
        self._heard_at = 0.0
        self._turns, self._turning = 0, threading.Lock()  # changes of settings whose turn has not come
        values = self._values()
        self._changes = Changes(values)
        self.bar = QuestionBar(
            [p.messages[-1]["content"] for p in self._problems], settings=values,
            temperature=self.session.recipe.student.temperature, student=self.session.student.name,
            teacher=self.session.recipe.teacher.model,
        )  # fmt: skip
        self.bar.presets = presets(values)
        self._worker = Worker(self.bar, "workbench", after=self._settle)
        self._shown = shown = AnswerViews(self.session.recipe, self._turned)
        self.rollout, self.panel, self.posterior, self.ledger = shown.views
        self.launcher = Launcher("train", runs=runs) if runs is not None else None
        super().__init__(parts={name: view.model_id for name, view in self.inner_views.items()})
        self._connect()

    def _connect(self) -> None:
        ipywidgets.link((self.bar, "settings"), (self, "settings"))
        ipywidgets.link((self.rollout, "selected"), (self, "selected"))
        ipywidgets.link((self.rollout, "continuation"), (self, "continuation"))
        self.bar.observe(self._pressed, "pressed")
        self.bar.observe(self._take_settings, "settings")
        self.bar.observe(self._asked_otherwise, ["problem_index", "own_text", "seed", "temperature"])
        self.rollout.observe(lambda change: self._opened(change["new"]), "opened")
        self.rollout.observe(lambda change: self._priced(), "selected")
        self.posterior.price_with(self._quoted)
        self.posterior.on_pay(self._ordered)
        self.session.tell = self._heard

    def begin(self, seed: int = 0) -> Workbench:
        """The answer of this seed to the first problem, read by the teacher where that costs nothing; one behind an API
        waits for a press of its priced button."""
        self.bar.seed = seed
        self.answer()
        self.wait()
        if not self.bar.prices.get("ask_all", {"paid": True})["paid"]:
            self.ask_all()
        return self.wait()

    def answer(self) -> None:
        """Have the student answer the chosen problem."""
        question = self._question()
        _, own, seed, temperature = question
        asked = own or self._problems[self.bar.problem_index]

        def work() -> None:
            record = self.session.answer(asked, seed, temperature)
            self._answered = question
            self._show(record)

        self._worker.do("the student answers …", work)

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

    def cancel(self) -> None:
        """End what is going on; answers that had arrived are kept, and calls to a provider are given up."""
        self._worker.cancel()

    def undo(self) -> None:
        """The settings as they were before the last change."""
        self.settings = self._changes.undone()

    def wait(self, timeout_s: float = 120.0) -> Workbench:
        """Return when the last thing asked for is done; its error, if any, is in `bar.problem`."""
        self._worker.wait(timeout_s)
        return self

    def close(self) -> None:
        """Take everything off the page and end the thread."""
        self._worker.close(drop=True)
        self._worker.cancel()
        for view in self.inner_views.values():
            view.close()
        super().close()

    def save_html(self, path: str | Path, title: str = "") -> Path:
        """The answer with all that is known of it as one page (see `View.save_html`); its controls are left out."""
        asked = self.rollout.record.messages
        return super().save_html(path, title or (str(asked[-1]["content"]) if asked else ""))

    def summary(self) -> str:
        return self.bar.summary()

    def fallback_html(self) -> SafeHTML:
        """What its views leave behind where no kernel runs."""
        return SafeHTML("".join(view.fallback_html() for view in self.views))

    @property
    def views(self) -> tuple[View, ...]:
        """Those that show the answer, without the launcher."""
        return (self.bar, self.rollout, self.panel, self.posterior, self.ledger)

    @property
    def shared_views(self) -> dict[str, View]:
        """Without the launcher, which knows this machine's folders and the names of its keys."""
        return {name: view for name, view in self.inner_views.items() if name != "launcher"}

    @t.validate("settings")
    def _with_the_others(self, proposal: Any) -> dict[str, Any]:
        return {**self.settings, **proposal["value"]}

    @property
    def inner_views(self) -> dict[str, View]:
        """All views by name."""
        names = ("bar", "rollout", "panel", "posterior", "ledger")
        return {**dict(zip(names, self.views, strict=True)), **({"launcher": self.launcher} if self.launcher else {})}

    # ── what the user does ───────────────────────────────────────────────────────────────────────────────────────

    def _pressed(self, change: dict[str, Any]) -> None:
        act: dict[str, Callable[[], None]] = {
            "answer": self.answer, "ask": self.ask, "ask_all": self.ask_all, "use": self._use, "undo": self.undo,
            "cancel": self.cancel, "reset": self._reset, "share": self._share,
        }  # fmt: skip
        try:
            act.get(change["new"]["action"], lambda: None)()
        except OmniOPDError as error:
            self.bar.problem = str(error)

    def _opened(self, position: int) -> None:
        if position < 0:
            return
        self.rollout.opened = -1  # so that the same place can be opened again
        if self.session.rollout is None:
            return
        fork = self.session.fork_at(position)
        price = self.session.price([fork])
        if price.is_paid:
            self.bar.problem = ""
            self.bar.place = beside_buttons.to_pay(fork.start, fork.entropy, price)
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
            self._show(self.session.ask_everywhere(), self.rollout.selected)

        self._worker.do("the teacher continues at all forks …", work)

    def _take_settings(self, change: dict[str, Any]) -> None:
        self._changes.note(change["new"])
        self.bar.changes = self._changes.differences()
        if not self._shown.is_showing:
            with self._turning:
                self._turns += 1
            self._worker.do("comparing again …", self._apply, self._is_behind)

    def _is_behind(self) -> bool:
        """Whether the session has yet to take what stands on the bar; asked when its turn comes."""
        with self._turning:
            self._turns -= 1
        return self._wanted() != {}

    def _wanted(self) -> dict[str, Any]:
        now = self._values()
        return {name: value for name, value in self.bar.settings.items() if value != now.get(name)}

    def _apply(self) -> None:
        self.session.with_settings(**self._wanted())

    def _settle(self) -> None:
        """After any piece of work, be it refused or cancelled: the views show what the session has, and so does the
        bar, unless more was typed meanwhile."""
        if self.session.rollout is not None and self._told is not self.session.recipe:
            self._show(self.session.record(), self.rollout.selected)
        if self._turns == 0:
            self._show_settings(self._values())
            with self._shown.showing():
                self._shown.stand_as(self.session.recipe)

    def _values(self) -> dict[str, Any]:
        return {name: attrgetter(name)(self.session.recipe) for name in SETTINGS}

    def _use(self) -> None:
        if self.launcher is None or self._recipe is None:
            self.bar.problem = beside_buttons.NO_LAUNCHER if self.launcher is None else beside_buttons.NO_RECIPE
            return
        teacher = self.session.recipe.teacher.model
        changed = {str(d["name"]): self.settings[str(d["name"])] for d in self._changes.differences()}
        recipe = self.session.recipe
        whole = {"training.steps": recipe.training.steps, "evaluation.problems": recipe.evaluation.problems}
        self.launcher.use(
            {**whole, **self._named, "teacher.model": teacher, **changed}, self._recipe, instead_of=self.settings
        )
        self.tab = "runs"

    def _share(self) -> None:
        written = self.save_html(f"workbench-{time.strftime('%Y-%m-%dT%H-%M-%S')}.html")
        self.bar.place = f"written: {written}, beside this notebook; it needs no kernel and no network"

    def _reset(self) -> None:
        self.settings = dict(self._changes.recipe)

    def _heard(self, words: str) -> None:
        """How far what goes on is, a few times a second."""
        if self.bar.busy and time.monotonic() - self._heard_at > 0.2:
            self._heard_at = time.monotonic()
            self.bar.busy = f"{self.bar.busy.partition(' …')[0]} … {words}"

    def _turned(self, name: str, value: Any) -> None:
        self.settings = {**self.settings, name: value}

    def _question(self) -> tuple[Any, ...]:
        bar = self.bar
        return (bar.problem_index, bar.own_text, bar.seed, bar.temperature)

    def _asked_otherwise(self, _: Any = None) -> None:
        self.stale = beside_buttons.stale(self._question(), self._answered)

    # ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, record: RolloutRecord, at: int | None = None) -> None:
        self.bar.has_answer = True
        self.stories = stories(record, self.session.recipe)
        # Where a newer change waits for its turn, the views' controls stand as that says.
        self._shown.show(record, self.session.forks(), self.session.recipe, at, stand=self._turns == 0)
        self._told = self.session.recipe
        self._asked_otherwise()
        self._priced()

    def _show_settings(self, settings: dict[str, Any]) -> None:
        """On the bar, without taking them for typed ones."""
        with self._shown.showing():
            self.bar.settings = settings

    def _priced(self) -> None:
        """What each press would cost, on the bar."""
        explore = self.session
        prices: dict[str, dict[str, Any]] = {"answer": {"text": "local seconds", "paid": False}}
        if explore.rollout is not None and 0 <= self.rollout.selected < len(explore.rollout):
            here = explore.fork_at(self.rollout.selected)
            self.bar.place = beside_buttons.place(here.start, here.entropy, [fork.entropy for fork in explore.forks()])
            for action, price in (("ask", explore.price([here])), ("ask_all", explore.price_everywhere())):
                prices[action] = {"text": str(price), "paid": price.is_paid}
        prices["use"] = {"text": "free", "paid": False}
        self.bar.prices = prices


def _audit_settings(forks: int, samples: int, chunk_tokens: int) -> dict[str, Any]:
    return {"audit.forks": forks, "audit.samples": samples, "audit.chunk_tokens": chunk_tokens}
