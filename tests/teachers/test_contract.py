"""What every teacher promises. A new one, or a wrapper around one, joins TEACHERS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.privileged import PrivilegedTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.prices import per_million
from omniopd.types import Continuations, Teacher
from tests.builders import prompt, request, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import Served

Maker = Callable[[str, Path], Teacher]  # a server's address, a folder


def hosted(url: str, handover: str = "instruction", samples: int = 1) -> HostedTeacher:
    traits = ModelTraits("hosted_vllm/m", handover, most_samples=samples)
    template = ChatTemplate(tiny_tokenizer()) if handover == "raw" else None
    return HostedTeacher("hosted_vllm/m", api_base=url, traits=traits, template=template, price=per_million(1, 5))


def local() -> LocalTeacher:
    return LocalTeacher(tiny_model(), tiny_tokenizer())


TEACHERS: dict[str, Maker] = {
    "local": lambda url, folder: local(),
    "scripted list": lambda url, folder: ScriptedTeacher([f"text {n}" for n in range(50)]),
    "scripted function": lambda url, folder: ScriptedTeacher(
        lambda r: [f"{r.prefix} {r.seed} {n}" for n in range(r.first_sample, r.first_sample + r.samples)]
    ),
    "hosted, instruction": lambda url, folder: hosted(url),
    "hosted, prefill, several texts a call": lambda url, folder: hosted(url, "prefill", 3),
    "hosted, raw": lambda url, folder: hosted(url, "raw", 128),
    "privileged local": lambda url, folder: PrivilegedTeacher(local(), "{question} It is {answer}."),
    "privileged hosted": lambda url, folder: PrivilegedTeacher(hosted(url, samples=3), system="Be brief."),
    "budgeted cached privileged": lambda url, folder: BudgetedTeacher(
        CachedTeacher(PrivilegedTeacher(hosted(url), "{question} It is {answer}."), folder / "answers.sqlite"), 1.0
    ),
    "cached local": lambda url, folder: CachedTeacher(local(), folder / "answers.sqlite"),
    "cached hosted": lambda url, folder: CachedTeacher(hosted(url, samples=3), folder / "answers.sqlite"),
    "budgeted local": lambda url, folder: BudgetedTeacher(local(), 1.0, folder / "ledger.jsonl"),
    "budgeted cached hosted": lambda url, folder: BudgetedTeacher(
        CachedTeacher(hosted(url), folder / "answers.sqlite"), 1.0, folder / "ledger.jsonl"
    ),
    "cached budgeted hosted": lambda url, folder: CachedTeacher(
        BudgetedTeacher(hosted(url), 1.0), folder / "answers.sqlite"
    ),
}
ASKED = [
    request("the cat", samples=3, seed=1),
    request("the cat sat", samples=1, seed=2),
    request("", samples=2, seed=3, of=prompt("other?", "p1")),
    request("the", samples=5, seed=4),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with Served() as server:
        yield server


@pytest.fixture(params=TEACHERS.values(), ids=TEACHERS.keys())
def teacher(request: pytest.FixtureRequest, server: Served, tmp_path: Path) -> Teacher:
    return request.param(server.url, tmp_path)


def test_it_is_a_teacher(teacher: Teacher) -> None:
    assert isinstance(teacher, Teacher)


def test_no_requests_get_no_answers(teacher: Teacher) -> None:
    assert teacher.continue_from([]) == []


def test_answers_stand_in_the_order_of_the_requests(teacher: Teacher) -> None:
    answers = teacher.continue_from(ASKED)
    assert [len(a.texts) for a in answers] == [3, 1, 2, 5]
    backwards = teacher.continue_from(ASKED[::-1])
    assert [a.texts for a in backwards[::-1]] == [a.texts for a in answers]


def test_every_text_says_whether_it_stopped(teacher: Teacher) -> None:
    assert all(len(a.stopped) == len(a.texts) and a.problem is None for a in teacher.continue_from(ASKED))


def test_on_result_hears_of_each_answer_once(teacher: Teacher) -> None:
    heard: list[tuple[int, Continuations]] = []
    answers = teacher.continue_from(ASKED, lambda index, answer: heard.append((index, answer)))
    assert sorted(index for index, _ in heard) == [0, 1, 2, 3]
    assert all(answers[index] is answer for index, answer in heard)


def test_the_same_request_gets_the_same_draws(teacher: Teacher) -> None:
    first, again = teacher.continue_from([ASKED[0], ASKED[0]])
    assert first.texts == again.texts == teacher.continue_from([ASKED[0]])[0].texts


def test_draws_are_numbered_so_that_a_later_round_goes_on(teacher: Teacher) -> None:
    whole, first, later = teacher.continue_from(
        [request(samples=8), request(samples=3), request(samples=5, first_sample=3)]
    )
    assert first.texts + later.texts == whole.texts
    assert len(set(whole.texts)) > 4
