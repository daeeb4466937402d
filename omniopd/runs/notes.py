"""Tags, a note and a title that people give a run: changes, a line each, in a file beside its records.

A tag is added or taken away, so that two who tag a run at once keep both tags; of notes and titles the last counts.
They may be written while the run goes on: the run never writes here, and nothing of it is learnt, measured or handed
on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omniopd.errors import RunError
from omniopd.records import RunNote
from omniopd.runs.files.lines import read_lines
from omniopd.runs.files.shared import BY_HAND, append_shared
from omniopd.runs.manifest import now
from omniopd.runs.status import is_copy

FILE = "notes.jsonl"
_LONGEST_TAG, _MOST_TAGS, _LONGEST_NOTE, _LONGEST_TITLE = 40, 20, 2000, 80


@dataclass(frozen=True, slots=True)
class Notes:
    """`tags` in the order of their coming; `title` is shown in place of the folder's name ("": none)."""

    tags: tuple[str, ...] = ()
    note: str = ""
    title: str = ""


def notes_of(run: Path) -> Notes:
    """What people have said of the run in a folder. Raises RunError for a damaged line."""
    tags: dict[str, None] = {}
    note = title = ""
    for change in read_lines(run / FILE, RunNote, BY_HAND):
        tags |= dict.fromkeys(change.add)
        for tag in change.remove:
            tags.pop(tag, None)
        note = note if change.note is None else change.note
        title = title if change.title is None else change.title
    return Notes(tuple(tags), note, title)


def annotate(
    run: str | Path,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    note: str | None = None,
    title: str | None = None,
) -> Notes:
    """Give a run tags, take some away, write its note and its title ("": none; None: as it was); it is on the disk when
    this returns.

    Raises RunError, and writes nothing, for a tag that is no single word of 40 characters at most, for more than 20 of
    them, a note beyond 2,000 characters, a title beyond 80 or of several lines, a copy of a run at an address, and a
    file that cannot be written.
    """
    run, new = Path(run), tuple(dict.fromkeys(add))
    if is_copy(run):
        raise RunError(f"{run} is a copy of a run that stands elsewhere: write its tags and note there")
    for tag in new:
        if not tags_in(tag) == (tag,) or len(tag) > _LONGEST_TAG:
            raise RunError(f"{tag[:60]!r} is no tag: write one word of at most {_LONGEST_TAG} characters")
    if note is not None and len(note) > _LONGEST_NOTE:
        raise RunError(f"the note has {len(note):,} characters: write at most {_LONGEST_NOTE:,}")
    title = None if title is None else title.strip()
    if title is not None and (len(title) > _LONGEST_TITLE or len(title.splitlines()) > 1):
        raise RunError(f"{title[:60]!r} is no title: write one line of at most {_LONGEST_TITLE} characters")
    before, gone = notes_of(run), tuple(dict.fromkeys(remove))
    tags = [tag for tag in dict.fromkeys((*before.tags, *new)) if tag not in gone]
    if len(tags) > _MOST_TAGS:
        raise RunError(f"{run} would have {len(tags)} tags: keep at most {_MOST_TAGS}")
    append_shared(run / FILE, RunNote(new, gone, note, now(), title))
    return notes_of(run)


def tags_in(text: str) -> tuple[str, ...]:
    """The tags of a line of them, parted by spaces or commas; each once."""
    return tuple(dict.fromkeys(word for word in re.split(r"[\s,]+", text) if word))
