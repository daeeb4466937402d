"""Several runs as one result: arms with seeds as units, differences with a verdict, what each took; a page of it."""

from __future__ import annotations

from omniopd.comparison.arms import Arm
from omniopd.comparison.cost import paper_cost
from omniopd.comparison.forest import forest
from omniopd.comparison.page import comparison_page
from omniopd.comparison.pictures import learning_curves, pictures
from omniopd.comparison.results import Comparison, compare
from omniopd.comparison.shares import Share, share
from omniopd.comparison.tables import costs, differences, markdown, shown_table, summary, table

__all__ = [
    "Arm", "Comparison", "Share", "compare", "comparison_page", "costs", "differences", "forest", "learning_curves",
    "markdown", "paper_cost", "pictures", "share", "shown_table", "summary", "table",
]  # fmt: skip
