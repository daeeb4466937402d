"""Studies and grids: which runs there are, and running them."""

from omniopd.sweeps.study import load_study
from omniopd.sweeps.sweep import Place, Swept, job_lines, planned_grid, planned_study, sweep_notebook, sweep_study

__all__ = [
    "Place", "Swept", "job_lines", "load_study", "planned_grid", "planned_study", "sweep_notebook", "sweep_study",
]  # fmt: skip
