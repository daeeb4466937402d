"""A chart is the same numbers in plotly's JSON and in a picture that runs nothing."""

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from omniopd.reports.figures import Chart, ticks

CHART = Chart("Loss <b>", {"a & b": ([1, 2, 3], [0.5, math.nan, 0.25]), "c": ([], [])}, "step", "nats")


def test_points_that_are_not_finite_are_left_out():
    line = CHART.plotly()["data"][0]
    assert (line["x"], line["y"]) == ([1.0, 3.0], [0.5, 0.25])


def test_the_picture_is_well_formed_and_escaped():
    svg = CHART.svg()
    words = [t.text for t in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "Loss <b>" in words
    assert "a & b" in words
    assert "<b>" not in svg
    assert svg == CHART.svg()


def test_every_kind_of_viewer_finds_one():
    assert set(CHART._repr_mimebundle_()) == {"application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"}
    assert "0x" not in repr(CHART)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_cover_the_range_and_are_few(low, width):
    marks = ticks(low, low + width)
    slack = 1e-6 * max(1, abs(low), width)  # less than a pixel
    assert marks[0] <= low + slack
    assert marks[-1] >= low + width - slack
    assert 2 <= len(marks) <= 9
    assert marks == sorted(marks)
