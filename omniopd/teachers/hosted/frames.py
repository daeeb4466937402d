"""Server-sent events, byte by byte: the JSON objects that a provider streams, as they become whole.

Bytes are joined before anything is decoded, so that no character is lost where the network cuts one in two. Knows the
framing and nothing of what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from omniopd.teachers.hosted.finish import words

DONE = b"[DONE]"


class Frames:
    """What came so far of a stream's bytes. `done`: the provider has said that there is no more."""

    def __init__(self) -> None:
        self.done = False
        self._line = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Mapping[str, Any]]:
        """The objects that these bytes complete. Raises ValueError for what is none, and for one that says what is
        wrong."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            yield from self._take(line.removesuffix(b"\r"))

    def end(self) -> Iterator[Mapping[str, Any]]:
        """What a stream without a last empty line has left."""
        line, self._line = self._line, b""
        yield from self._take(line.removesuffix(b"\r"))
        yield from self._take(b"")

    def _take(self, line: bytes) -> Iterator[Mapping[str, Any]]:
        name, colon, value = line.partition(b":")
        if line and name == b"data" and colon:
            self._data.append(value.removeprefix(b" "))
        elif line and not colon and name not in (b"data", b"event", b"id", b"retry"):
            raise ValueError(f"a stream with a line of another form: {line[:40].decode('utf-8', 'replace')!r}")
        if line or not self._data:
            return
        data, self._data = b"\n".join(self._data), []
        if data.strip() == DONE:
            self.done = True
        elif not self.done:
            yield _object(data)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("a stream with a frame that is no JSON") from None
    if not isinstance(found, Mapping):
        raise ValueError("a stream with a frame that is no JSON object")
    if found.get("error"):
        raise ValueError(words(found) or "a stream that broke off with an error")
    return found
