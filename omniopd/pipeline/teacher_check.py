"""The preflight of the teacher that a recipe names."""

from __future__ import annotations

import re
from dataclasses import replace

from omniopd.config import Recipe
from omniopd.embedded.labs import LABS
from omniopd.models.loading import EMBEDDED
from omniopd.pipeline.build import build_hosted_teacher, build_teacher, build_teacher_model
from omniopd.tasks.stories import Stories
from omniopd.teachers.checks.preflight import check_teacher
from omniopd.teachers.checks.probes import KNOWN, OPEN, ContinuationProbe
from omniopd.teachers.checks.report import TeacherReport
from omniopd.teachers.hosted.teacher import HostedTeacher

_SUM = re.compile(r"(?:=|is )(\d+)")
_SUMS = 12


def check_recipe_teacher(recipe: Recipe, known: str = "words") -> TeacherReport:
    """The preflight of a recipe's teacher; `known` names what it is asked. Raises ConfigError."""
    beginnings, opening = (KNOWN, OPEN) if known == "words" else _stories(recipe.teacher.model)
    local = build_teacher_model(recipe)
    if local is not None:
        return check_teacher(build_teacher(recipe, local), known=beginnings, opening=opening)

    def make(handover: str, temperature: float) -> HostedTeacher:
        own = recipe.teacher
        # Some models take one of the two, and the user's top_p belongs to the user's temperature.
        top_p = own.top_p if temperature == own.temperature else 1.0
        changed = replace(own, handover=handover or own.handover, temperature=temperature, top_p=top_p)
        return build_hosted_teacher(replace(recipe, teacher=changed))

    return check_teacher(make, known=beginnings, opening=opening)


def _stories(teacher: str) -> tuple[tuple[ContinuationProbe, ...], ContinuationProbe]:
    """Sums whose result comes next, in the middle of worked answers; and a story that can be told in many words. A
    shipped teacher is asked about the world it was taught."""
    worlds = {EMBEDDED + plan.teacher.folder: plan.task for plan in LABS.values()}
    task = worlds.get(teacher, Stories())
    found: list[ContinuationProbe] = []
    *asked, last = task.prompts("dev", 4 * _SUMS)
    for prompt in asked:
        answer = task.worked_answer(prompt)
        if (total := _SUM.search(answer)) and len(found) < _SUMS:
            question = prompt.messages[0]["content"]
            found.append(ContinuationProbe(f"sum {len(found) + 1}", question, answer[: total.start(1)], total[1]))
    return tuple(found), ContinuationProbe("an open story", last.messages[0]["content"], "", "")
