"""Texts of unknown origin in Markdown (GitHub's, the hub's): shown as they are, so that nothing in them is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Also what becomes a link by itself: an address, with or without its scheme.
_MARKUP = re.compile(r"([\\`*<>&#@$~]|^\[|\](?=[(\[])|(?<!\w)_|_(?!\w)|:(?=//)|(?<=\bwww)\.)", re.IGNORECASE)


def code(name: str) -> str:
    """A name as code: nothing in it is markup, and nothing ends the cell or the line."""
    return f"`{_line(name).replace('`', chr(39)).replace('|', '/')}`"


def plain(sentence: str) -> str:
    """A sentence in which no letter is markup."""
    return _MARKUP.sub(r"\\\1", _line(sentence))


def cell(text: str) -> str:
    """`plain` text that does not end the cell of a table."""
    return plain(text).replace("|", "/")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, of cells that are Markdown already; all columns but the first stand to the right."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]


def fenced(lines: Iterable[str], language: str) -> list[str]:
    """A block of code, whatever its lines hold."""
    shown = [_line(line) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *shown, fence]


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
