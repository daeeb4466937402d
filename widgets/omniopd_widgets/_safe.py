"""Texts that a model or a data set wrote, made fit to be shown: on the wire, and in HTML that no script brings to life.

Everything is shown, nothing is obeyed: markup as it is written, characters that have no shape of their own (control,
zero-width, direction marks, halves of a pair) by a sign. Knows strings, no widget.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omniopd import redaction

# C0, C1, soft hyphen, Arabic letter mark, Hangul fillers, Mongolian vowel separator, zero-width, direction and
# separator marks, invisible operators, variation selectors' neighbours, BOM, tags. Not: tab, newline.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_HALF = re.compile("[\ud800-\udfff]")
_HALF_SHIFT = 0x100000  # halves of surrogate pairs travel as characters of the last private plane
_CONTROLS = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI", "DLE",
    "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)  # fmt: skip


class SafeHTML(str):
    """HTML made by this module, in which every text is escaped. Only this goes into a page."""

    __slots__ = ()


def wire(value: Any) -> Any:
    """`value` as JSON can carry it: tuples as lists, NaN and infinities as None, and half a surrogate pair (which no
    UTF-8 can hold) moved to the last private plane, from where the page's `visible` shows it as what it is. What was
    read as a key in this process is struck out."""
    if isinstance(value, str):
        return _HALF.sub(lambda m: chr(ord(m[0]) + _HALF_SHIFT), redaction.hide_kept(value, "[a key]"))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {wire(str(key)): wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [wire(item) for item in value]
    return value


def redact(text: str) -> str:
    """`text` without what is or looks like a key."""
    for value, name in redaction.named_like_secrets().items():
        text = text.replace(value, f"[{name}]")
    return redaction.redact(text, "[a key]")


def visible(text: str) -> str:
    """`text` in which every character without a shape is a sign: ⟨NUL⟩, or ⟨U+202E⟩ for a direction override."""
    return UNSEEN.sub(lambda m: _sign(ord(m[0])), text)


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


def table(
    headers: Sequence[str], rows: Sequence[Sequence[SafeHTML | object]], caption: str = "", limit: int = 400
) -> SafeHTML:
    """A table of texts and numbers, every cell escaped."""
    cell = "padding:2px 8px;text-align:left;vertical-align:top;border-bottom:1px solid #8884"
    head = join([element("th", name, style=cell) for name in headers])
    body = join(
        [
            element(
                "tr", *(element("td", c if isinstance(c, SafeHTML) else str(c), style=cell, limit=limit) for c in r)
            )
            for r in rows
        ]
    )
    title = element("caption", caption, style="text-align:left;font-weight:600") if caption else SafeHTML("")
    return element("table", title, element("tr", head), body, style="border-collapse:collapse;margin:6px 0")


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


def _sign(code: int) -> str:
    # Letters, since few fonts have the control pictures.
    name = _CONTROLS[code] if code < len(_CONTROLS) else "DEL" if code == 0x7F else f"U+{code:04X}"
    return f"⟨{name}⟩"


def _checked(part: SafeHTML) -> SafeHTML:
    if not isinstance(part, SafeHTML):
        raise TypeError(f"{part[:40]!r} is not SafeHTML: pass it through escape() first")
    return part
