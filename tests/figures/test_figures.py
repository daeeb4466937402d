"""A figure is plotly's, and the same numbers stand in a picture that runs nothing."""

from __future__ import annotations

import json
import math
import pickle
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest
from IPython.core.formatters import DisplayFormatter

from omniopd.errors import DataError
from omniopd.figures import COLOURS, Figure, inert, lines
from omniopd.figures.ink import INK
from omniopd.io.texts import one_line
from tests.widgets.harness import launched

NAME = "a & <b>bold</b> $x^2$ %{x}\x00\u202e"
SPREAD = {NAME: ([0.4, 0.1, 0.2], [0.6, 0.9, 0.3])}
SVG = "{http://www.w3.org/2000/svg}"


def figure(spread: dict[str, tuple[list[float], list[float]]] = SPREAD) -> Figure:
    series = {NAME: ([1, 2, 3], [0.5, math.nan, 0.25]), "none": ([], []), "b": ([1, 2], [0.1, 0.2])}
    return lines("Loss <b>", series, "step", "nats", spread)


def test_points_that_are_not_finite_are_left_out_and_lines_without_any() -> None:
    shown = [trace for trace in figure().data if trace.name]
    assert [(trace.x, trace.y) for trace in shown] == [((1.0, 3.0), (0.5, 0.25)), ((1.0, 2.0), (0.1, 0.2))]


def test_a_band_goes_with_its_line() -> None:
    band, line, _ = figure().data
    assert (band.x, band.y, band.fill) == ((1, 3, 3, 1), (0.6, 0.3, 0.2, 0.4), "toself")
    assert band.legendgroup == line.legendgroup  # a click on the legend hides both
    assert len(figure({}).data) == 2


def test_it_is_plotlys_and_can_be_restyled_copied_and_written(tmp_path) -> None:
    made = figure()
    assert isinstance(made, go.Figure)
    assert made.update_layout(title_text="Other") is made
    assert "Other" in made.svg()
    assert pickle.loads(pickle.dumps(made)).svg() == made.svg()
    made.write_html(tmp_path / "loss.html", include_plotlyjs=False)
    assert "Other" in (tmp_path / "loss.html").read_text()


def test_texts_of_others_are_neither_tags_nor_formulas() -> None:
    text = json.dumps(figure()._repr_mimebundle_()["application/vnd.plotly.v1+json"])
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text
    assert "$" not in text
    assert "%{x}" not in text
    assert inert("a\n<i>") == "a⟨LF⟩&lt;i&gt;"


def test_a_browser_shows_a_strangers_name_as_it_is() -> None:
    name = "<a href='x:y'>&lt;b $%{x}</a>"
    made = lines(name, {name: ([1, 2], [1, 2]), "b": ([1], [2])}, name, name, faint=[name])
    with launched() as browser:
        page = browser.new_page()
        page.set_content(made.to_html())
        page.wait_for_selector(".legendtext")
        for kind in (".legendtext", ".gtitle", ".xtitle", ".ytitle"):
            assert page.locator(kind).first.text_content() == name, kind
        page.mouse.move(0, 0)
        page.locator(".scatterlayer .point").first.hover(force=True)
        page.wait_for_selector(".hovertext")
        assert page.locator(".hovertext").first.text_content().startswith(name)
        assert page.locator("svg a").count() == 0


def test_the_picture_is_well_formed_shows_texts_as_they_are_and_is_always_the_same() -> None:
    svg = figure().svg()
    root = ElementTree.fromstring(svg)
    words = {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    assert {"Loss <b>", "step", "nats", one_line(NAME), "b"} <= words
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not kinds & {"script", "image", "a", "foreignObject"}
    assert all(value.startswith("#") for e in root.iter() for name, value in e.attrib.items() if name.endswith("href"))
    assert svg == figure().svg()


def test_every_kind_of_viewer_finds_one() -> None:
    bundle, _ = DisplayFormatter().format(figure())
    assert set(bundle) == {"application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"}
    assert bundle["text/plain"] == f"Figure('Loss <b>': {one_line(NAME)}, b)"


def test_what_has_no_picture_is_shown_by_plotly_alone() -> None:
    bars = figure().add_bar(x=[1], y=[1])
    assert set(bars._repr_mimebundle_()) == {"application/vnd.plotly.v1+json", "text/plain"}
    with pytest.raises(DataError, match="no static picture is drawn of bar"):
        bars.svg()


def test_colours_can_be_seen_on_white_and_on_jupyterlabs_dark() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark = luminance("#111111") + 0.05
    for colour, least in [*((colour, 3.0) for colour in COLOURS), (INK, 4.2)]:
        bright = luminance(colour) + 0.05
        assert min(1.05 / bright, bright / dark) >= least, colour
