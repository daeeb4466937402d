"""The world of stories: endless, seeded, split by numbers, and consistent in its arithmetic."""

import hashlib
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.config import TaskConfig
from omniopd.errors import ConfigError, DataError
from omniopd.tasks.stories import (
    SPLITS,
    Stories,
    Story,
    build,
    exact,
    grade,
    in_world,
    make_story,
    random_sum,
    stories,
    story_of,
    without_carry,
    worked_answer,
)
from omniopd.types import Task


def numbers(story: Story) -> tuple[object, ...]:
    return (story.start, *story.moves)


def test_the_same_seed_tells_the_same_stories_and_a_longer_list_begins_with_the_shorter() -> None:
    assert stories("test", 20, seed=3)[:5] == stories("test", 5, seed=3)
    assert stories("test", 20, seed=3) != stories("test", 20, seed=4)


def test_no_problem_belongs_to_two_splits_however_it_is_worded() -> None:
    seen = {split: {numbers(make_story(split, i, seed=9, steps=(2,))) for i in range(2000)} for split in SPLITS}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["dev"]
    assert not seen["dev"] & seen["test"]


def test_every_question_shows_the_numbers_of_its_story_in_their_order() -> None:
    for index in range(300):
        story = make_story("dev", index)
        shown = [int(number) for number in re.findall(r"\d+", story.question)]
        assert shown == [story.start, *(move.amount for move in story.moves)]


def test_totals_stay_two_digit_numbers_and_difficulty_is_the_number_of_steps() -> None:
    for steps in (1, 2, 5):
        for index in range(100):
            story = make_story("train", index, steps=(steps,))
            assert len(story.moves) == steps
            assert all(in_world(total) for total in story.totals())


def test_about_half_of_the_steps_carry_or_borrow() -> None:
    steps = carried = 0
    for index in range(1000):
        story = make_story("train", index)
        totals = story.totals()
        for move, before, after in zip(story.moves, totals, totals[1:], strict=False):
            steps += 1
            carried += without_carry(before, move.sign, move.amount) != after
    assert 0.5 < carried / steps < 0.65


def test_a_worked_answer_has_a_line_for_each_step_and_grades_as_right() -> None:
    task = Stories()
    for prompt in task.prompts("test", 200, seed=1):
        worked = task.worked_answer(prompt)
        assert worked.count("\n") == len(story_of(prompt.id).moves)
        assert task.grade(prompt, worked)


def test_a_step_has_many_wordings_and_one_of_them_is_common() -> None:
    story = make_story("train", 0, steps=(1,))
    rng = random.Random(0)
    said = [worked_answer(story, rng).split("\n")[0] for _ in range(1000)]
    assert len(set(said)) >= 8
    assert 0.4 < max(map(said.count, set(said))) / len(said) < 0.8


def test_a_slip_spreads_to_later_lines_and_grades_as_wrong() -> None:
    story = next(s for s in (make_story("test", i) for i in range(100)) if s.totals() != s.totals(without_carry))
    wrong = worked_answer(story, random.Random(0), without_carry)
    assert wrong.endswith(f"#### {story.totals(without_carry)[-1]}")
    assert not grade(story.prompt(), wrong) or story.totals(without_carry)[-1] == story.answer


@given(st.integers(10, 99), st.integers(10, 99))
@settings(max_examples=200, deadline=None)
def test_forgetting_errs_where_there_is_a_carry_or_a_borrow_and_not_elsewhere(a: int, b: int) -> None:
    carries = a % 10 + b % 10 >= 10
    assert exact(a, "+", b) - without_carry(a, "+", b) == (10 if carries else 0)
    missing = max(0, b % 10 - a % 10)  # a forgotten borrow takes the smaller digit from the larger
    assert without_carry(a, "-", b) - exact(a, "-", b) == 2 * missing


def test_forgetting_the_carry_of_a_product_loses_its_tens() -> None:
    assert without_carry(26, "*", 2) == 42
    assert without_carry(29, "*", 3) == 67


def test_sums_by_themselves_stay_in_the_world() -> None:
    rng = random.Random(0)
    for _ in range(500):
        a, sign, b = random_sum(rng)
        assert in_world(a)
        assert in_world(exact(a, sign, b))


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("#### 42", True),
        ("words\n####42", True),
        ("#### 41\n#### 42", True),
        ("42", False),
        ("#### 421", False),
        ("", False),
    ],
)
def test_the_number_after_the_last_mark_is_the_answer(response: str, right: bool) -> None:
    prompt = next(prompt for prompt in stories("train", 2000) if prompt.answer == "42")
    assert grade(prompt, response) is right


def test_a_prompts_id_is_enough_to_tell_its_story() -> None:
    for prompt in Stories(steps=(2, 4)).prompts("dev", 20, seed=-1):
        assert story_of(prompt.id).prompt() == prompt


def test_the_stories_are_a_task() -> None:
    assert isinstance(Stories().name, str)
    task: Task = Stories()
    assert len(task.prompts("test", 3)) == 3
    assert len(task.prompts("test")) == 500


def test_what_is_not_in_the_world_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="train, dev, test"):
        stories("validation", 1)
    with pytest.raises(DataError, match="from 1 to 9"):
        stories("train", 1, steps=())
    with pytest.raises(DataError, match="stories/<split>"):
        story_of("gsm8k/test/3")


def test_a_recipe_chooses_lengths_and_an_instruction_and_no_story_is_another_for_it() -> None:
    world = build(TaskConfig())
    assert world == Stories()
    told = hashlib.sha256()
    for split in SPLITS:
        for seed in (0, 1, 7):
            for prompt in world.prompts(split, 200, seed):
                told.update(repr((prompt.id, prompt.messages, prompt.answer)).encode())
    assert told.hexdigest()[:16] == "fab1bb194a90b377"  # what runs of all versions have learnt from

    [prompt] = build(TaskConfig(steps=(1,), instruction="End with ####.")).prompts("test", 1)
    story = make_story("test", 0, steps=(1,))
    assert prompt.messages == ({"role": "user", "content": f"{story.question}\nEnd with ####."},)
    assert (story_of(prompt.id), prompt.answer) == (story, str(story.answer))
    with pytest.raises(ConfigError, match=r"task\.steps is \[\]: name one or more lengths"):
        build(TaskConfig(steps=()))
