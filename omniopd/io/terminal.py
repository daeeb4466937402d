"""What a command prints, made fit for a terminal: whatever it is and whoever prints it, it is shown and not obeyed.

Names, models' texts and other programs' messages may hold escape sequences, direction marks and halves of characters.
Only a progress bar may move the cursor: it writes to `raw`, and passes its words through `texts.one_line` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omniopd.io.texts import visible


class Plain:
    """A text stream that shows by signs what a terminal would obey."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        self.raw.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextmanager
def plain_output() -> Iterator[None]:
    """Everything that is printed inside goes through `Plain`, tracebacks, warnings and argparse's words included."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream if stream is None else Plain(stream) for stream in before)
    try:
        yield
    finally:
        # A reader that went away leaves no stream to put back.
        sys.stdout, sys.stderr = before[0] if sys.stdout is not None else None, before[1]
