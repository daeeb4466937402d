"""A table as a file for other programs; in a spreadsheet it is shown and never computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.errors import ConfigError
from omniopd.io.texts import inert

if TYPE_CHECKING:
    import pandas


def write_table(table: pandas.DataFrame, file: Path) -> None:
    """Write the table; the ending says how. Raises ConfigError for another ending, or where parquet has no writer."""
    if file.suffix == ".csv":
        inert_table(table).to_csv(file, encoding="utf-8", errors="backslashreplace")
    elif file.suffix == ".parquet":
        try:
            table.to_parquet(file)
        except ImportError as error:
            raise ConfigError(f"{file} cannot be written: parquet needs pyarrow (pip install pyarrow)") from error
    else:
        raise ConfigError(f"{file} is neither .csv nor .parquet: choose one of these endings")


def inert_table(table: pandas.DataFrame) -> pandas.DataFrame:
    """A copy that a spreadsheet shows and never computes: names of arms and settings may be anybody's."""
    made = table.map(inert)
    made.index = made.index.map(inert)
    made.columns = made.columns.map(inert)
    made.index.names = [inert(name) for name in table.index.names]
    made.columns.names = [inert(name) for name in table.columns.names]
    return made
