"""A run that an older version launched keeps its notebook as it was; that notebook may import what has moved since."""

from __future__ import annotations

import ast
import importlib.util
import logging
import os
import shutil
from pathlib import Path

import nbformat

from omniopd.errors import ConfigError, RunError
from omniopd.launch.folder import part, read_launch, source_of
from omniopd.launch.notebooks import notebook_path
from omniopd.launch.parameters import checked, parameters_of

_log = logging.getLogger(__name__)


def bring_up_to_date(path: Path) -> None:
    """Where the notebook launched into `path` imports modules that this version lacks, put this version's shipped
    notebook of the same name in its place and keep the old one beside it. Raises RunError where none is shipped, or
    where the shipped one does not take the old parameters."""
    source = source_of(path)
    lacking = missing_modules(source)
    if not lacking:
        return
    launch = read_launch(path)
    instead = f"{source} imports {lacking[0]}, which this version of omniopd does not have"
    try:
        shipped = notebook_path(Path(launch.notebook).stem)
    except ConfigError:
        raise RunError(f"{instead}: resume it with the version that launched it") from None
    _, problems = checked(parameters_of(shipped), launch.parameters)
    if problems:
        raise RunError(f"{instead}, and {shipped.name} does not take its parameters ({'; '.join(problems.values())}): "
                       "resume it with the version that launched it")  # fmt: skip
    os.replace(source, part(path) / "source_before.ipynb")
    shutil.copyfile(shipped, source)
    _log.warning("%s: the run goes on with this version's %s", instead, shipped.name)


def missing_modules(notebook: Path) -> list[str]:
    """The modules of this package that a notebook's code imports and that do not exist, each once, in their order."""
    named: dict[str, None] = {}
    for cell in nbformat.read(notebook, as_version=4).cells:  # type: ignore[no-untyped-call]
        if cell.cell_type == "code":
            named |= dict.fromkeys(_imported(cell.source))
    return [name for name in named if name.partition(".")[0] == "omniopd" and not _exists(name)]


def _imported(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic command
        return []
    nodes = list(ast.walk(tree))
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return whole + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing, too
        return False
