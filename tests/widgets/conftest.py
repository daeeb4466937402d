"""A browser for the session, and views mounted in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from omniopd_widgets.run_browser import RunBrowser
from omniopd_widgets.training_monitor import TrainingMonitor
from tests.widgets import watched
from tests.widgets.harness import CHROMIUM, Mounted, Pages, launched


@pytest.fixture(scope="session")
def pages() -> Iterator[Pages]:
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with launched() as running:
        yield Pages(running)


@pytest.fixture
def mount(pages: Pages) -> Iterator[Callable[..., Mounted]]:
    """mount(view, theme="light") puts a view on a page of its own, or `on` another's; at the end, it was quiet."""
    with ExitStack() as stack:

        def place(view: Any, theme: str = "light", on: Mounted | None = None) -> Mounted:
            page, log = (on.page, on.log) if on is not None else stack.enter_context(pages.page(theme))
            return Mounted(page, log, view, page.evaluate("() => Object.keys(harness.models).length"))

        yield place


@pytest.fixture
def inert(pages: Pages) -> Iterator[Callable[..., Any]]:
    """inert(view) opens the view's fallback HTML as a page of its own; it, too, must be quiet at the end."""
    with ExitStack() as stack:

        def place(view: Any, theme: str = "light") -> Any:
            page, _ = stack.enter_context(pages.page(theme, html=str(view.fallback_html())))
            return page

        yield place


@pytest.fixture
def follow():
    """follow(run) is a monitor that looks as often as it may; closed at the end."""
    made = []

    def start(run, **traits):
        made.append(TrainingMonitor(run, interval_s=0.0, **traits))
        return made[-1]

    yield start
    for view in made:
        view.close()


@pytest.fixture(scope="module")
def over(tmp_path_factory):
    """A run of 40 steps that has finished, with probes, failures and evaluations."""
    return watched.finished(watched.with_steps(watched.run_in(tmp_path_factory.mktemp("runs"))))


@pytest.fixture
def browse():
    """browse(folder) is a browser; closed at the end."""
    made = []

    def start(folder, **more):
        made.append(RunBrowser(folder, **more))
        return made[-1]

    yield start
    for view in made:
        view.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run; one with another target and seed, as good; one that is better; one that was stopped early."""
    where = tmp_path_factory.mktemp("runs")
    for name, rise, seed, changed in (
        ("first", 0.1, 0, {}),
        ("as good", 0.1, 1, {"objective.target": "paper", "seed": 1}),
        ("better", 0.4, 0, {"training.learning_rate": 1e-3}),
    ):
        run = watched.with_steps(watched.run_in(where, name, **changed), seed=seed)
        for record in watched.evals(rise, seed=seed):
            run.append(record)
        run.set_status(state="finished", message="")
    watched.with_steps(watched.run_in(where, "early", state="stopped"), 1, 12)
    return where
