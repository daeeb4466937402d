"""The lines of a ledger's file: one entry each, with a sum over its characters.

    {"reserved": NUMBER, "model": …, "usd": …, "check": …}    a call is about to be sent, and costs so much at most
    {"settled": NUMBER, "model": …, "usd": …, "calls": …, …}  it is over
    {"model": …, "remembered": …}, {"model": …, "usd": …, …}  what was never reserved

A line that a kill has torn does no harm; any other that cannot be read is damage, since its sum may have been spent.
Files of before have no check. Knows no sums.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omniopd.errors import TeacherError

COUNTS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "remembered")
_KEYS = ("reserved", "settled", "model", "usd", "unsure", "check", *COUNTS)
_MOST = 1e15  # dollars or tokens: more than anybody has; sums are kept in billionths
_WORDS = ("true", "false", "-")
_HALF_NUMBER = re.compile(r"\.?\d*[eE]?[+-]?")


def entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of a file. Raises TeacherError for a line that no writer of ledgers leaves, not even when killed."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise TeacherError(f"the ledger {path} cannot be read ({error.strerror}): check its rights") from error
    for number, text in enumerate(data.split(b"\n"), 1):
        try:
            entry = _parsed(text)
        except ValueError as error:
            raise TeacherError(
                f"the ledger {path} is damaged in line {number} ({error}), so that nobody knows what was spent: put "
                "back a copy of it, or compare with the provider's bill and correct or remove that line"
            ) from None
        if entry is not None:
            yield entry


def line(entry: Mapping[str, Any]) -> str:
    return json.dumps({**entry, "check": _check(entry)})


def _parsed(data: bytes) -> Mapping[str, Any] | None:
    """The entry in a line, None for an empty one and for the beginning of one, which a kill has torn: a reservation
    before it was sent, or an expense whose reservation counts. Raises ValueError for anything else."""
    if not data:
        return None
    if not data.isascii() or b"\0" in data:
        raise ValueError("other characters than are written there")
    text = data.decode()
    try:
        entry = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    except json.JSONDecodeError as error:
        if not _is_cut(text, error):
            raise ValueError(f"no JSON at character {error.pos + 1}") from None
        entry = _all_but_its_end(text)
        if entry is None:
            return None
    if not isinstance(entry, dict):
        raise ValueError("no entry")
    if "check" in entry and entry["check"] != _check(entry):
        raise ValueError("it does not sum up to its check")
    if not isinstance(entry.get("model"), str) or not isinstance(entry.get("reserved", ""), str):
        raise ValueError("no model, or no number")
    if "reserved" in entry and "usd" not in entry:
        raise ValueError("no sum")
    for name in ("usd", *COUNTS):
        value = entry.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MOST:
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    return entry


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether only what is missing at the end makes a text no JSON."""
    left = text[error.pos :]
    if not text.startswith('{"'[: len(text)]):
        return False
    _, is_last, check = text.rpartition('"check": ')
    if is_last:  # digits, however many are left of them
        return not check or check.isdigit()
    if error.msg.startswith("Unterminated string"):
        is_value = text[: error.pos].endswith(": ")
        return is_value or any(f'"{key}"'.startswith(left) for key in _KEYS)
    return not left.strip(" ") or bool(_HALF_NUMBER.fullmatch(left) or any(word.startswith(left) for word in _WORDS))


def _all_but_its_end(text: str) -> Any:
    """The entry in a line whose last character alone is missing; None where more is."""
    try:
        entry = json.loads(text + "}")
    except json.JSONDecodeError:
        return None
    said, right = str(entry.get("check", "")), str(_check(entry))
    return None if said != right and right.startswith(said) else entry


def _check(entry: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps({name: value for name, value in entry.items() if name != "check"}).encode())
