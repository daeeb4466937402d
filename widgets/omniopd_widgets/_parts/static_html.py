"""Curves as inert HTML: for each its first and last number, and a line drawn with block characters.

Text and nothing else, since what GitHub keeps of styles and pictures is not ours to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from omniopd_widgets._parts.curves import Panel, finite
from omniopd_widgets._parts.safe import SafeHTML, element, shorten

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 32


def curves_text(panels: Sequence[Panel]) -> SafeHTML:
    """All curves, a line each: name, first and last number, unit, shape, over which x."""
    rows = []
    for panel in panels:
        for curve in panel.curves:
            xs, ys = finite(curve.xs, curve.ys)
            if ys:
                name, over = shorten(f"{panel.title}: {curve.name}", 48), f"{panel.x} {xs[0]:g} … {xs[-1]:g}"
                rows.append((name, f"{ys[0]:.4g}", f"{ys[-1]:.4g}", sparkline(ys), f"{panel.unit}, {over}"))
    wide = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = [
        f"{name:<{wide[0]}}  {first:>{wide[1]}} → {last:>{wide[2]}}  {shape:<{wide[3]}}  {over}"
        for name, first, last, shape, over in rows
    ]
    return element("pre", "\n".join(lines), style="font-size:11px;line-height:1.35;margin:6px 0", limit=20_000)


def sparkline(values: Sequence[float]) -> str:
    """Values as a line of blocks, the mean of each stretch; lowest to highest, or level where all are the same."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    width = min(_WIDTH, len(finite))
    parts = [finite[len(finite) * i // width : len(finite) * (i + 1) // width] for i in range(width)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(top * (mean - low) / (high - low)) if high > low else top // 2] for mean in means)
