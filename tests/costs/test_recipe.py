"""What a run will cost is known before its first call, in the paper's quantities."""

from __future__ import annotations

import pytest

from omniopd.config import Recipe, load_recipe
from omniopd.errors import Refused
from omniopd.teachers.spending.estimate import TeacherEstimate, estimate, require_accepted, written_of_a_scan
from omniopd.teachers.spending.prices import per_million

HAIKU = per_million(1, 5)


def recipe(**more: object) -> Recipe:
    """Eight rollouts of 2,048 tokens, M = N = 10, C = 50, one step; `more` with __ for the dot."""
    settings: dict[str, object] = {
        "training.steps": 1,
        "training.rollouts": 8,
        "training.micro_batch": 8,
        "student.max_tokens": 2048,
        "audit.forks": 10,
        "audit.samples": 10,
        "audit.chunk_tokens": 50,
    }
    return load_recipe("paper", **settings | {key.replace("__", "."): value for key, value in more.items()})


def test_a_step_of_the_papers_setting_costs_what_was_computed_by_hand() -> None:
    """800 continuations of 50 tokens after 1,024 + 150 tokens each, at $1 and $5 a million: $1.14."""
    found = estimate(recipe(), HAIKU)
    assert (found.calls, found.output_tokens, found.input_tokens) == (800, 40_000, 939_200)
    assert found.usd == pytest.approx(0.9392 + 0.2)


def test_texts_that_share_a_call_share_its_prefix() -> None:
    alone, together = estimate(recipe(), HAIKU), estimate(recipe(), HAIKU, samples_per_call=8)
    assert (together.calls, together.output_tokens) == (160, alone.output_tokens)
    assert together.input_tokens == alone.input_tokens / 5


@pytest.mark.parametrize(
    ("change", "times"),
    [
        ({"training__steps": 7}, 7),
        ({"audit__samples": 20}, 2),
        ({"audit__forks": 5}, 0.5),
        ({"audit__forks": 80}, 4),  # no more forks than chunks fit into a rollout: 40
        ({"evaluation__controls": ["shuffled"]}, 2),
        ({"evaluation__controls": ["self_teacher"]}, 1),
        ({"objective__control": "self_teacher"}, 0),
        ({"training__probe_prompts": 8}, 2),
        ({"training__probe_prompts": 8, "training__steps": 10, "training__record_every": 4}, 10 + 3),
        ({"method": "continuations"}, 1),
        ({"method": "white_box"}, 0),
        ({"method": "grpo"}, 0),
        ({"method": "sft"}, 0.01),
    ],
    ids=str,
)
def test_calls_follow_the_recipe(change: dict[str, object], times: float) -> None:
    assert estimate(recipe(**change), HAIKU).calls == 800 * times


def test_a_resumed_run_takes_the_probes_and_controls_that_are_left() -> None:
    recorded = {"training__probe_prompts": 8, "training__steps": 10, "training__record_every": 4}
    whole = recipe(**recorded, evaluation__controls=["shuffled"])
    assert estimate(whole, HAIKU, steps_done=4).calls == 800 * (6 + 10 + 1)
    assert estimate(whole, HAIKU, steps_done=10, controls=[]).calls == 0


def test_the_teachers_own_tokens_and_words_are_counted() -> None:
    found = estimate(recipe(teacher__tokens_per_student_token=1.3), HAIKU, extra_input=120, extra_output=1000)
    assert found.output_tokens == 800 * (69 + 1000)  # 4 to spare for a whole last word
    assert found.input_tokens == 800 * (1174 + 120)


def test_long_prompts_have_a_price_of_their_own() -> None:
    from dataclasses import replace

    long = replace(HAIKU, long_from=1000, long_input=2 * HAIKU.input_usd)
    assert estimate(recipe(), long).usd == pytest.approx(2 * 0.9392 + 0.2)


def test_a_scan_that_is_not_streamed_writes_every_text_to_its_end() -> None:
    """Streamed, ten tokens a text at an acceptance of .9; else C of them, or those to the end of the answer."""
    scan = {"audit__way": "scan", "audit__forks": 0, "audit__samples": 1, "audit__chunk_tokens": 96}
    scan |= {"student__max_tokens": 96, "teacher__model": "openai/a-model"}
    streamed, whole = (estimate(recipe(**scan, teacher__stream=mode), None) for mode in ("auto", "never"))
    assert streamed.calls == whole.calls
    assert (streamed.output_tokens, whole.output_tokens) == (10 * streamed.calls, 49 * whole.calls)  # 48.5, whole ones
    unread = estimate(recipe(**scan | {"teacher__model": "cohere/a-model"}), None)  # how it streams is not known here
    assert unread == whole
    short = estimate(recipe(**scan | {"student__max_tokens": 2, "audit__chunk_tokens": 2}), None)
    assert short.output_tokens == 2 * short.calls
    assert [written_of_a_scan(recipe(**scan), length) for length in (2, 96)] == [2, 10]  # no further than the answer


def test_hours_are_those_of_waiting() -> None:
    found = estimate(recipe(training__steps=100), HAIKU, latency_s=2.0)
    assert found.hours == pytest.approx(100 * 13 * 2 / 3600)  # 800 calls, 64 at once: 13 rounds
    assert estimate(recipe(teacher__requests_per_minute=50.0), HAIKU).hours == pytest.approx(800 / 50 / 60)
    assert estimate(recipe(teacher__tokens_per_minute=100_000.0), HAIKU).hours == pytest.approx(9.792 / 60)


def test_a_sum_above_the_limit_is_refused_until_it_is_accepted() -> None:
    found = TeacherEstimate(800, 939_200, 40_000, 12.4, 0.02)
    require_accepted(found, 20.0, None, "say --yes")
    require_accepted(found, 1.0, 12.4, "say --yes")
    for accepted in (None, 12.0):
        with pytest.raises(Refused, match=r"\$12\.40.*above the \$1\.00 that need no question: say --yes"):
            require_accepted(found, 1.0, accepted, "say --yes")


def test_an_unknown_price_is_above_any_sum() -> None:
    found = estimate(recipe(), None)
    assert found.usd is None
    with pytest.raises(Refused, match="its price is not known here: say --yes"):
        require_accepted(found, 1e9, None, "say --yes")
    require_accepted(found, 0.0, 0.0, "say --yes")


def test_what_asks_no_teacher_costs_nothing_whatever_the_price() -> None:
    found = estimate(recipe(method="white_box"), None)
    assert (found.calls, found.usd, found.hours) == (0, 0.0, 0.0)
    require_accepted(found, 0.0, None, "say --yes")


def test_it_reads_as_a_line() -> None:
    assert str(TeacherEstimate(1234, 5_000_000, 61_700, 0.0412, 0.5)) == (
        "1,234 calls, 5,000,000 tokens read, 61,700 written: $0.041, 30 min of waiting"
    )
