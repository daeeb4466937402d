"""What a run leaves on disk. `table(folder)` has a row for each run there, and ``omniopd.runs(folder)`` is the same;
`forks(places)` has a row for each recorded fork of one run or of many."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.io.callable_package import make_callable
from omniopd.runs.fork_table import forks_of
from omniopd.runs.listing import result_runs, table
from omniopd.runs.store import Run, create_run, open_run

if TYPE_CHECKING:
    import pandas

__all__ = ["Run", "create_run", "forks", "open_run", "table"]


def forks(places: str | Path | Iterable[str | Path], where: str = "") -> pandas.DataFrame:
    """The forks of these runs, or of all runs in these folders at any depth, as one table (`Run.forks` is of one run).

    Raises ConfigError for an expression that is none and for a place without a run, RunError for damaged records.
    """
    found = result_runs([places] if isinstance(places, str | Path) else places)
    return forks_of(((path, open_run(path).all_rollouts()) for path in found), where)


make_callable(__name__, table)
