"""What a run leaves on disk. The package can be called: ``omniopd.runs(folder)`` is the table of the runs there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from omniopd.runs.store import Run, create_run, open_run

if TYPE_CHECKING:
    import pandas

__all__ = ["Run", "create_run", "open_run"]


class _Runs(ModuleType):
    def __call__(self, folder: str | Path) -> pandas.DataFrame:
        """One row a run in `folder`; see `omniopd.runs.listing.runs`."""
        from omniopd.runs.listing import runs

        return runs(folder)


sys.modules[__name__].__class__ = _Runs
