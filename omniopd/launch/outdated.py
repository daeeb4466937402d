"""A launched run keeps its notebook as it was, and executes it again when it is resumed: an older one may import what
has moved since.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.launch.folder import part, read_launch, source_of, write_launch
from omniopd.launch.notebooks import shipped_files
from omniopd.launch.parameters import checked, parameters_of
from omniopd.runs.files.folders import MANIFEST

# The code of notebooks that earlier versions shipped, their parameters apart: the beginnings of SHA-256 sums.
_EARLIER = {
    "0453ea8ebde1", "0a73f0736b28", "0b7fc604c9fc", "170397869044", "23195d4057f2", "3403802adbc0",
    "3aeb1653b16c", "3d431a0cc94e", "4ed7e5b6cd4c", "50677709b8d2", "50ceb2828894", "59678dff5e6b",
    "59b444881326", "5be2ff232cb9", "663b2881a401", "68aa59f2aab2", "734e821c55eb", "7b71c13696de",
    "803d74f44566", "948ca2e5e255", "a41cd1e8605b", "a884451e7207", "aaf65445d0a1", "bedeb046b32c",
    "c4a1cf796065", "cf3b43bd1514", "da8b3c4e8b45", "e22bc6d44236", "f8bd329578cf", "febc710316d5",
    "79eaa11e767e", "a0b6f73f6629", "088160cb3e7c", "0b182707a320", "42cc1a361d88", "b277dfbaa673",
    "0949d1ac6a40", "233c927a4896", "3dac78a0d1f8", "d6e3d0aee881", "d9de20cb5efe", "fd6ff393da11",
    "d1b36689fc2e",
}  # fmt: skip
_log = logging.getLogger(__name__)


def bring_up_to_date(path: Path) -> None:
    """Where an earlier version's shipped notebook was launched into `path`, put this version's in its place.

    The old one stays beside it. Raises RunError for a notebook of the user's own that imports modules which this
    version lacks, for one that cannot be read, and where the new one does not take the old parameters.
    """
    import nbformat  # seconds: jsonschema, which it imports, builds a grammar of Unicode addresses

    source, launch = source_of(path), read_launch(path)
    try:
        cells = nbformat.read(source, as_version=4).cells  # type: ignore[no-untyped-call]
    except (OSError, ValueError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise RunError(f"{source} cannot be read ({error}): launch the notebook anew") from error
    code = [cell for cell in cells if cell.cell_type == "code"]
    shipped = {file.name: file for file in shipped_files()}.get(launch.notebook)
    if shipped is None or _digest(code) not in _EARLIER:
        if lacking := missing_modules([cell.source for cell in code]):
            raise RunError(
                f"{source} imports {lacking[0]}, which this version of omniopd does not have: resume it with the "
                "version that launched it"
            )
        return
    _, problems = checked(parameters_of(shipped), launch.parameters)
    if problems:
        raise RunError(
            f"{source} is of an earlier version, and this version's {shipped.name} does not take its parameters "
            f"({'; '.join(problems.values())}): resume it with the version that launched it"
        )
    kept = part(path) / f"source_{len(list(part(path).glob('source_*.ipynb'))) + 1}.ipynb"
    shutil.copyfile(source, kept)
    new = source.with_suffix(".new")
    shutil.copyfile(shipped, new)
    os.replace(new, source)
    # A run that has begun keeps its own recipe: a shipped one of that name may have changed, too.
    begun = {**launch.parameters, "run": str(path.resolve())}
    if (path / MANIFEST).exists() and not checked(parameters_of(shipped), begun)[1]:
        write_launch(path, replace(launch, parameters=begun))
    _log.warning("%s was an earlier version's: the run goes on with this version's %s", source, shipped.name)


def missing_modules(sources: list[str]) -> list[str]:
    """The modules of this package that some code imports and that do not exist, each once, in their order."""
    named = dict.fromkeys(module for source in sources for module in _imported(source))
    return [name for name in named if name.partition(".")[0] == "omniopd" and not _exists(name)]


def _digest(code: list[Any]) -> str:
    sources = [cell.source for cell in code if "parameters" not in cell.metadata.get("tags", ())]
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()[:12]


def _imported(source: str) -> list[str]:
    python = "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines())
    try:
        nodes = list(ast.walk(ast.parse(python)))
    except SyntaxError:  # what IPython alone understands
        return []
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return whole + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing, too
        return False
