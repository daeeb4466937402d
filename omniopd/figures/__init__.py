"""Figures: plotly's, in one theme, each with a static picture of itself. Knows numbers, no records."""

from omniopd.figures.figure import COLOURS, Figure, inert, shortened
from omniopd.figures.ink import number
from omniopd.figures.lines import Series, lines

__all__ = ["COLOURS", "Figure", "Series", "inert", "lines", "number", "shortened"]
