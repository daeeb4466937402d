"""What every view promises: no script but ours, a fixed repr, an inert picture, no key, no leak, keys that stay."""

from __future__ import annotations

import gc
import re
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import omniopd_widgets
from omniopd_widgets._parts import assets as _assets
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.safe import UNSEEN, SafeHTML, element, escape, fit, redact, to_json, visible

MODULE = """
from traitlets import Int, Unicode

from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.safe import element


class ShortNote(View):
    text = Unicode("").tag(sync=True)
    selected = Int(0).tag(sync=True)

    def summary(self):
        return f"{len(self.text)} characters"

    def fallback(self):
        return [element("p", self.text)]
"""
SCRIPT = """
import { h, scope, shown, watch, assign } from "./_common.js";
function render({ model, el, signal }) {
  const { body, say } = scope({ model, el, signal, label: "a note", name: "note", keys: {
    n: () => assign(model, "selected", model.get("selected") + 1),
  }});
  const place = h("div", { class: "oopd-place" });
  body.append(place);
  watch(model, ["text"], () => place.replaceChildren(shown(model.get("text"))), signal);
  watch(model, ["selected"], () => say(`number ${model.get("selected")}`), signal);
}
export default { render };
"""


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[View]]:
    """A view that somebody has added: two files, and no other one knows of it."""
    (tmp_path / "short_note.py").write_text(MODULE)
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "short_note.js").write_text(SCRIPT)
    (tmp_path / "static" / "short_note.css").write_text(".oopd-note .oopd-place { font-style: italic; }")
    monkeypatch.setattr(omniopd_widgets, "__path__", [*omniopd_widgets.__path__, str(tmp_path)])
    yield omniopd_widgets.ShortNote
    del omniopd_widgets.ShortNote, omniopd_widgets.short_note, sys.modules["omniopd_widgets.short_note"]


def test_a_view_is_its_files_and_nothing_else_names_it(note, mount) -> None:
    mounted = mount(note(text="plain words"))
    place = mounted.find(".oopd-place")
    assert (place.inner_text(), place.evaluate("e => getComputedStyle(e).fontStyle")) == ("plain words", "italic")
    with pytest.raises(AttributeError, match="no name 'LongNote'; it offers AuditPanel"):
        omniopd_widgets.LongNote  # noqa: B018


def test_what_the_page_does_arrives_in_python_and_back(note, mount) -> None:
    mounted = mount(note(text="plain words"))
    mounted.press("n", "n")
    assert mounted.view.selected == 2
    assert mounted.text(".oopd-place") == "plain words"
    mounted.assign(text="other words", selected=7)
    assert mounted.text(".oopd-place") == "other words"
    mounted.page.wait_for_function("document.querySelector('.oopd-status').textContent === 'number 7'")


@pytest.mark.parametrize(
    ("place", "name", "light", "dark"),
    [
        ("body", "data-vscode-theme-kind", "vscode-light", "vscode-dark"),
        ("body", "data-vscode-theme-kind", "vscode-high-contrast-light", "vscode-high-contrast"),
        ("documentElement", "theme", "light", "dark"),  # Colab
    ],
)
def test_a_theme_that_the_page_only_names_is_followed(
    place: str, name: str, light: str, dark: str, note, mount
) -> None:
    mounted = mount(note(text="x"))
    seen = {}
    for theme in (light, dark):
        seen[theme] = mounted.page.evaluate(
            "([place, name, value]) => { document[place].setAttribute(name, value);"
            " const s = getComputedStyle(document.querySelector('.oopd-view'));"
            " return [s.backgroundColor, s.color].map((c) => Number(c.match(/\\d+/)[0])); }",
            [place, name, theme],
        )
    mounted.page.evaluate("([place, name]) => document[place].removeAttribute(name)", [place, name])
    assert seen[light][0] > 200 > 60 > seen[light][1]
    assert seen[dark][0] < 60 < 200 < seen[dark][1]


def test_keys_stay_in_the_view(note, mount) -> None:
    mounted = mount(note(text="x"))
    mounted.press("n", "b", "d", "d", "a", "Enter", "ArrowDown")
    assert mounted.leaked_keys() == []
    assert mounted.root.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_the_ring_of_the_focus_is_whole_where_the_page_clips_a_view(note, mount) -> None:
    mounted = mount(note(text="a"))
    mounted.root.focus()
    reach = mounted.root.evaluate(
        "r => { const s = getComputedStyle(r); return [s.outlineStyle, parseFloat(s.outlineWidth), "
        "parseFloat(s.outlineOffset)]; }"
    )
    assert reach[0] == "solid"
    assert reach[1] > 0 >= reach[1] + reach[2]  # nothing of it outside the view's own box


def test_a_problem_is_one_line_and_holds_no_key(note, mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "very-secret-value")
    mounted = mount(note(problem="<b>401</b> for very-secret-value and sk-abcdefghijklmnopqrstuv"))
    assert mounted.text(".oopd-problem") == "<b>401</b> for [SOME_API_KEY] and [a key]"
    mounted.assign(problem="")
    assert not mounted.find(".oopd-problem").is_visible()


def test_the_repr_is_fixed_and_the_bundle_inert(note) -> None:
    view = note(text="<script>window.__pwned = 1</script>")
    assert repr(view) == repr(note(text=view.text)) == "ShortNote(35 characters)"
    data, _ = view._repr_mimebundle_()
    assert data["text/plain"] == repr(view)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == view.model_id
    assert "<script" not in data["text/html"]
    assert "&lt;script&gt;" in data["text/html"]
    assert "tex2jax_ignore mathjax_ignore" in data["text/html"]


def test_a_fallback_stays_under_30_kb(note) -> None:
    class Long(note):
        def fallback(self) -> list[SafeHTML]:
            return [element("p", f"{i} " + "ü" * 300) for i in range(1000)]

    html = Long().fallback_html()
    assert len(html.encode()) <= 30_000
    assert "more parts are shown where the notebook runs" in html


def test_a_closed_view_is_collected_and_shows_its_inert_part(note) -> None:
    view = note(text="a")
    view.close()
    data, _ = view._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    gone = weakref.ref(view)
    del view
    gc.collect()
    assert gone() is None


def test_listeners_end_with_the_view(note, mount) -> None:
    mounted = mount(note(text="a"))
    mounted.unmount()
    assert mounted.page.evaluate("id => harness.models[id].model.listeners()", mounted.id) == 0
    assert mounted.page.locator(".oopd-view").count() == 0


def test_two_views_on_a_page_do_not_meet(note, mount) -> None:
    first = mount(note(text="first"))
    second = mount(note(text="second"), on=first)
    second.press("n")
    assert (first.view.selected, second.view.selected) == (0, 1)
    assert first.text(".oopd-place") == "first"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('import { h } from "./other.js";', "import"),
        ('import x from "https://example.org/x.js";', "https:"),
        ("el.innerHTML = text;", "innerHTML"),
        ('const m = await import("x");', "import("),
        ('fetch("x");', "fetch("),
        ('export { a } from "./_common.js";', "export"),
    ],
)
def test_a_script_with_a_sink_is_refused(line: str, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        _assets.check(line, "view.js")


def test_text_for_the_wire_and_for_html() -> None:
    assert to_json(("a\ud800", float("nan"), {"k": (1.5,)})) == ["a\U0010d800", None, {"k": [1.5]}]
    to_json("\udfff" + "x").encode()
    assert visible("a\0b\x1b[31m\u202ec\ud800") == "a⟨NUL⟩b⟨ESC⟩[31m⟨U+202E⟩c⟨U+D800⟩"
    assert "&lt;img" in escape("<img src=x>")
    assert fit([escape("a")], 10_000) == escape("a")
    assert redact("hf_" + "a" * 30) == "[a key]"
    with pytest.raises(TypeError, match="SafeHTML"):
        fit(["<b>raw</b>"], 100)


def test_page_and_python_see_the_same_characters_as_unseen(note, mount) -> None:
    codes = [c for c in range(0x110000) if UNSEEN.match(chr(c)) and not 0xD800 <= c < 0xE000]
    mounted = mount(note(text="".join(chr(c) for c in codes) + "a\t\nb é 漢 👩"))
    signs = mounted.page.evaluate("() => [...document.querySelectorAll('.oopd-chip')].map((c) => c.dataset.sign)")
    assert signs == [visible(chr(c)) for c in codes]
