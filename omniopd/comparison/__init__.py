"""Several runs as one result: arms with seeds as units, differences with a verdict, what each took; a page of it."""

from __future__ import annotations

from omniopd.comparison.arms import Arm, Comparison, compare
from omniopd.comparison.cost import paper_cost
from omniopd.comparison.page import comparison_page

__all__ = ["Arm", "Comparison", "compare", "comparison_page", "paper_cost"]
