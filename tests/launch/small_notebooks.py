"""Notebooks small enough for a test, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from omniopd.config import recipe_toml
from omniopd.launch import launched_in
from tests.small_runs import small_recipe

# A training without anything around it: what `train.ipynb` does between its charts.
TRAINING = """\
from omniopd import load_recipe
from omniopd.pipeline.run import execute
from omniopd.runs import create_run
run = execute(create_run(folder, load_recipe(recipe)), show=False)
"""


def notebook(path: Path, *cells: str, parameters: str = "x: int = 1  # a number\n") -> Path:
    """A Python notebook with a cell of parameters and the given cells."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    made = nbformat.v4.new_notebook(
        cells=[first, *map(nbformat.v4.new_code_cell, cells)], metadata={"kernelspec": kernel}
    )
    nbformat.write(made, path)
    return path


def training_notebook(folder: Path, **settings: object) -> tuple[Path, dict[str, str]]:
    """A notebook that trains tiny models, and its parameters."""
    recipe = folder / "small.toml"
    recipe.write_text(recipe_toml(small_recipe(**settings)))
    path = notebook(folder / "small.ipynb", TRAINING, parameters='recipe: str = "embedded"\nfolder: str = "runs"\n')
    return path, {"recipe": str(recipe)}


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as the condition holds; fail where it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def outputs(executed: Path) -> list[str]:
    """What each code cell of an executed notebook printed, or the name of its error."""
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    return ["".join(o.get("text", o.get("ename", "")) for o in cell.outputs) for cell in cells]


def end_all(folder: Path) -> None:
    """Leave no run behind, whatever a test came to."""
    for launched in launched_in(folder):
        if launched.is_running():
            launched.kill()
