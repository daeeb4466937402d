"""Texts that a model or a data set wrote, made fit to be shown: as JSON for the page, as HTML that runs no script.

Everything is shown, nothing is obeyed: markup as it is written, characters that have no shape of their own (control,
zero-width, direction marks, halves of a pair) by a sign. Knows strings, no widget.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, overload

from omniopd.io import redaction
from omniopd.io.texts import HALF, UNSEEN, visible

__all__ = [
    "UNSEEN", "Json", "JsonObject", "SafeHTML", "element", "escape", "fit", "join", "redact", "shorten", "table",
    "tables", "to_json", "visible",
]  # fmt: skip
_HALF_SHIFT = 0x100000  # halves of surrogate pairs travel as characters of the last private plane

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


class SafeHTML(str):
    """HTML made by this module, in which every text is escaped. Only this goes into a page."""

    __slots__ = ()


@overload
def to_json(value: str) -> str: ...
@overload
def to_json(value: float | None) -> float | None: ...
@overload
def to_json(value: Mapping[str, Any]) -> JsonObject: ...
@overload
def to_json(value: list[Any] | tuple[Any, ...]) -> list[Json]: ...
def to_json(value: Any) -> Json:
    """`value` as the page gets it: tuples as lists, NaN and infinities as None, and half a surrogate pair (which no
    UTF-8 can hold) moved to the last private plane, from where the page's `visible` shows it as what it is. What was
    read as a key in this process is struck out."""
    if isinstance(value, str):
        return HALF.sub(lambda m: chr(ord(m[0]) + _HALF_SHIFT), redaction.hide_kept(value, "[a key]"))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {to_json(str(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    kept: Json = value
    return kept


def redact(text: str) -> str:
    """`text` without what is or looks like a key."""
    for value, name in redaction.named_like_secrets().items():
        text = text.replace(value, f"[{name}]")
    return redaction.redact(text, "[a key]")


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters, and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def escape(text: object, limit: int = 400) -> SafeHTML:
    """A text inside a page: shortened, visible, escaped, in its own direction, its spaces and line breaks kept."""
    shown = html.escape(visible(shorten(str(text), limit)))
    return SafeHTML(f'<span style="unicode-bidi:isolate;white-space:pre-wrap;overflow-wrap:anywhere">{shown}</span>')


def join(parts: Sequence[SafeHTML], separator: str = "") -> SafeHTML:
    """Parts next to each other; the separator is escaped."""
    return SafeHTML(html.escape(separator).join(_checked(part) for part in parts))


def element(tag: str, *children: SafeHTML | str, style: str = "", limit: int = 400) -> SafeHTML:
    """`<tag>` around children; a child that is no SafeHTML is escaped. `style` is ours, never a text's."""
    inner = "".join(child if isinstance(child, SafeHTML) else escape(child, limit) for child in children)
    attribute = f' style="{html.escape(style)}"' if style else ""
    return SafeHTML(f"<{tag}{attribute}>{inner}</{tag}>")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "", limit: int = 400) -> SafeHTML:
    """A table of texts and numbers, every cell escaped."""
    cell = "padding:2px 8px;text-align:left;vertical-align:top;border-bottom:1px solid #8884"

    def line(tag: str, values: Sequence[object], limit: int) -> SafeHTML:
        shown = [value if isinstance(value, SafeHTML) else str(value) for value in values]
        return element("tr", *(element(tag, value, style=cell, limit=limit) for value in shown))

    body = join([line("td", row, limit) for row in rows])
    title = element("caption", caption, style="text-align:left;font-weight:600") if caption else SafeHTML("")
    return element("table", title, line("th", headers, 400), body, style="border-collapse:collapse;margin:6px 0")


def tables(headers: Sequence[str], rows: Sequence[Sequence[object]], size: int) -> list[SafeHTML]:
    """The rows in tables of `size`: where room ends, the first ones stay."""
    return [table(headers, rows[at : at + size]) for at in range(0, len(rows), size)]


def fit(parts: Sequence[SafeHTML], limit: int) -> SafeHTML:
    """As many parts as fit into `limit` bytes, and how many did not."""
    kept, used = [], 0
    for index, part in enumerate(parts):
        used += len(_checked(part).encode("utf-8", "replace"))
        if used > limit:
            kept.append(element("p", f"{len(parts) - index} more parts are shown where the notebook runs."))
            break
        kept.append(part)
    return join(kept)


def _checked(part: SafeHTML) -> SafeHTML:
    if not isinstance(part, SafeHTML):
        raise TypeError(f"{part[:40]!r} is not SafeHTML: pass it through escape() first")
    return part
