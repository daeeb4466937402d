"""The question bar: which problem the student answers, where and how much the teacher is asked, and what that costs.

Knows names and numbers; does nothing itself. A press of a button counts up `pressed`, and whoever observes it acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets as t

from omniopd.method.forks import SCHEDULERS
from omniopd.method.similarity import SIMILARITIES
from omniopd.method.targets import TARGETS
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.safe import SafeHTML, element, table, to_json

ACTIONS = ("answer", "ask", "ask_all", "use", "undo", "reset", "cancel", "share")
WAYS = {"chunks": "texts beside chunks at forks", "scan": "each text until it parts from the answer"}
_SHOWN = 400  # characters of a problem in the list


class QuestionBar(View):
    """The workbench's controls.

    `problem_index` chooses among `problems`, `own_text` (where not empty) takes their place. `settings` are those of
    the recipe, by dotted names. `pressed` is `{"action": …, "count": n}`, the action one of answer, ask (at the fork
    that is open), ask_all, use, undo (the last change of a setting), reset (all of them), cancel, share. `prices` says
    what each action would take, `busy` what is going on ("" for nothing), `changes` how the settings differ from the
    recipe's: `{"name": …, "was": …, "now": …}` each, `presets` settings by name with what they reached.
    """

    problems: t.List[str] = t.List().tag(sync=True)
    problem_index = t.Int(0).tag(sync=True)
    own_text = t.Unicode("").tag(sync=True)
    seed = t.Int(0).tag(sync=True)
    temperature = t.Float(1.0).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    choices = t.Dict().tag(sync=True)
    changes: t.List[Any] = t.List().tag(sync=True)
    presets: t.List[Any] = t.List().tag(sync=True)
    prices = t.Dict().tag(sync=True)
    place = t.Unicode("").tag(sync=True)
    teacher = t.Unicode("").tag(sync=True)
    student = t.Unicode("").tag(sync=True)
    busy = t.Unicode("").tag(sync=True)
    has_answer = t.Bool(False).tag(sync=True)
    pressed: t.Dict[str, Any] = t.Dict({"action": "", "count": 0}).tag(sync=True)

    def __init__(self, problems: Sequence[str] = (), **traits: Any) -> None:
        super().__init__(
            problems=[to_json(text) for text in problems],
            choices={
                "audit.way": WAYS,
                "audit.scheduler": {one.name: one.label for one in SCHEDULERS.values()},
                "audit.similarity": {one.name: one.label for one in SIMILARITIES.values()},
                "objective.target": {one.name: one.label for one in TARGETS.values() if one.gives != "nothing"},
            },
            **traits,
        )

    def press(self, action: str) -> None:
        """Do what the button does. Raises ValueError for an unknown one."""
        if action not in ACTIONS:
            raise ValueError(f"{action!r} is not an action of the bar: it has {', '.join(ACTIONS)}")
        self.pressed = {"action": action, "count": self.pressed["count"] + 1}

    def summary(self) -> str:
        return f"{len(self.problems)} problems, student {self.student}, teacher {self.teacher}"

    def fallback(self) -> Sequence[SafeHTML]:
        chosen = self.own_text or (self.problems[self.problem_index] if self.problems else "")
        rows = [[name, str(value)] for name, value in self.settings.items()]
        return [element("p", chosen[:_SHOWN]), table(["setting", "value"], rows)]
