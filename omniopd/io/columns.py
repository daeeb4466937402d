"""Rows of texts as aligned columns: as many columns as fit into a terminal or a notebook's cell, and all of them into a
file or a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence

from omniopd.io.texts import one_line

NOTEBOOK = 100  # a cell's output in JupyterLab beside its list of files, in a window of 1,280 pixels
_GAP = "  "


def terminal_width() -> int | None:
    """Characters in a line of the terminal or the notebook that is printed to; None where neither reads."""
    if type(sys.stdout).__module__.startswith("ipykernel."):
        return NOTEBOOK
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def aligned(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int | None = None,
    dispensable: Sequence[str] = (),
) -> list[str]:
    """The head and the rows as lines. Columns named in `right` end where their head ends.

    Where a line is longer than `width`, columns are left out in the order of `dispensable`, until it fits; a last line
    says which. None: all columns, however wide.
    """
    cells = [list(map(one_line, line)) for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    shown, left_out = list(range(len(head))), []
    for name in dispensable:
        if width is None or sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) <= width:
            break
        shown = [i for i in shown if head[i] != name]
        left_out.append(name)
    lines = [
        _GAP.join(c[i].rjust(widths[i]) if head[i] in right else c[i].ljust(widths[i]) for i in shown).rstrip()
        for c in cells
    ]
    if left_out:
        lines.append(f"(left out, so that lines fit: {', '.join(left_out)})")
    return lines
