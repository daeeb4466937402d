"""A lab's figures as a table in the README, between two marks of its own."""

from __future__ import annotations

import re
from pathlib import Path

from omniopd.embedded.figures import CHUNK_TOKENS, FORKS, SAMPLES, Figures
from omniopd.embedded.labs import LABS, Plan, Promises


def write_report(figures: Figures, readme: Path, plan: Plan = LABS["stories"]) -> None:
    """Put the table between the marks of `readme`; a file without them (or none) is left as it is."""
    if not readme.exists():
        return
    text = readme.read_text(encoding="utf-8")
    begin, end = f"<!-- {plan.mark} -->", f"<!-- /{plan.mark} -->"
    table = f"{begin}\n{as_table(figures, plan.promises)}\n{end}"
    readme.write_text(re.sub(f"{begin}.*?{end}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def as_table(figures: Figures, promised: Promises = LABS["stories"].promises) -> str:
    """The figures as two Markdown tables: accuracy by temperature, and everything else."""
    temperatures = list(figures.student_accuracy)
    least, most = promised.student_best
    asked = f"≥ {promised.texts_per_fork:g}" if promised.texts_per_fork > 1 else ""
    lines = [
        f"Sampled accuracy, %, on {figures.problems} test problems (the student at temperature 1: 16 samples each).",
        "",
        "| temperature | " + " | ".join(temperatures) + " |",
        "|---" * (len(temperatures) + 1) + "|",
        "| teacher | " + " | ".join(f"{100 * figures.teacher_accuracy[t]:.1f}" for t in temperatures) + " |",
        "| student | " + " | ".join(f"{100 * figures.student_accuracy[t]:.1f}" for t in temperatures) + " |",
        "",
        "| | measured | promised |",
        "|---|---|---|",
        f"| teacher, sampled at temperature 1 | {figures.teacher_accuracy['1']:.1%} "
        f"| ≥ {promised.teacher_sampled:.0%} |",
        f"| student at its best temperature | {figures.student_best:.1%} | {least * 100:.0f}-{most:.0%} |",
        f"| student, pass@16 | {figures.student_pass_at_16:.1%} | ≥ {promised.student_pass_at_16:.0%} |",
        f"| different texts among {SAMPLES} of the teacher's, {FORKS} peak forks, {CHUNK_TOKENS} tokens "
        f"| {figures.texts_per_fork:.2f} | {asked} |",
        f"| the same forks: entropy, nats; share on a digit "
        f"| {figures.fork_entropy:.2f}; {figures.forks_on_digits:.0%} | |",
        f"| by steps, teacher at temperature 1 | {_shares(figures.teacher_accuracy_by_steps)} | |",
        f"| by steps, student at temperature 1 | {_shares(figures.student_accuracy_by_steps)} | |",
        f"| tokens in a prompt; in an answer | {figures.prompt_tokens:.0f}; {figures.answer_tokens:.0f} | |",
        f"| megabytes: {', '.join(figures.megabytes)} | {', '.join(f'{mb:.1f}' for mb in figures.megabytes.values())} "
        f"| ≤ {promised.megabytes:g} together |",
    ]
    if promised.student_greedy < 1:
        greedy = figures.student_accuracy["0"]
        lines.insert(-7, f"| student, greedy | {greedy:.1%} | ≤ {promised.student_greedy:.0%} |")
    if figures.told_apart:
        told, by_chance = figures.told_apart["learnt"], figures.told_apart["random"]
        lines.insert(-1, f"| embedding: rewording nearer than a wrong result | {told:.1%} "
                         f"(random vectors: {by_chance:.1%}) | |")  # fmt: skip
    return "\n".join(lines)


def _shares(by_steps: dict[str, float]) -> str:
    return ", ".join(f"{steps}: {share:.0%}" for steps, share in by_steps.items())
