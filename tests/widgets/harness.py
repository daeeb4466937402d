"""A view in a real browser without Jupyter: its own script and style, a model fed from the Python object's traits.

    mounted = mount(RolloutView(record))       # the `mount` fixture of conftest.py
    mounted.press("n")                         # a key to the view's root
    assert mounted.view.selected == 57         # what the page assigned has arrived in Python

The page stands in for anywidget's part of JupyterLab: it imports the joined module from a blob, and calls `render` with
{model, el, signal}. Values travel as they do in Jupyter (strict JSON plus buffers), so what the wire cannot carry fails
here too. Nothing may leave the page: requests, dialogs, errors and `window.__pwned` are recorded; see `assert_quiet`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.widgets.carried import Carried, packed

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ORIGIN = "http://harness.invalid/"
NOT_DATA = {"_esm", "_css", "layout", "tabbable", "tooltip"}

_PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>harness</title></head>
<body style="margin:12px;background:var(--jp-layout-color0, light-dark(#fff, #111))"></body></html>"""

_MODEL = r"""
window.harness = {
  models: {}, problems: [],
  revive(value) {
    if (Array.isArray(value)) return value.map(harness.revive);
    if (value && typeof value === "object") {
      if ("__bytes__" in value) {
        const text = atob(value.__bytes__);
        return new DataView(Uint8Array.from(text, (c) => c.charCodeAt(0)).buffer);
      }
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, harness.revive(v)]));
    }
    return value;
  },
  pack(value) {
    if (value instanceof DataView || ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      const bytes = new Uint8Array(value.buffer ?? value, value.byteOffset ?? 0, value.byteLength);
      return { __bytes__: btoa(String.fromCharCode(...bytes)) };
    }
    return value;
  },
  model(state) {
    const data = { ...state };
    const handlers = new Map();
    const touched = new Set();
    const saved = {};
    const emit = (name) => {
      for (const act of [...(handlers.get(`change:${name}`) ?? [])]) act(model, data[name]);
      for (const act of [...(handlers.get("change") ?? [])]) act();
    };
    const model = {
      get: (name) => data[name],
      set(name, value) {
        if (Object.is(data[name], value)) return;
        data[name] = value;
        touched.add(name);
        emit(name);
      },
      save_changes() {
        for (const name of touched) saved[name] = harness.pack(data[name]);
        touched.clear();
      },
      on(name, act) { for (const n of name.split(" ")) handlers.set(n, [...(handlers.get(n) ?? []), act]); },
      off(name, act) {
        for (const n of name ? name.split(" ") : handlers.keys())
          handlers.set(n, act ? (handlers.get(n) ?? []).filter((a) => a !== act) : []);
      },
      send() { throw new Error("views assign traits; they send no messages"); },
      // the harness's own side
      take() { const taken = { ...saved }; for (const k of Object.keys(saved)) delete saved[k]; return taken; },
      receive(changes) { Object.assign(data, changes); Object.keys(changes).forEach(emit); },
      listeners: () => [...handlers.values()].reduce((n, list) => n + list.length, 0),
    };
    return model;
  },
  // A view of other views finds their models by their ids.
  manager: { get_model: async (id) => harness.models[id].model },
  add(id, state) {
    harness.models[id] = { model: harness.model(harness.revive(state)) };
    harness.models[id].model.widget_manager = harness.manager;
  },
  async mount(id, state, esm, css) {
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    const module = await import(url);
    URL.revokeObjectURL(url);
    const el = document.createElement("div");
    el.id = id;
    document.body.append(el);
    const model = harness.model(harness.revive(state));
    model.widget_manager = harness.manager;
    const controller = new AbortController();
    harness.models[id] = { model, controller, el, module };
    const started = performance.now();
    const cleanup = await module.default.render({ model, el, signal: controller.signal });
    harness.models[id].cleanup = cleanup;
    const built = performance.now() - started;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return { built, painted: performance.now() - started };
  },
  // What a reader sees in an element: its text, with the sign of each chip in place of the character inside.
  shown(element) {
    let text = "";
    const walk = (node) => {
      if (node.nodeType === Node.TEXT_NODE) text += node.data;
      else if (node.classList?.contains("oopd-chip")) text += node.dataset.sign;
      else node.childNodes.forEach(walk);
    };
    walk(element);
    return text;
  },
  unmount(id) {
    const { controller, el, cleanup } = harness.models[id];
    controller.abort();
    if (typeof cleanup === "function") cleanup();
    el.remove();
  },
};
window.addEventListener("error", (e) => harness.problems.push(String(e.message)));
window.addEventListener("unhandledrejection", (e) => harness.problems.push(String(e.reason)));
window.addEventListener("keydown", (e) => (window.__leaked ??= []).push(e.key));
"""


class Mounted(Carried):
    """A view on a page. `timing` holds the milliseconds to build and to paint it."""

    def __init__(self, page: Page, log: Log, view: Any, number: int) -> None:
        super().__init__(page, view, f"view{number}")
        self.log = log
        self._inner: dict[str, Carried] = {}
        self._meet()
        state = packed(view)
        self.timing: dict[str, float] = page.evaluate(
            "([id, state, esm, css]) => harness.mount(id, state, esm, css)", [self.id, state, view._esm, view._css]
        )
        self._changed.clear()

    @property
    def root(self) -> Any:
        """The view's root, as a Playwright locator."""
        return self.page.locator(f"#{self.id} > .oopd-view")

    def find(self, selector: str) -> Any:
        return self.root.locator(selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).first.inner_text())

    def shown(self, selector: str) -> list[str]:
        """What a reader sees in each such element: texts as they are, characters without a shape as their signs."""
        return list(self.find(selector).evaluate_all("all => all.map(harness.shown)"))

    def contents(self, selector: str) -> list[str]:
        """What a copy of each such element would hold."""
        return list(self.find(selector).evaluate_all("all => all.map((e) => e.textContent)"))

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus inside the view, the root if nothing has; then both sides agree."""
        if not self.root.evaluate("r => r.contains(document.activeElement)"):
            self.root.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def click(self, selector: str, **more: Any) -> None:
        self.find(selector).first.click(**more)
        self.settle()

    def assign(self, **traits: Any) -> None:
        """Assign in Python, and see it on the page."""
        for name, value in traits.items():
            setattr(self.view, name, value)
        self.settle()

    def settle(self) -> None:
        """Carry changes over in both directions until neither side has any."""
        for _ in range(20):
            carried = [model.carry() for model in (self, *self._inner.values())]
            if not any(carried):
                return
        raise AssertionError("the page and Python go on answering each other")

    def _meet(self) -> None:
        """Bring the models of views that it shows by now."""
        for part in getattr(self.view, "inner_views", {}).values():
            if part.model_id not in self._inner:
                self._inner[part.model_id] = Carried(self.page, part, part.model_id)
                self.page.evaluate("([id, state]) => harness.add(id, state)", [part.model_id, packed(part)])

    def frame(self) -> None:
        """Wait until the browser has painted."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def unmount(self) -> None:
        self.page.evaluate("id => harness.unmount(id)", self.id)

    def leaked_keys(self) -> list[str]:
        """Keys that the page around the view saw."""
        return list(self.page.evaluate("() => window.__leaked ?? []"))

    def screenshot(self, path: Path | str) -> None:
        self.root.screenshot(path=str(path))

    def assert_quiet(self) -> None:
        self.log.assert_quiet()


class Log:
    """What a page did that no view may do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("popup", lambda popup: self.requests.append(f"popup {popup.url}"))
        page.route("**/*", self._route)

    def assert_quiet(self) -> None:
        """No script of a text ran, no request left, nothing failed."""
        pwned = self.page.evaluate("() => window.__pwned ?? null")
        problems = self.page.evaluate("() => window.harness?.problems ?? []")
        assert pwned is None, f"a text ran as a script: {pwned}"
        assert self.dialogs == []
        assert self.requests == []
        everything = [*self.errors, *problems]
        assert not everything, everything

    def _route(self, route: Route) -> None:
        if route.request.url == ORIGIN:
            route.fulfill(status=200, content_type="text/html", body=_PAGE)
        else:
            self.requests.append(route.request.url)
            route.abort()


@contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium, one for a session."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Pages:
    """Pages of a browser, used again by later tests: opening one takes longer than most tests do."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._free: list[tuple[Page, Log]] = []

    @contextmanager
    def page(self, theme: str = "light", html: str | None = None) -> Iterator[tuple[Page, Log]]:
        """An empty page. `theme`: light, dark, or contrast (forced colours, dark). `html`: a body, for inert pictures.

        Raises AssertionError at the end for a page that was not quiet.
        """
        page, log = self._free.pop() if self._free else self._open()
        scheme = "light" if theme == "light" else "dark"
        page.emulate_media(color_scheme=scheme, forced_colors="active" if theme == "contrast" else "none")
        page.goto(ORIGIN)
        page.evaluate("scheme => { document.body.style.colorScheme = scheme; }", scheme)
        page.evaluate(_MODEL)
        if html is not None:
            # As a parser sees it: scripts and handlers in it would run.
            page.set_content(f'<!doctype html><meta charset="utf-8"><body style="color-scheme:{scheme}">{html}</body>')
        yield page, log
        log.assert_quiet()
        page.mouse.move(0, 0)
        self._free.append((page, log))

    def _open(self) -> tuple[Page, Log]:
        page = self.browser.new_context(viewport={"width": 1000, "height": 800}).new_page()
        return page, Log(page)


def wire_bytes(view: Any, *, with_code: bool = False) -> int:
    """How many bytes the view's state takes on the wire: JSON and buffers."""
    total = 0
    for name, value in view.get_state().items():
        if name in NOT_DATA and not (with_code and name in ("_esm", "_css")):
            continue
        buffers: list[int] = []
        total += len(json.dumps(_counted(value, buffers), ensure_ascii=False, allow_nan=False).encode()) + sum(buffers)
    return total


def _counted(value: Any, buffers: list[int]) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        buffers.append(len(value))
        return None
    if isinstance(value, dict):
        return {k: _counted(v, buffers) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_counted(v, buffers) for v in value]
    return value
