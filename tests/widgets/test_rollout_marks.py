"""What an answer bears beside its text: the teacher's majority behind a chunk, marks on the map, the line of status."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from omniopd.embedded import recorded
from omniopd_widgets import RolloutView
from tests.widgets.records import audit_at, rollout_record
from tests.widgets.test_rollout_view import of_texts


def test_what_is_said_of_a_token_is_said_again_when_its_audit_arrives(mount) -> None:
    record = rollout_record()
    mounted = mount(RolloutView(replace(record, audits=()), selected=2))
    said = "document.querySelector('.oopd-status').textContent"
    mounted.page.wait_for_function(f"{said}.includes('token 2 of')")
    mounted.view.show(record)
    mounted.settle()
    mounted.page.wait_for_function(f"{said}.includes('audited in fork 1')")


def test_what_most_texts_say_stands_behind_the_chunk_and_is_no_part_of_the_text(mount) -> None:
    record = rollout_record()
    mounted = mount(RolloutView(record))
    first, second = record.audits
    last = mounted.find(".oopd-strip .oopd-last").first
    assert last.get_attribute("data-teacher").startswith("then he sells 67 of the")
    assert last.get_attribute("data-times") == " ×2"
    assert "".join(mounted.contents(".oopd-strip .oopd-t")) == "".join(record.pieces)
    same = audit_at(first.start, texts=(first.chunk,) * 3)
    mounted.view.show(replace(record, audits=(same, second)))
    mounted.settle()
    assert mounted.find(".oopd-strip .oopd-last").first.get_attribute("data-teacher") is None


def test_the_mark_of_the_first_token_is_whole(mount) -> None:
    pixels = []
    for start in (0, 40):
        pieces = tuple(f" w{i}" for i in range(80))
        record = replace(of_texts(pieces), audits=(audit_at(start, " w0 w1", (" w0 w1",), text_pieces=()),))
        mounted = mount(RolloutView(record, selected=79))
        mounted.frame()
        pixels.append(
            mounted.page.evaluate(
                """() => {
                  const canvas = document.querySelector(".oopd-minimap"), scale = devicePixelRatio || 1;
                  const wide = canvas.width * 0.9, high = Math.floor(5 * scale);
                  const data = canvas.getContext("2d").getImageData(0, 0, wide, high).data;
                  return data.filter((value, i) => i % 4 === 3 && value > 128).length;
                }"""
            )
        )
    assert pixels[0] == pytest.approx(pixels[1], abs=4)
    assert pixels[1] > 10


def test_plain_lists_are_enough(mount) -> None:
    mounted = mount(RolloutView(tokens=["So", " we", " add"], values=[0.1, 2.0, 0.4]))
    assert mounted.contents(".oopd-strip .oopd-t") == ["So", " we", " add"]
    assert "oopd-h15" in mounted.find(".oopd-strip .oopd-t").nth(1).get_attribute("class")
    assert mounted.view.right is None
    costs = RolloutView(tokens=["a", "b"], values=[-0.5, -3.0], metric="logprob")
    assert costs.record.logprobs == (-0.5, -3.0)
    with pytest.raises(ValueError, match="2 tokens and 1 values"):
        RolloutView(tokens=["a", "b"], values=[1.0])
    with pytest.raises(ValueError, match="one of entropy, logprob, kl"):
        RolloutView(tokens=["a"], values=[1.0], metric="trust")


def test_where_styles_are_taken_away_lines_and_tint_stay(inert) -> None:
    """As GitHub shows a notebook."""
    record = recorded("paper").rollouts(1)[0]
    bare = re.sub(r' (style|class)="[^"]*"', "", str(RolloutView(record).fallback_html()))
    page = inert(SimpleNamespace(fallback_html=lambda: bare))
    text = page.locator("pre").first
    without_numbers = re.sub(r"\[\d▸", "", text.inner_text())
    assert without_numbers.rstrip() == "".join(record.pieces).rstrip()
    assert without_numbers.count("\n") >= 4
    marks = text.locator("mark")
    assert 0 < sum(map(len, marks.all_inner_texts())) < len(without_numbers) / 2
    colour = marks.first.evaluate("m => getComputedStyle(m).backgroundColor")
    assert colour not in ("rgba(0, 0, 0, 0)", "transparent")
    assert re.search(r"Entropy along the answer: [▁▂▃▄▅▆▇█]{32}", page.locator("body").inner_text())
