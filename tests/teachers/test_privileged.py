"""A teacher that sees more than the student: only its prompt differs, through every way of handing a text over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omniopd import embedded
from omniopd.auditing import scan
from omniopd.config.sees import Sees
from omniopd.errors import ConfigError, DataError
from omniopd.method.tensors import permutations
from omniopd.models.sampling import sample
from omniopd.models.text.chat import about_tokens, prompt_ids
from omniopd.models.text.shown import shown
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.checks.context import check_shown
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.privileged import OtherContext, PrivilegedTeacher, as_shown, local_below
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.training.statistics import spend
from omniopd.types import ContinuationRequest, Prompt
from tests.builders import prompt, request, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import Served
from tests.teachers.test_contract import hosted
from tests.teachers.test_nestings import Unpriced

SEES = "{question}\nA solution: {solution}\nGo on."
SOLVED = replace(prompt("2 plus 3?", "p1"), solution="2 plus 3 is 5 {answer}")


def test_the_parts_stand_in_their_places_and_nothing_else_changes() -> None:
    made = shown(Sees("{answer}: {question} <{solution}> {x} {}", "Be {answer}."), SOLVED)
    assert [dict(m) for m in made.messages] == [
        {"role": "system", "content": "Be 5."},
        {"role": "user", "content": "5: 2 plus 3? <2 plus 3 is 5 {answer}> {x} {}"},
    ]
    assert replace(made, messages=SOLVED.messages) == SOLVED
    assert shown(Sees(), SOLVED) is SOLVED


def test_the_last_question_of_a_chat_is_the_one_and_a_system_message_stays_one() -> None:
    turns = ("system", "s"), ("user", "one"), ("assistant", "a"), ("user", "two")
    chat = Prompt("c", tuple({"role": role, "content": text} for role, text in turns))
    made = shown(Sees("<{question}>", "before"), chat)
    assert [m["content"] for m in made.messages] == ["before\n\ns", "one", "a", "<two>"]
    with pytest.raises(DataError, match="'c' has no message of a user"):
        shown(Sees("{question}"), replace(chat, messages=chat.messages[:1]))


@pytest.mark.parametrize("part", ["solution", "answer"])
@pytest.mark.parametrize("value", [None, " \n"])
def test_a_prompt_that_lacks_what_is_to_be_seen_is_refused(part: str, value: str | None) -> None:
    with pytest.raises(DataError, match=f"'p1' has no {part}, and the teacher is to see it"):
        shown(Sees(f"{{question}} {{{part}}}"), replace(SOLVED, **{part: value}))


@pytest.mark.parametrize(
    ("sees", "system", "said"),
    [
        ("Solve it: {solution}", "", "sees is 'Solve it: {solution}', without {question}"),
        ("{question} {solutions}", "", "sees holds {solutions}, in whose place nothing would stand: did you mean {sol"),
        ("{question}", "{Answer}", "system holds {Answer}, in whose place nothing would stand: did you mean {answer}?"),
    ],
)
def test_a_template_that_shows_something_else_than_it_says_is_refused(sees: str, system: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        PrivilegedTeacher(ScriptedTeacher(["x"]), sees, system)
    assert said in str(told.value)


def test_a_local_teacher_reads_its_own_prompt_and_the_students_very_ids() -> None:
    """As if it had been asked under that prompt by hand, and exact."""
    tokenizer = tiny_tokenizer()
    local = LocalTeacher(tiny_model(spread=1.0), tokenizer)
    ids = [*tokenizer("the c").input_ids, *tokenizer("at").input_ids]  # not how "the cat" is encoded
    asked = request("the cat", samples=8, max_tokens=6, of=SOLVED)
    asked = replace(asked, prefix_ids=tuple(ids), tokenizer=tokenizer_mark(tokenizer))
    [answer] = PrivilegedTeacher(local, SEES, "Look.").continue_from([asked])
    [by_hand] = local.continue_from([replace(asked, prompt=shown(Sees(SEES, "Look."), SOLVED))])
    [plain] = local.continue_from([asked])
    assert answer == by_hand
    assert answer.exact
    assert answer.texts != plain.texts
    longer = len(prompt_ids(tokenizer, shown(Sees(SEES, "Look."), SOLVED).messages))
    assert answer.usage.input_tokens == longer + len(ids) > plain.usage.input_tokens


def test_a_scan_reads_the_answers_under_the_teachers_own_prompt_in_one_forward_too() -> None:
    lab = embedded()
    answers = sample(lab.student, lab.tokenizer, lab.task.prompts("test", 4), max_tokens=96)
    local = LocalTeacher(lab.student, lab.tokenizer, name="own")
    plain, teacher = (scan(answers, one, lab.tokenizer, longest=96) for one in (local, PrivilegedTeacher(local, SEES)))
    written = scan(answers, PrivilegedTeacher(local, SEES), lab.tokenizer, longest=96, by_forward=False)
    said, wanted, less = (
        [(a.fork, a.texts) for item in found for a in item.audits] for found in (teacher, written, plain)
    )
    assert said == wanted != less
    assert {a.continuations.served_model for item in teacher for a in item.audits} == {"own"}
    assert spend(teacher).calls == spend(written).calls
    assert spend(teacher).input_tokens > spend(plain).input_tokens
    assert local_below(OtherContext(PrivilegedTeacher(local, SEES), rows(3), permutations(None))) is local
    assert local_below(PrivilegedTeacher(ScriptedTeacher(["x"]), SEES)) is None


@pytest.mark.usefixtures("litellm_is_loaded")
@pytest.mark.parametrize("handover", ["instruction", "prefill", "raw"])
def test_a_served_teacher_is_sent_what_it_is_to_see_and_is_paid_for_it(handover: str) -> None:
    asked = request("the cat", samples=1, of=SOLVED)
    with Served() as server:
        plain = hosted(server.url, handover)
        [less] = plain.continue_from([asked])
        [more] = PrivilegedTeacher(plain, SEES).continue_from([asked])
        first, second = (json.dumps(seen.body) for seen in server.seen)
    assert "A solution: 2 plus 3 is 5 {answer}" in second.replace("\\n", "\n")
    assert "solution" not in first
    assert more.usage.input_tokens > less.usage.input_tokens
    assert more.handover == handover == less.handover


def counted() -> ScriptedTeacher:
    return ScriptedTeacher(lambda r: [f"{r.prompt.messages[-1]['content']} {n}" for n in range(r.samples)])


@pytest.mark.parametrize("outside", [True, False])
def test_a_cache_keeps_what_was_seen_apart_wherever_it_stands(outside: bool, tmp_path: Path) -> None:
    asked, file = request(samples=1, of=SOLVED), tmp_path / "answers.sqlite"

    def said(sees: str, solution: str) -> tuple[str, bool]:
        teacher = counted()
        whole = (
            CachedTeacher(PrivilegedTeacher(teacher, sees), file)
            if outside
            else PrivilegedTeacher(CachedTeacher(teacher, file), sees)
        )
        [answer] = whole.continue_from([replace(asked, prompt=replace(SOLVED, solution=solution))])
        return answer.texts[0], answer.cached

    assert said(SEES, "one") == ("2 plus 3?\nA solution: one\nGo on. 0", False)
    assert said(SEES, "one") == ("2 plus 3?\nA solution: one\nGo on. 0", True)
    assert said(SEES, "two") == ("2 plus 3?\nA solution: two\nGo on. 0", False)
    assert said("{question} {solution}", "two") == ("2 plus 3? two 0", False)


def test_a_system_text_alone_is_in_the_key(tmp_path: Path) -> None:
    asked, file = request(samples=1, of=SOLVED), tmp_path / "answers.sqlite"
    for system in ("one", "two"):
        teacher = ScriptedTeacher(lambda r: [r.prompt.messages[0]["content"]])
        [answer] = CachedTeacher(PrivilegedTeacher(teacher, system=system), file).continue_from([asked])
        assert (answer.texts, answer.cached) == ((system,), False)


def test_a_budget_holds_around_it() -> None:
    teacher = BudgetedTeacher(PrivilegedTeacher(ScriptedTeacher(["x"]), SEES), 1.0)
    assert teacher.continue_from([request(samples=1, of=SOLVED)])[0].texts == ("x",)
    with pytest.raises(ConfigError, match="cannot be held around a Unpriced"):
        BudgetedTeacher(PrivilegedTeacher(Unpriced(), SEES), 1.0)


def rows(count: int) -> list[Prompt]:
    return [Prompt(f"p{i}", ({"role": "user", "content": f"q{i}"},), f"a{i}", f"s{i}") for i in range(count)]


def test_other_context_shows_each_row_anothers_solution_and_answer_and_its_own_question() -> None:
    inner = PrivilegedTeacher(counted(), "{question} {solution} {answer}")
    generator = torch.Generator().manual_seed(3)
    teacher = OtherContext(inner, rows(6), permutations(generator))
    said = [as_shown(teacher, row).messages[0]["content"].split() for row in rows(6)]
    assert [words[0] for words in said] == [f"q{i}" for i in range(6)]
    assert all(words[1][1:] == words[2][1:] != words[0][1:] for words in said)
    assert sorted(words[1] for words in said) == [f"s{i}" for i in range(6)]
    again = OtherContext(inner, rows(6), permutations(torch.Generator().manual_seed(3)))
    assert [as_shown(again, row) for row in rows(6)] == [as_shown(teacher, row) for row in rows(6)]
    held_out = Prompt("h", ({"role": "user", "content": "q"},), "a", "s")
    assert as_shown(teacher, held_out).messages[0]["content"].split()[1] in {f"s{i}" for i in range(6)}
    [answer] = teacher.continue_from([ContinuationRequest(rows(6)[0], "", 1, 4)])
    assert answer.texts[0].split()[:3] == said[0]


def of_letters(letters: str) -> list[Prompt]:
    return [replace(row, answer=letter) for row, letter in zip(rows(len(letters)), letters, strict=True)]


@pytest.mark.parametrize("letters", ["ABCD" * 10, "AB", "AABB", "A" * 30 + "BC", "AAAB"])
@pytest.mark.parametrize("seed", range(3))
def test_other_context_shows_no_row_its_own_answer_where_rows_share_answers(letters: str, seed: int) -> None:
    inner, some = PrivilegedTeacher(counted(), "{question} {answer}"), of_letters(letters)
    teacher = OtherContext(inner, some, permutations(torch.Generator().manual_seed(seed)))
    seen = [as_shown(teacher, row).messages[0]["content"].split()[1] for row in some]
    assert not [1 for mine, theirs in zip(letters, seen, strict=True) if mine == theirs]
    if 2 * letters.count("A") <= len(letters):
        assert sorted(seen) == sorted(letters)
    for number, letter in enumerate(letters[-4:]):
        held_out = replace(some[0], id=f"h{number}", answer=letter)
        assert as_shown(teacher, held_out).messages[0]["content"].split()[1] != letter


def test_other_context_is_refused_where_all_rows_share_what_is_shown() -> None:
    order = permutations(torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="no row has another answer than prompt 'p0'"):
        OtherContext(PrivilegedTeacher(counted(), "{question} {answer}"), of_letters("AAAA"), order)
    OtherContext(PrivilegedTeacher(counted(), SEES), of_letters("AAAA"), order)  # shows solutions alone


def test_other_context_is_refused_where_it_would_change_nothing() -> None:
    order = permutations(torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match=r"sees neither .solution. nor .answer."):
        OtherContext(PrivilegedTeacher(counted(), "Think. {question}"), rows(4), order)
    with pytest.raises(ConfigError, match="there are 1 prompts"):
        OtherContext(PrivilegedTeacher(counted(), SEES), rows(1), order)


def test_what_is_longer_than_the_teachers_context_is_refused_with_numbers() -> None:
    tokenizer = tiny_tokenizer()
    local = LocalTeacher(tiny_model(context=64), tokenizer)
    check_shown(local, [SOLVED], tokenizer, 10**6)  # sees what the student sees: the student's own check is enough
    teacher = PrivilegedTeacher(local, SEES)
    length = len(prompt_ids(tokenizer, as_shown(teacher, SOLVED).messages))
    check_shown(teacher, [SOLVED], tokenizer, 64 - length)
    said = rf"'p1' has {length} tokens as the teacher sees it, with answers of 65 more .* \(64\)"
    with pytest.raises(DataError, match=said):
        check_shown(teacher, [SOLVED], tokenizer, 65)


def test_a_model_of_the_price_table_has_a_context_too() -> None:
    teacher = PrivilegedTeacher(counted(), SEES)
    teacher.teacher.model = "anthropic/claude-haiku-4-5"  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"has about \d+ tokens as the teacher sees it, with answers of 900000 more"):
        check_shown(teacher, [SOLVED], tiny_tokenizer(), 900_000)


def test_a_student_that_takes_no_system_message_does_not_keep_one_from_a_hosted_teacher() -> None:
    student = tiny_tokenizer()
    own = student.chat_template
    try:
        student.chat_template = (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}" + own
        )
        teacher = PrivilegedTeacher(counted(), SEES, "Look.")
        with pytest.raises(DataError, match="no system messages"):
            prompt_ids(student, as_shown(teacher, SOLVED).messages)
        check_shown(teacher, [SOLVED], student, 4)
        teacher.teacher.model = "anthropic/claude-haiku-4-5"  # type: ignore[attr-defined]
        check_shown(teacher, [SOLVED], student, 4)
        length = about_tokens(student, SOLVED.messages, as_shown(teacher, SOLVED).messages)
        student.chat_template = own
        assert length < len(prompt_ids(student, as_shown(teacher, SOLVED).messages)) < 2 * length
    finally:
        student.chat_template = own


def test_a_template_that_leaves_the_system_text_out_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    own = tokenizer.chat_template
    try:
        tokenizer.chat_template = own.replace(" in messages %}", " in messages if m.role != 'system' %}")
        teacher = PrivilegedTeacher(LocalTeacher(tiny_model(), tokenizer), system="Look.")
        with pytest.raises(ConfigError, match="leaves a system message out, so that the teacher would not see"):
            check_shown(teacher, [SOLVED], tokenizer, 4)
        tokenizer.chat_template = own
        check_shown(teacher, [SOLVED], tokenizer, 4)
    finally:
        tokenizer.chat_template = own
