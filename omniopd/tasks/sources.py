"""Where a task's rows come from: a data set's id on the hub, a folder, or one file of JSON lines or parquet.

A folder holds ``<split>.jsonl``, or is a copy of a data set as the hub has it (parquet, arrow or JSON files, with or
without a card), which `datasets` reads. Whatever cannot be loaded is one DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniopd.errors import DataError
from omniopd.tasks.jsonl import read_rows, split_file

Rows = Sequence[Mapping[str, Any]]
BINARY = (".parquet", ".arrow")
DATA = (*BINARY, ".json", ".jsonl", ".csv")


def rows_of(path_or_id: str | Path, split: str, config: str | None = None) -> tuple[Rows, str]:
    """The rows of a split and where they stand, for messages. One file is the only split and has the file's name.

    `config` is the part of a data set of several. Raises DataError.
    """
    path = Path(path_or_id)
    if path.is_dir():
        if not (path / f"{split}.jsonl").is_file() and _holds_more(path):
            return _copy(path, split, config)
        path = split_file(path, split)
    elif path.is_file() and path.stem != split:
        raise DataError(
            f"{path} is one file, the split {path.stem!r}, and has no split {split!r}: give the folder that holds "
            f"{split}.jsonl"
        )
    if path.is_file():
        return _binary(path) if path.suffix in BINARY else (read_rows(path), str(path))
    # An id may hold a dot: AI-MO/NuminaMath-1.5.
    if path.suffix in DATA or path.is_absolute() or len(path.parts) != 2:
        raise DataError(
            f"there is no file or folder {path}, and a data set's id has the form owner/name: check the path"
        )
    return _loaded(str(path_or_id), split, config)


def _holds_more(folder: Path) -> bool:
    """Whether a folder holds files other than ``<split>.jsonl`` at its top: it is a copy of a data set."""
    files = [path for path in folder.rglob("*") if path.suffix in DATA]
    return any(path.suffix != ".jsonl" or path.parent != folder for path in files)


def _binary(file: Path) -> tuple[Rows, str]:
    return _guarded(str(file), lambda datasets: datasets.load_dataset(
        file.suffix[1:], data_files=str(file), split="train"
    )), str(file)  # fmt: skip


def _copy(folder: Path, split: str, config: str | None) -> tuple[Rows, str]:
    """Without a card a part of a data set is a folder of its name, and other names mean nothing."""
    if (folder / "README.md").is_file():
        return _loaded(str(folder), split, config)
    return _loaded(str(folder / config if config and (folder / config).is_dir() else folder), split, None)


def _loaded(name: str, split: str, config: str | None) -> tuple[Rows, str]:
    place = f"data set {name!r} ({f'{config}, ' if config else ''}split {split!r})"
    return _guarded(place, lambda datasets: datasets.load_dataset(name, config, split=split), split), place


def _guarded(place: str, load: Any, split: str = "") -> Rows:
    import datasets

    try:
        rows: Rows = load(datasets)
        return rows
    # RuntimeError: a data set that is a program, which `datasets` no longer runs.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        raise DataError(
            f"cannot load {place}: {problem}; check the name and the network, or give a local folder with "
            f"{split or 'train'}.jsonl"
        ) from problem
