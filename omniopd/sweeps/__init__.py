"""Studies and grids: which runs there are, and running them."""

from omniopd.sweeps.study import load_study
from omniopd.sweeps.sweep import Swept, sweep_notebook, sweep_study

__all__ = ["Swept", "load_study", "sweep_notebook", "sweep_study"]
