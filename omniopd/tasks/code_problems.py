"""Programming problems in the shapes that data sets have, as one shape.

    HumanEval               prompt, test, entry_point: a function to complete, tests that call it
    APPS, TACO              question, input_output (JSON: inputs, outputs, perhaps fn_name), starter_code
    CodeContests            description, public_tests, private_tests, generated_tests (input, output)

On the hub openai/openai_humaneval, codeparrot/apps, BAAI/TACO, deepmind/code_contests. APPS and TACO are programs
there, which `datasets` no longer runs: take a folder with their rows. Tests of CodeContests come as two lists or, from
its parquet files without the card, as a list of pairs.

The columns of a row decide which one it has. Faults are a DataError with the row's place.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniopd.errors import DataError

FUNCTION_INSTRUCTION = "Complete this function. Answer with the whole program in one block fenced by ```python."
STREAM_INSTRUCTION = (
    "Write a Python program that reads from standard input and prints to standard output. "
    "Answer with the whole program in one block fenced by ```python."
)
METHOD_INSTRUCTION = (
    "Write it in Python, with this name. Answer with the whole program in one block fenced by ```python."
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its tests: `tests` of a function `entry_point`, or `cases` of (input, expected output).

    `stub` is what a completion of the function continues, and what its tests may use; empty where a whole program is
    asked for.
    """

    question: str
    entry_point: str = ""
    stub: str = ""
    tests: str = ""
    cases: tuple[tuple[str, str], ...] = ()

    @property
    def has_tests(self) -> bool:
        return bool(self.tests or self.cases)


def problem_of(row: Mapping[str, Any], here: str) -> Problem:
    """The problem of a row; `here` names it in errors. One without any tests is returned, and `has_tests` says so."""
    if {"prompt", "test", "entry_point"} <= row.keys():
        return _function(row, here)
    if "input_output" in row:
        return _streams_or_calls(row, here)
    if "public_tests" in row:
        return _contest(row, here)
    raise DataError(
        f"{here} has the columns {', '.join(map(repr, row))}, and a programming problem has prompt, test and "
        "entry_point, or question and input_output, or description and public_tests: rename its columns"
    )


def _function(row: Mapping[str, Any], here: str) -> Problem:
    stub, tests, entry = (_text(row, name, here) for name in ("prompt", "test", "entry_point"))
    if not entry.isidentifier():
        raise DataError(f"{here}: entry_point is {entry!r}, which names no function: correct the row")
    question = f"{FUNCTION_INSTRUCTION}\n\n```python\n{stub.rstrip()}\n```"
    return Problem(question, entry, stub, tests)


def _streams_or_calls(row: Mapping[str, Any], here: str) -> Problem:
    question, starter = _text(row, "question", here), str(row.get("starter_code") or "").strip()
    held = row["input_output"]
    try:
        # Limits of Python's own reader do not fit: some expected answers have thousands of digits.
        held = json.loads(held, parse_int=_long_int) if isinstance(held, str) and held.strip() else held or {}
        given, wanted, name = held.get("inputs", []), held.get("outputs", []), held.get("fn_name")
    except (ValueError, RecursionError, AttributeError) as error:
        raise DataError(f"{here}: input_output is no JSON object ({error}): correct the row or leave it out") from error
    if len(given) != len(wanted):
        raise DataError(f"{here}: input_output has {len(given)} inputs and {len(wanted)} outputs: correct the row")
    if name is None:
        return Problem(_asking(question, STREAM_INSTRUCTION, starter), cases=_pairs(given, wanted))
    if not str(name).isidentifier():
        raise DataError(f"{here}: fn_name is {name!r}, which names no function: correct the row")
    asked = _asking(question, METHOD_INSTRUCTION, starter or f"def {name}(…):")
    return Problem(asked, str(name), tests=_calling(given, wanted) if len(given) else "")


def _contest(row: Mapping[str, Any], here: str) -> Problem:
    question = _text(row, "description", here)
    cases: list[tuple[str, str]] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        given, wanted = _contest_cases(row.get(name), f"{here}: {name}")
        if len(given) != len(wanted):
            raise DataError(f"{here}: {name} has {len(given)} inputs and {len(wanted)} outputs: correct the row")
        cases += _pairs(given, wanted)
    return Problem(_asking(question, STREAM_INSTRUCTION), cases=tuple(cases))


def _contest_cases(held: Any, here: str) -> tuple[list[Any], list[Any]]:
    try:
        held = (json.loads(held) if isinstance(held, str) and held.strip() else held) or {}
        if isinstance(held, list):
            return [case["input"] for case in held], [case["output"] for case in held]
        return list(held.get("input", [])), list(held.get("output", []))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{here} holds no inputs and outputs ({error!r}): correct the row or leave it out") from error


def _asking(question: str, instruction: str, starter: str = "") -> str:
    given = f"\n\n```python\n{starter}\n```" if starter else ""
    return f"{question.strip()}{given}\n\n{instruction}"


def _pairs(given: Sequence[Any], wanted: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((_lines(one), _lines(other)) for one, other in zip(given, wanted, strict=True))


def _lines(value: Any) -> str:
    """Some rows hold a text as its lines."""
    return "\n".join(map(_lines, value)) if isinstance(value, list) else str(value)


def _calling(given: Sequence[Any], wanted: Sequence[Any]) -> str:
    """Tests for rows of arguments and values. Some data sets put a value into a list of one; both are right."""
    rows = [[list(arguments), value] for arguments, value in zip(given, wanted, strict=True)]
    return textwrap.dedent(f"""\
        import json

        def plain(value):
            return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

        def check(candidate):
            rows = json.loads({json.dumps(rows)!r})
            for number, (arguments, wanted) in enumerate(rows, start=1):
                value = plain(candidate(*arguments))
                assert value == wanted or [value] == wanted, f"case {{number}}"
        """)


def _text(row: Mapping[str, Any], column: str, here: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{here}: column {column!r} is {str(value)[:40]!r}, not a text: correct the row")
    return value


def _long_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= 4000 else digits
