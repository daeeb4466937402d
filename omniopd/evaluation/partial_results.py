"""The finished part of an evaluation, in a file, so that one which was stopped goes on. Knows results and one file.

{"model": "student", "step": 40, …}          what is evaluated; another first line makes the rest worthless
{"prompt_id": "…", "right": 3, …}            a problem's result, written when its batch was graded
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.io.fields import read_fields
from omniopd.io.texts import encoded
from omniopd.records import ProblemResult, require_possible


class PartialResults:
    """Results by prompt id: those in `file` if it belongs to these `settings`, and those added since.

    A file of other settings is begun anew, and a line torn by a crash is left out. Without a file everything stays in
    memory. Raises RunError where the file cannot be written.
    """

    def __init__(self, file: Path | None, settings: Mapping[str, Any]) -> None:
        self.results: dict[str, ProblemResult] = {}
        self._file = file
        if file is None:
            return
        head = json.dumps(settings, ensure_ascii=False)
        lines = _lines(file)
        if lines and lines[0] == head:
            self.results = {result.prompt_id: result for line in lines[1:] if (result := _result(line)) is not None}
        # Written anew in both cases, which also takes a torn line away.
        self._write([head, *map(_line, self.results.values())], "w")

    def add(self, results: Iterable[ProblemResult]) -> None:
        """Keep the results of a batch; they are on the disk when this returns."""
        results = list(results)
        self.results.update((result.prompt_id, result) for result in results)
        self._write(map(_line, results), "a")

    def _write(self, lines: Iterable[str], mode: str) -> None:
        if self._file is None:
            return
        try:
            with open(self._file, f"{mode}b") as file:
                file.writelines(encoded(f"{line}\n") for line in lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{self._file} cannot be written ({error.strerror or error}): free some space, or evaluate without it"
            ) from error


def _lines(file: Path) -> list[str]:
    """Whole lines only: what follows the last line end was torn."""
    try:
        return file.read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []


def _line(result: ProblemResult) -> str:
    # Reasons are text of unknown origin, which may hold half of a surrogate pair.
    return json.dumps(asdict(result))


def _result(line: str) -> ProblemResult | None:
    try:
        result = read_fields(ProblemResult, json.loads(line))
        require_possible(result)
    except (ValueError, RecursionError):
        return None
    return result
