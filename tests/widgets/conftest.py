"""A browser for the session, and views mounted in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.widgets.harness import CHROMIUM, Mounted, launched, page_of


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with launched() as running:
        yield running


@pytest.fixture
def mount(browser: Browser) -> Iterator[Callable[..., Mounted]]:
    """mount(view, theme="light") puts a view on a page of its own; at the end, the pages were quiet."""
    open_pages: list[Any] = []

    def place(view: Any, theme: str = "light", on: Mounted | None = None) -> Mounted:
        if on is None:
            context = page_of(browser, theme)
            page, log = context.__enter__()
            open_pages.append((context, log))
        else:
            page, log = on.page, on.log
        return Mounted(page, log, view, page.evaluate("() => Object.keys(harness.models).length"))

    yield place
    try:
        for _, log in open_pages:
            log.assert_quiet()
    finally:
        for context, _ in open_pages:
            context.__exit__(None, None, None)


@pytest.fixture
def inert(browser: Browser) -> Iterator[Callable[..., Any]]:
    """inert(view) opens the view's fallback HTML as a page of its own; it, too, must be quiet at the end."""
    open_pages: list[Any] = []

    def place(view: Any, theme: str = "light") -> Any:
        context = page_of(browser, theme, html=str(view.fallback_html()))
        page, log = context.__enter__()
        open_pages.append((context, log))
        return page

    yield place
    try:
        for _, log in open_pages:
            log.assert_quiet()
    finally:
        for context, _ in open_pages:
            context.__exit__(None, None, None)
