"""What a teacher is shown and the student is not: texts in which a row's question, solution and answer are filled in.

Knows no prompt, no model and no file. Prompts are shown by `models/text/shown.py`, a teacher's by
`teachers/privileged.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from omniopd.errors import ConfigError

PARTS = ("question", "solution", "answer")
_PART = re.compile(rf"\{{({'|'.join(PARTS)})\}}")
_BRACED = re.compile(r"\{(\w+)\}")
_A_SLIP = 0.75  # so alike, a word in braces is a part's name, written wrong


@dataclass(frozen=True, slots=True)
class Sees:
    """`template` is the last message of the user as a teacher sees it, `system` a text before the conversation.

    `{question}`, `{solution}` and `{answer}` stand for the row's own, in both; all other braces are text. Empty: what
    the student sees, and nothing before it.
    """

    template: str = ""
    system: str = ""

    def __bool__(self) -> bool:
        return bool(self.template or self.system)

    @property
    def needs(self) -> frozenset[str]:
        """What a row must have for this: "solution", "answer"."""
        return frozenset(_PART.findall(self.template + self.system)) - {"question"}

    def check(self, where: str = "") -> Sees:
        """Itself. ConfigError for a template without its question and a misspelt part; `where` goes before names."""
        if self.template and "{question}" not in self.template:
            shown = self.template if len(self.template) <= 60 else f"{self.template[:60]}…"
            raise ConfigError(
                f"{where}sees is {shown!r}, without {{question}}: the teacher would not see the problem, so write "
                "{question} where it belongs"
            )
        for name, text in (("sees", self.template), ("system", self.system)):
            for word in _BRACED.findall(text):
                near = () if word in PARTS else difflib.get_close_matches(word.lower(), PARTS, 1, _A_SLIP)
                if near:
                    raise ConfigError(
                        f"{where}{name} holds {{{word}}}, in whose place nothing would stand: did you mean "
                        f"{{{near[0]}}}?"
                    )
        return self


def filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with the parts in their places: in one pass, so that a solution that spells {answer} stays as it is."""
    return _PART.sub(lambda found: parts[found[1]], text)
