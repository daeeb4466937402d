"""The recorded study of the lab: a line an arm and budget, and the columns that a report of one's own has."""

from __future__ import annotations

from pathlib import Path

from omniopd.embedded.study import beside, frontier_table
from omniopd.reports.comparison import compare, frontier
from tests.reports.comparison.test_report import two_arms


def test_its_table_is_one_that_a_report_writes(tmp_path: Path) -> None:
    assert list(frontier_table().columns) == list(frontier(compare(two_arms(tmp_path))).columns)


def test_a_line_an_arm_says_what_the_table_does() -> None:
    table = frontier_table().set_index(["arm", "samples"])
    white_box, sft = beside()
    assert white_box.startswith(
        "white_box (8 seeds, 2,560 answers): 90.0 at the best temperature, 70.2 at temperature 1; no"
    )
    hot = table.loc[("sft", 2560), "temperature 1, %"]
    assert f"{hot:.1f} at temperature 1; 2,560 calls, 120,594 tokens read, 114,50" in sft
    assert "written, $0.69 at the prices of" in sft
    assert "$" not in white_box  # nobody sells logits
