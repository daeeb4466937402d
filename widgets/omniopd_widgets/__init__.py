"""Views of OmniOPD records for JupyterLab: they show what was written and know no models; names load on first use."""

from __future__ import annotations

import importlib
from typing import Any

from omniopd import __version__ as __version__

_HOME = {
    "AuditPanel": "audit_panel",
    "Launcher": "launcher",
    "PosteriorPlot": "posterior_plot",
    "RolloutView": "rollout_view",
    "RunBrowser": "run_browser",
    "TrainingMonitor": "training_monitor",
    "UpdateLedger": "update_ledger",
    "Workbench": "workbench",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"omniopd_widgets has no name {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"omniopd_widgets.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
