"""What a run came to, for people: the table, what it shows, time and teacher tokens, how to load the student.

Reads records; knows no model and no trainer.
"""

from __future__ import annotations

import pandas

from omniopd.evaluation.tables import Rows, as_text, findings, report_rows, report_table
from omniopd.io.units import dollars, duration
from omniopd.records import EvalRecord, StepRecord
from omniopd.reports.comparison.frontier import sheets
from omniopd.runs.store import Run
from omniopd.runs.totals import step_seconds, totals
from omniopd.teachers.spending.ledger import FILE as LEDGER
from omniopd.teachers.spending.ledger import Spend, spent
from omniopd.types import Usage

BESIDE = "pass@k, tokens of an answer and the share cut off are those of the highest temperature measured."


def outcome(run: Run) -> str:
    """The final table of a run with its sentences, as plain text."""
    evals, steps, rows = run.evals(), run.steps(), shown(run)
    parts = []
    if rows:
        parts += [as_text(outcome_table(rows), table_title(rows)), BESIDE, *findings(rows)]
    parts.append(costs(steps, evals))
    parts += [ledger_line(spend) for spend in spent(run.path / LEDGER)]
    return "\n".join(parts)


def shown(run: Run) -> dict[str, list[EvalRecord]]:
    """A run's evaluations on its test split, one a row and temperature: looks in between, perhaps on another split, are
    not mixed in."""
    return report_rows(run.evals(), run.test_split)


def table_title(rows: Rows) -> str:
    """What stands over the table."""
    problems = max(len(record.problems) for records in rows.values() for record in records)
    return f"Right answers in percent [95% interval] of {problems} held-out problems, by temperature"


def outcome_table(rows: Rows) -> pandas.DataFrame:
    """Student before and after, and teacher: `evaluation.tables.report_table` with the k that was measured."""
    own = [record.samples for records in rows.values() for record in records if record.model == "student"]
    return report_table(rows, min(16, max(own, default=16)))


def costs(steps: list[StepRecord], evals: list[EvalRecord]) -> str:
    """Seconds, calls and teacher tokens in three sentences, with what they cost by the price sheets."""
    training = sum(map(step_seconds, steps))
    took = totals(steps, 0)
    paid = f" for {dollars(took.usd)}" if took.usd else ""
    again = f", {took.teacher_cached:,} of them not for the first time," if took.teacher_cached else ""
    said = (
        f"{len(steps)} steps took {duration(training)}, the evaluations {duration(sum(e.seconds for e in evals))}. "
        f"The teacher was asked {took.calls:,} times, read {took.teacher_read:,} tokens{again} "
        f"and wrote {took.teacher_written:,}{paid}."
    )
    if took.calls and not took.usd:
        usage = Usage(took.teacher_read, took.teacher_written, took.teacher_cached)
        by_sheet = [f"{dollars(price.of(usage))} at the prices of {name}" for name, price in sheets()]
        said += f" Behind an API that is {', '.join(by_sheet)}." * bool(by_sheet)
    return said


def ledger_line(spend: Spend) -> str:
    """What one teacher behind an API has cost over all resumes of a run, retries and thrown-away answers included."""
    line = (
        f"Ledger of {spend.model}: {spend.calls:,} calls, {spend.input_tokens:,} tokens read "
        f"({spend.cached_tokens:,} from the provider's cache), {spend.output_tokens:,} written, {dollars(spend.usd)}"
    )
    if spend.unsure_usd:
        line += f" ({dollars(spend.unsure_usd)} of it for calls that nobody answered or counted)"
    if spend.remembered:
        line += f"; {spend.remembered:,} texts remembered, for nothing"
    return f"{line}."


def loading_lines(run: Run, place: str = "") -> str:
    """The three lines of Python that load the trained student, from its run's folder or from `place` on the hub; an
    adapter on weights of 4 bits with those."""
    place = place or str(run.student)
    recipe = run.recipe
    if recipe.student.load_in_4bit:
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig\n"
            'bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
            f"bnb_4bit_compute_dtype={recipe.training.precision!r})\n"
            f"model = AutoModelForCausalLM.from_pretrained({place!r}, quantization_config=bits)\n"
            f"tokenizer = AutoTokenizer.from_pretrained({place!r})"
        )
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({place!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({place!r})"
    )

