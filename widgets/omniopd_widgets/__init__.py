"""Views of OmniOPD records for JupyterLab: they show what was written and know no models; names load on first use.

A view `MyView` is the module `my_view.py`, with `static/my_view.js` and its style sheet: it is listed nowhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from omniopd import __version__ as __version__


def _modules() -> dict[str, str]:
    """The module of each view, by the view's name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return {name.title().replace("_", ""): name for name in names}


__all__ = sorted([*_modules(), "__version__"])


def __getattr__(name: str) -> Any:
    module = _modules().get(name)
    if module is None:
        raise AttributeError(f"omniopd_widgets has no name {name!r}; it offers {', '.join(__all__)}")
    value = globals()[name] = getattr(importlib.import_module(f"omniopd_widgets.{module}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
