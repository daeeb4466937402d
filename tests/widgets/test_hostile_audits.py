"""Texts that want to be markup, as chunks and continuations: the posterior plot and the ledger show them as text."""

from __future__ import annotations

from typing import Any

import pytest

from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts.base import View
from omniopd_widgets.posterior_plot import PosteriorPlot
from omniopd_widgets.update_ledger import UpdateLedger
from tests.widgets.audited import audit
from tests.widgets.hostile import as_shown, hostile_strings, long_line


def audits_of(texts: tuple[str, ...]) -> tuple[AuditRecord, ...]:
    return tuple(
        audit(2 * i, text, (text, texts[i - 1], "plain"), tokens=1, text_pieces=((text,), (texts[i - 1],), ("plain",)))
        for i, text in enumerate(texts)
    )


def rollout_of(texts: tuple[str, ...]) -> RolloutRecord:
    pieces = tuple(piece for text in texts for piece in (text, " next"))
    zeros = (0.5,) * len(pieces)
    return RolloutRecord(0, 1, "p", (), pieces, tuple(-v for v in zeros), zeros, zeros, audits=audits_of(texts))


def seen(mounted: Any, selector: str) -> list[str]:
    """Texts as a reader sees them: chips by their sign."""
    return mounted.page.eval_on_selector_all(
        selector,
        """(all) => all.map((one) => [...one.childNodes].map((node) =>
            node.nodeType === 3 ? node.data : node.getAttribute('data-sign')).join(''))""",
    )


def test_a_thousand_hostile_chunks_in_the_ledger_are_shown_as_they_are(mount) -> None:
    texts = hostile_strings()
    view = UpdateLedger(rollout_of(texts))
    mounted = mount(view)
    mounted.find("button:text('show all')").click()
    found = seen(mounted, ".oopd-ledger-text .oopd-text")
    by_start = {row["start"]: text for row, text in zip(view.rows, found, strict=True)}
    short = [(2 * i, text) for i, text in enumerate(texts) if len(text) <= 80]
    assert len(short) > 700
    assert [by_start[start] for start, _ in short] == [as_shown(text.lstrip("\n")) for _, text in short]


def test_hostile_chunks_are_shown_as_they_are_in_the_plot(mount) -> None:
    texts = tuple(text for text in hostile_strings() if len(text) <= 120)[:40]
    view = PosteriorPlot(audits_of(texts))
    mounted = mount(view)
    for i, text in enumerate(texts):
        view.selected = 2 * i
        mounted.settle()
        mounted.frame()
        assert seen(mounted, ".oopd-posterior-chunk .oopd-text") == [as_shown(text)]


@pytest.mark.parametrize("make", [lambda t: PosteriorPlot(audits_of(t)), lambda t: UpdateLedger(rollout_of(t))])
def test_the_inert_pictures_stay_inert(inert, make) -> None:
    view: View = make((*hostile_strings(120), long_line()))
    inert(view)
    assert len(view.fallback_html().encode()) <= 30_000


def test_a_problem_with_a_hostile_similarity_is_shown_as_it_is(mount) -> None:
    def broken(chunk: str, texts: Any) -> list[float]:
        raise RuntimeError("<img src=x onerror=window.__pwned=1>")

    view = PosteriorPlot(audits_of(("a", "b")), more_similarities={"<b>bold</b>": broken})
    mounted = mount(view)
    mounted.find("select[aria-label^='compare by']").select_option("<b>bold</b>")
    mounted.settle()
    assert "<img src=x onerror=window.__pwned=1>" in mounted.text(".oopd-problem")
    assert view.similarity == "recorded"
