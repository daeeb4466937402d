"""`omniopd teacher check MODEL`: try a teacher out with some twenty calls. Exit code 0: usable, 1: not, and why.

`omniopd teacher allow VARIABLE HOST`: let the key in an environment variable go to a host that is not its provider's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniopd.config import Recipe
    from omniopd.teachers.checks.report import TeacherReport


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "teacher", help="try a teacher out before it is paid for", description=__doc__
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="does it continue, how fast, for how much?", description=__doc__,
        epilog="example: omniopd teacher check hosted_vllm/Qwen/Qwen3-32B teacher.api_base=http://127.0.0.1:8000/v1",
    )  # fmt: skip
    check.add_argument(
        "model", metavar="MODEL", help="as in teacher.model: anthropic/claude-haiku-4-5, embedded:teacher"
    )
    check.add_argument("settings", nargs="*", metavar="key=value", help="settings such as teacher.api_base")
    check.add_argument("--recipe", action="append", metavar="RECIPE", help="also say what a run of this recipe would "
                       "cost; again, for one that lies over it")  # fmt: skip
    check.add_argument(
        "--known", choices=("words", "stories"), help="what it is asked: to count, spell and copy (words), or the "
        "embedded world's sums, which the embedded teacher knows (stories)",
    )  # fmt: skip
    check.set_defaults(action=_check)
    allow = actions.add_parser(
        "allow", help="let a key go to a host that is not its provider's",
        description="Remembered for this user, in no recipe and no run: recipes may send the key in VARIABLE to HOST.",
        epilog="example: omniopd teacher allow OPENAI_API_KEY gateway.example.org",
    )  # fmt: skip
    allow.add_argument("variable", metavar="VARIABLE", help="the environment variable's name, not the key")
    allow.add_argument("host", metavar="HOST", help="as the question names it, or an address")
    allow.set_defaults(action=_allow)
    return command


def run(options: argparse.Namespace) -> int:
    code: int = options.action(options)
    return code


def _allow(options: argparse.Namespace) -> int:
    from omniopd.teachers.access.keys import allow

    path = allow(options.variable, options.host)
    print(f"The key in {options.variable} may go to {options.host}; remembered in {path}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from omniopd.config import compose
    from omniopd.costs.consent import keys_first
    from omniopd.io.quiet import quiet_libraries
    from omniopd.pipeline.teacher_check import check_recipe_teacher

    quiet_libraries()
    recipe = compose(options.recipe or ["embedded"], options.settings)
    recipe = replace(recipe, teacher=replace(recipe.teacher, model=options.model))
    keys_first(recipe)
    known = options.known or ("stories" if options.model.startswith("embedded:") else "words")
    report = check_recipe_teacher(recipe, known)
    print(report)
    if options.recipe and report.usable:
        _say_price(recipe, report)
    return report.exit_status


def _say_price(recipe: Recipe, report: TeacherReport) -> None:
    from omniopd.costs.recipe import estimate_of

    if report.proposal:
        recipe = replace(recipe, teacher=replace(recipe.teacher, handover=report.handover))
    found = estimate_of(recipe, latency_s=report.latency_median_s or None)
    if found is not None:
        print(f"A run of the recipe {recipe.name} takes {found}.", file=sys.stdout)
