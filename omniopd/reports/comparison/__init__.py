"""Several runs as one result: arms with seeds as units, differences with verdicts, costs, a page."""

from __future__ import annotations

from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.comparison import Comparison, compare
from omniopd.reports.comparison.cost import paper_cost
from omniopd.reports.comparison.frontier import frontier
from omniopd.reports.comparison.page import comparison_page
from omniopd.reports.comparison.shares import Share, share
from omniopd.reports.comparison.tables import costs, differences, markdown, shown_table, summary, table

__all__ = [
    "Arm", "Comparison", "Share", "compare", "comparison_page", "costs", "differences", "frontier", "markdown",
    "paper_cost", "share", "shown_table", "summary", "table",
]  # fmt: skip
