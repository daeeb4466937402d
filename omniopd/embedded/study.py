"""What a study of the lab found, as it ships: a line an arm and budget, to set a run of one's own beside.

The study `frontier` (2026-12-01): main arms on eight seeds, the others on fewer, as their column says. `omniopd report
runs/frontier --costs FILE` writes such a table of a study of one's own.
"""

from __future__ import annotations

import pandas

from omniopd.embedded import RECORDED
from omniopd.io.units import dollars

FRONTIER = RECORDED / "frontier.csv"


def frontier_table() -> pandas.DataFrame:
    """In the columns of `reports.comparison.frontier`: a row an arm and budget."""
    return pandas.read_csv(FRONTIER)


def beside(arms: tuple[str, ...] = ("white_box", "sft")) -> list[str]:
    """A sentence an arm, after its last budget: right at the best temperature and at temperature 1, tokens, dollars."""
    table = frontier_table()
    return [_sentence(table[table["arm"] == arm].iloc[-1]) for arm in arms]


def _sentence(row: pandas.Series) -> str:
    first = next(name for name in row.index if name.startswith("$ by "))
    anew = row["read"] - row["of it cached"]
    calls = f"{row['calls']:,.0f} calls, " if row["calls"] else "no call, "
    # Logits cannot be bought: a teacher that writes nothing has no price.
    price = f"{dollars(row[first])} at the prices of {first.removeprefix('$ by ')}"
    cost = f", {row['written']:,.0f} written, {price}" if row["written"] else ""
    return (
        f"{row['arm']} ({row['seeds']} seeds, {row['samples']:,} answers): {row['best temperature, %']:.1f} at the "
        f"best temperature, {row['temperature 1, %']:.1f} at temperature 1; {calls}{anew:,.0f} tokens read{cost}"
    )
