"""Notebooks in a process of their own: start one, watch it, end it, go on with it. The truth is in the run's folder.

    launch ─▶ runner.py (a session of its own) ─▶ queue ─▶ papermill ─▶ a kernel
    attach, watch, end_run: from any process, by the folder

papermill reads the notebook and never writes onto its own input; its metadata is not a status and is thrown away.
"""

from __future__ import annotations

from omniopd.launch.launched import Launched, attach, end_run, launched_in
from omniopd.launch.notebooks import copy_notebooks, notebook_path
from omniopd.launch.parameters import Parameter, checked, parameters_of
from omniopd.launch.starting import launch, resume
from omniopd.launch.watching import watch

__all__ = [
    "Launched", "Parameter", "attach", "checked", "copy_notebooks", "end_run", "launch", "launched_in", "notebook_path",
    "parameters_of", "resume", "watch",
]  # fmt: skip
