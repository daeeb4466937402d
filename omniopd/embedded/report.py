"""The lab's figures as a table in its README, between two marks."""

from __future__ import annotations

import re
from pathlib import Path

from omniopd.embedded.figures import CHUNK_TOKENS, FORKS, SAMPLES, Figures

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def write_report(figures: Figures, readme: Path) -> None:
    """Put the table between the marks of `readme`; a file without them (or none) is left as it is."""
    if not readme.exists():
        return
    text = readme.read_text(encoding="utf-8")
    table = f"{BEGIN}\n{as_table(figures)}\n{END}"
    readme.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def as_table(figures: Figures) -> str:
    """The figures as two Markdown tables: accuracy by temperature, and everything else."""
    temperatures = list(figures.student_accuracy)
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
        f"| teacher, sampled at temperature 1 | {figures.teacher_accuracy['1']:.1%} | ≥ 90% |",
        f"| student at its best temperature | {figures.student_best:.1%} | 15-40% |",
        f"| student, pass@16 | {figures.student_pass_at_16:.1%} | ≥ 60% |",
        f"| different texts among {SAMPLES} of the teacher's, {FORKS} peak forks, {CHUNK_TOKENS} tokens "
        f"| {figures.texts_per_fork:.2f} | ≥ 3 |",
        f"| the same forks: entropy, nats; share on a digit "
        f"| {figures.fork_entropy:.2f}; {figures.forks_on_digits:.0%} | |",
        f"| by steps, teacher at temperature 1 | {_shares(figures.teacher_accuracy_by_steps)} | |",
        f"| by steps, student at temperature 1 | {_shares(figures.student_accuracy_by_steps)} | |",
        f"| tokens in a prompt; in an answer | {figures.prompt_tokens:.0f}; {figures.answer_tokens:.0f} | |",
        f"| embedding: rewording nearer than a wrong result | {figures.told_apart['learnt']:.1%} "
        f"(random vectors: {figures.told_apart['random']:.1%}) | |",
        f"| megabytes: teacher, student, embedding | {', '.join(f'{mb:.1f}' for mb in figures.megabytes.values())} "
        "| ≤ 12 together |",
    ]
    return "\n".join(lines)


def _shares(by_steps: dict[str, float]) -> str:
    return ", ".join(f"{steps}: {share:.0%}" for steps, share in by_steps.items())
