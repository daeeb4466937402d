"""The handovers, one entry each: what a recipe's `teacher.handover` may be, and what follows from it.

A handover shows a text to a model that somebody serves, so that the model continues it. To add one, write its class in
a file under `teachers/handover/` (`base.py` there says what it has to do) and add its entry to the table below.
Recipes, forms, estimates, the table of models and `omniopd teacher check` read the entry. It names its class instead of
importing it: a recipe is checked without the libraries that a teacher needs.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

AUTO = "auto"  # what the table of models says


@dataclass(frozen=True, slots=True)
class HandoverEntry:
    """One handover.

    Attributes:
        name: the word of the recipe.
        implementation: `module:Class`, a subclass of `teachers.handover.base.Handover`.
        completes: it sends a bare prompt to a completion endpoint, which takes a server of one's own and the chat
            template of the served model; otherwise it sends chat messages.
        extra_input: tokens that it writes around a prefix, for estimates.
    """

    name: str
    implementation: str
    completes: bool = False
    extra_input: float = 0.0

    def load(self) -> Any:
        return resolve_name(self.implementation)


_HERE = "omniopd.teachers.handover"
HANDOVERS = {
    entry.name: entry
    for entry in (
        HandoverEntry("raw", f"{_HERE}.raw:RawCompletion", completes=True),
        HandoverEntry("prefill", f"{_HERE}.prefill:Prefill"),
        HandoverEntry("instruction", f"{_HERE}.instruction:Instruction", extra_input=120.0),
    )
}
HANDOVER_WORDS = ChainMap[str, Any](HANDOVERS, {AUTO: None}).keys()  # grows with the table
