"""What a run leaves on disk. `table(folder)` has a row for each run there; ``omniopd.runs(folder)`` is the same."""

from omniopd.io.callable_package import make_callable
from omniopd.runs.listing import table
from omniopd.runs.store import Run, create_run, open_run

__all__ = ["Run", "create_run", "open_run", "table"]

make_callable(__name__, table)
