"""Where a task's rows come from: a data set's id on the hub, a folder with ``<split>.jsonl``, or one such file.

Knows no columns; whatever cannot be had is one DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniopd.errors import DataError
from omniopd.tasks.jsonl import read_rows, split_file

Rows = Sequence[Mapping[str, Any]]


def rows_of(path_or_id: str | Path, split: str, config: str | None = None) -> tuple[Rows, str]:
    """The rows of a split and where they stand, for messages. One file is the only split and has the file's name.

    `config` is the part of a data set on the hub. Raises DataError.
    """
    path = Path(path_or_id)
    if path.is_dir():
        path = split_file(path, split)
    elif path.is_file() and path.stem != split:
        raise DataError(
            f"{path} is one file, the split {path.stem!r}, and has no split {split!r}: give the folder that holds "
            f"{split}.jsonl"
        )
    if path.is_file():
        return read_rows(path), str(path)
    if path.suffix or path.is_absolute() or len(path.parts) != 2:
        raise DataError(
            f"there is no file or folder {path}, and a data set's id has the form owner/name: check the path"
        )
    return _from_hub(str(path_or_id), split, config)


def _from_hub(dataset_id: str, split: str, config: str | None) -> tuple[Rows, str]:
    import datasets

    place = f"data set {dataset_id!r} ({f'{config}, ' if config else ''}split {split!r})"
    try:
        return datasets.load_dataset(dataset_id, config, split=split), place
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as problem:
        raise DataError(
            f"cannot load {place}: {problem}; check the name and the network, or give a local folder with {split}.jsonl"
        ) from problem
