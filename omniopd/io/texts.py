"""Texts of unknown origin, made fit to be written, printed and opened in a spreadsheet.

Names, models' texts and messages of other programs may hold anything: half a surrogate pair, which no file can hold; an
escape sequence, which a terminal obeys; a direction mark, which shows another text than there is; a formula.
"""

from __future__ import annotations

import re

# C0, C1, soft hyphen, Arabic letter mark, Hangul fillers, Mongolian vowel separator, zero-width, direction and
# separator marks, invisible operators, variation selectors' neighbours, BOM, tags. Not: tab, newline.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
HALF = re.compile("[\ud800-\udfff]")
_CONTROLS = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI", "DLE",
    "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)  # fmt: skip
# What a spreadsheet takes for the beginning of a formula, in full width too, or passes over to find one.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def encoded(text: str) -> bytes:
    """UTF-8, as every file here is written; half a surrogate pair becomes its escape (\\ud83d), which JSON reads."""
    return text.encode("utf-8", "backslashreplace")


def whole(text: str) -> str:
    """The text with the escape of half a surrogate pair in its place: what can be encoded whoever does it."""
    return text if HALF.search(text) is None else encoded(text).decode()


def visible(text: str) -> str:
    """`text` in which every character without a shape is a sign: ⟨ESC⟩, or ⟨U+202E⟩ for a direction override.

    Tabs and line ends stay. Whatever is printed goes through here.
    """
    return UNSEEN.sub(lambda m: _sign(ord(m[0])), text)


def one_line(text: str) -> str:
    """`visible` text with signs for line ends and tabs as well: for a cell of a table, or a line that is redrawn."""
    return visible(text).replace("\n", "⟨LF⟩").replace("\t", "⟨TAB⟩")


def inert(cell: object) -> object:
    """A cell of a spreadsheet that is shown and never computed: a text that looks like a formula gets a ' in front."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if cell.startswith(_FORMULA) and not _is_number(cell) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None


def _sign(code: int) -> str:
    # Letters, since few fonts have the control pictures.
    name = _CONTROLS[code] if code < len(_CONTROLS) else "DEL" if code == 0x7F else f"U+{code:04X}"
    return f"⟨{name}⟩"
