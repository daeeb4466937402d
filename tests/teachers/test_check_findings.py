"""What the texts of a check are taken for, and when a teacher is usable."""

from __future__ import annotations

import pytest

from omniopd import embedded
from omniopd.teachers.checks.preflight import check_teacher
from omniopd.teachers.checks.probes import (
    CONTINUES,
    EMPTY,
    KNOWN,
    OTHER,
    PREAMBLE,
    REFUSAL,
    RESTARTS,
    SPACING,
    classified,
)
from omniopd.teachers.checks.report import Trial
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mps over the", CONTINUES),
        (" mps over", SPACING),
        ("The quick brown fox jumps", RESTARTS),
        ("Sure! Here is the rest of the sentence:\nmps", PREAMBLE),
        ("I'm sorry, I can't help with that.", REFUSAL),
        ("", "nothing"),
        (None, "nothing"),
        ("over the lazy dog", OTHER),
    ],
)
def test_what_a_text_made_of_half_a_word(text: str | None, found: str) -> None:
    [half] = [k for k in KNOWN if k.ends_in == "half a word"]
    assert classified(half, text) == found


def trial(handover: str, here: bool = False, **counts: int) -> Trial:
    words = {"goes": CONTINUES, "restarts": RESTARTS, "other": OTHER, "empty": EMPTY}
    findings = tuple(words[name] for name, count in counts.items() for _ in range(count))
    return Trial(handover, True, findings, ("x",) * len(findings), here=here)


@pytest.mark.parametrize(
    ("found", "works"),
    [
        (trial("raw", goes=5, other=7), True),  # a small model, at temperature 1
        (trial("raw", goes=2, other=10), False),  # nothing says that the prompt was read as it stands
        (trial("raw", goes=8, restarts=4), False),
        (trial("prefill", goes=5, other=7), False),  # may have begun anew, in other words
        (trial("prefill", goes=9, other=3), True),
        (trial("raw", here=True, other=12), True),  # goes on from the very tokens, whatever it makes of them
        (trial("raw", here=True, goes=8, empty=4), False),
    ],
)
def test_a_handover_is_judged_by_what_training_needs(found: Trial, works: bool) -> None:
    assert found.works == works


def test_a_model_that_runs_here_serves_whatever_it_knows() -> None:
    """The embedded teacher, which counts and copies nothing, at its own temperature and at 0."""
    lab = embedded.lab()
    warm = check_teacher(LocalTeacher(lab.teacher, lab.tokenizer))
    assert warm.usable, str(warm)
    assert warm.sampling.warm > 1
    cold = check_teacher(LocalTeacher(lab.teacher, lab.tokenizer, temperature=0.0))
    assert cold.usable, str(cold)
    assert "1 different texts in 6 draws (temperature 0: all samples are one text" in str(cold)


def test_a_script_with_one_text_is_told_what_may_be_the_cause() -> None:
    report = check_teacher(ScriptedTeacher(lambda r: [next(
        (k.expected for k in KNOWN if k.prefix == r.prefix), " a ship")] * r.samples))  # fmt: skip
    assert not report.usable
    assert "the server does not sample, or begins every call with one seed" in report.problem
