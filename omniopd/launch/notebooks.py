"""The notebooks that ship with the package: where they stand, and a copy of them to work in."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import omniopd
from omniopd.errors import ConfigError, Refused
from omniopd.runs.files.atomic import make_folder

_SHIPPED = {".ipynb", ".md", ".json", ".jsonl", ".toml", ".png"}
_NOT_SHIPPED = {"runs", "__pycache__"}


def notebook_path(name: str | Path) -> Path:
    """A notebook's file, or the shipped notebook of that name. Raises ConfigError."""
    path = Path(name)
    if path.is_file():
        if path.suffix != ".ipynb":
            raise ConfigError(f"{path} is not a notebook: give a file that ends in .ipynb")
        return path
    shipped = {file.stem: file for file in shipped_files() if file.suffix == ".ipynb"}
    if path.suffix in ("", ".ipynb") and path.name == str(name) and path.stem in shipped:
        return shipped[path.stem]
    near = difflib.get_close_matches(path.stem, shipped, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped ones are {', '.join(sorted(shipped)) or 'missing'}"
    raise ConfigError(f"no notebook {str(name)!r}: neither a file nor a shipped name; {hint}")


def shipped_folder() -> Path:
    """In the package where it is installed, else in the checkout. Raises ConfigError where they are missing."""
    package = Path(omniopd.__file__).parent
    for folder in (package / "_notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise ConfigError("there are no notebooks in this installation: install omniopd anew, or run from a checkout")


def shipped_files() -> list[Path]:
    """The shipped notebooks and what stands beside them, sorted."""
    folder = shipped_folder()
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix in _SHIPPED)
    return sorted(path for path in found if not _hidden(path.relative_to(folder)))


def copy_notebooks(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Copy the shipped notebooks into a folder; returns what was written, and what was there already, the same.

    Raises Refused, and writes nothing, where a file there differs from the shipped one.
    """
    folder, origin = Path(folder), shipped_folder()
    pairs = [(source, folder / source.relative_to(origin)) for source in shipped_files()]
    there = [(source, target) for source, target in pairs if target.exists()]
    changed = [target for source, target in there if target.is_dir() or target.read_bytes() != source.read_bytes()]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Refused(f"{changed[0]}{more} would be overwritten and differ from the shipped notebooks: move them, or "
                      "give another folder")  # fmt: skip
    written = []
    for source, target in pairs:
        if not target.exists():
            make_folder(target.parent)
            shutil.copyfile(source, target)
            written.append(target)
    return written, [target for _, target in there]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in _NOT_SHIPPED for part in path.parts)
