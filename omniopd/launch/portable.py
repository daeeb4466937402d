"""An executed notebook without what belongs to this machine: papermill's notes, the state of widgets, paths, keys.

What a cell shows stays, apart from folders that only this machine has.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniopd.io.redaction import redact


def cleaned(notebook: Any, places: Mapping[str, str]) -> Any:
    """A copy of a notebook with neither papermill's metadata nor widget states, and each place in text rewritten.

    `places`: what a path begins with, and what to write instead; see `places_of`.
    """
    notebook = copy.deepcopy(notebook)
    for name in ("papermill", "widgets"):
        notebook["metadata"].pop(name, None)
    for cell in notebook["cells"]:
        for name in ("papermill", "execution"):
            cell["metadata"].pop(name, None)
        if cell["metadata"].get("tags") == []:
            del cell["metadata"]["tags"]
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["source"] = _rewritten(cell["source"], places)
        for output in cell.get("outputs", ()):
            for name in ("text", "traceback", "evalue"):
                if name in output:
                    output[name] = _rewritten(output[name], places)
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output["data"][kind] = _rewritten(value, places)
    return notebook


def places_of(cwd: str | Path, run: str | Path) -> dict[str, str]:
    """What paths become: relative to where the notebook ran, below ~, or below the Python installation."""
    here, home = str(Path(cwd).resolve()), str(Path.home())
    inside = os.path.relpath(Path(run).resolve(), here)
    folder = inside if not inside.startswith("..") else Path(run).name
    places = {str(Path(run).resolve()): folder, f"{here}/": "", f"{sys.prefix}/": "python/", f"{home}/": "~/"}
    # A home or a working directory of "/" would rewrite every path there is.
    return {place: other for place, other in places.items() if len(place.strip("/")) > 1}


def _rewritten(text: Any, places: Mapping[str, str]) -> Any:
    if isinstance(text, str):
        # The longest first: a run stands inside the working directory, and that one inside the home.
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        return redact(text)
    if isinstance(text, Sequence):
        return [_rewritten(line, places) for line in text]
    return text
