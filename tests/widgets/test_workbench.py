"""The workbench: one click calls the function of a training step; what costs waits for a press; errors are shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omniopd.config import load_recipe
from omniopd.config.reading import recipe_toml
from omniopd.launch.parameters import all_values, recipe_with
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.session import Session
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import Continuations
from omniopd_widgets import Workbench
from omniopd_widgets.question_bar import QuestionBar
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import lab, small_recipe
from tests.widgets.hostile import hostile_strings

STUDENT = LocalModel("tiny", tiny_model(context=512), tiny_tokenizer())
PROBLEMS = ["Ida has 3 pens.", "Max has 5 cards."]


@pytest.fixture
def bench() -> Iterator[Workbench]:
    made = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    yield made
    made.close()


def workbench(teacher, **settings) -> Workbench:
    recipe = small_recipe(
        student__max_tokens=24, audit__samples=3, audit__similarity="characters", objective__target="paper", **settings
    )
    made = Workbench(exploration=Session(recipe, STUDENT, teacher), runs=None, problems=3)
    made.answer()
    return made.wait()


def test_an_answer_opens_on_its_highest_fork_with_nobody_asked(bench: Workbench) -> None:
    assert bench.rollout.pieces
    assert bench.rollout.record.audits == ()
    assert bench.bar.has_answer
    highest = max(bench.session.forks(), key=lambda f: f.entropy)
    assert bench.rollout.selected == highest.start


def test_opening_a_fork_asks_a_teacher_that_runs_here_and_every_view_follows(bench: Workbench) -> None:
    at = bench.rollout.selected
    bench.rollout.opened = at
    bench.wait()
    assert bench.bar.problem == ""
    [audit] = bench.rollout.record.audits
    assert audit.start == at
    assert bench.panel.audits[bench.panel.fork] == audit
    assert (bench.posterior.selected, bench.ledger.selected) == (at, at)


def test_pointing_at_a_fork_in_one_view_moves_the_others(bench: Workbench) -> None:
    bench.ask_all()
    bench.wait()
    first, second = bench.rollout.record.audits[:2]
    bench.posterior.selected = first.start
    assert (bench.rollout.selected, bench.ledger.selected) == (first.start, first.start)
    bench.ledger.selected = second.start
    assert (bench.rollout.selected, bench.posterior.selected) == (second.start, second.start)
    assert bench.panel.audits[bench.panel.fork] == second


def test_a_token_inside_an_audited_chunk_stays_selected_while_the_views_below_show_its_fork(bench: Workbench) -> None:
    bench.ask_all()
    bench.wait()
    first, second = bench.rollout.record.audits[:2]
    bench.rollout.selected = first.start
    bench.rollout.selected = second.start + 1
    assert bench.rollout.selected == second.start + 1
    assert (bench.posterior.selected, bench.ledger.selected) == (second.start, second.start)
    assert bench.panel.audits[bench.panel.fork] == second


def test_a_teacher_that_costs_is_asked_on_a_press_and_its_price_stands_on_the_button() -> None:
    teacher = ScriptedTeacher([f"text {n}" for n in range(9)])
    bench = workbench(teacher, teacher__model="anthropic/claude-haiku-4-5")
    bench.rollout.opened = bench.rollout.selected
    bench.wait()
    assert teacher.requests == []
    assert "to pay ≈" in bench.bar.place
    assert bench.bar.prices["ask"]["paid"]
    bench.bar.press("ask")
    bench.wait()
    assert len(teacher.requests) == 1
    assert bench.bar.prices["ask"] == {"text": "already asked", "paid": False}
    bench.close()


def test_the_same_fork_can_be_opened_again(mount) -> None:
    bench = workbench(ScriptedTeacher(["a text"] * 9), teacher__model="anthropic/claude-haiku-4-5")
    mounted = mount(bench.rollout)
    for _ in range(2):
        bench.bar.place = ""
        mounted.press("Enter")
        assert "to pay ≈" in bench.bar.place
    bench.close()


def test_an_order_whose_settings_are_refused_says_so_and_is_not_paid_for() -> None:
    teacher = ScriptedTeacher([f"text {n}" for n in range(9)])
    bench = workbench(teacher)
    bench.ask()
    bench.wait()
    asked, before = len(teacher.requests), bench.bar.settings
    bench.posterior.order = {"forks": 2, "samples": 3, "chunk_tokens": 500, "serial": 1}
    bench.wait()
    assert "audit.chunk_tokens is 500, longer than a rollout" in bench.bar.problem
    assert (len(teacher.requests), bench.bar.settings) == (asked, before)
    bench.posterior.order = {"forks": 2, "samples": 3, "chunk_tokens": 3, "serial": 2}
    bench.wait()
    assert (bench.bar.problem, bench.bar.settings["audit.chunk_tokens"]) == ("", 3)
    assert {a.stop - a.start for a in bench.rollout.record.audits} == {3}
    bench.close()


def test_the_launcher_gets_the_recipe_and_every_setting_it_was_given(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(recipe_toml(small_recipe()))
    teacher = str(lab() / "student")
    bench = Workbench(
        str(file), runs=str(tmp_path / "runs"), problems=3, teacher__model=teacher, objective__anchor_weight=0.2,
        evaluation__temperatures=[0.0, 0.5],
    )  # fmt: skip
    bench.bar.settings = {**bench.bar.settings, "audit.samples": 3}
    bench.wait()
    bench.bar.press("use")
    assert bench.launcher.problems == {}
    wanted = recipe_with(all_values(bench.launcher._parameters, bench.launcher.values))
    assert wanted == load_recipe(
        file, **{
            "teacher.model": teacher, "objective.anchor_weight": 0.2, "evaluation.temperatures": [0.0, 0.5],
            "audit.samples": 3,
        }
    )  # fmt: skip
    bench.close()


def test_an_exploration_without_a_recipes_name_is_not_trained_as_another(tmp_path) -> None:
    bench = Workbench(
        exploration=Session(small_recipe(), STUDENT, ScriptedTeacher(["a"])), runs=str(tmp_path), problems=3
    )
    bench.bar.press("use")
    assert "made of an exploration=" in bench.bar.problem
    assert bench.launcher.texts == {}
    bench.close()


def test_other_settings_compare_again_and_ask_nobody() -> None:
    teacher = ScriptedTeacher([f"text {n}" for n in range(9)])
    bench = workbench(teacher)
    bench.ask_all()
    bench.wait()
    asked = len(teacher.requests)
    bench.bar.settings = {**bench.bar.settings, "audit.similarity": "exact"}
    bench.wait()
    assert len(teacher.requests) == asked
    assert set(bench.rollout.record.audits[0].similarities) <= {0.0, 1.0}
    bench.close()


def test_a_setting_that_cannot_work_is_one_sentence_and_taken_back(bench: Workbench) -> None:
    bench.bar.settings = {**bench.bar.settings, "audit.chunk_tokens": 99}
    bench.wait()
    assert "audit.chunk_tokens is 99, longer than a rollout" in bench.bar.problem
    assert bench.bar.settings["audit.chunk_tokens"] == 2


def test_a_teacher_without_an_answer_is_a_problem_on_the_screen() -> None:
    class Silent:
        def continue_from(self, requests, on_result=None):
            return [Continuations((), problem="refusal") for _ in requests]

    bench = workbench(Silent())
    bench.ask()
    bench.wait()
    assert "the teacher gave no answer" in bench.bar.problem
    assert bench.bar.busy == ""
    bench.close()


def test_a_scan_is_one_press_and_every_view_follows_its_differences() -> None:
    bench = workbench(
        LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()), audit__way="scan", audit__forks=0,
        audit__chunk_tokens=24,
    )  # fmt: skip
    assert bench.bar.prices["ask_all"] == {"text": "local seconds", "paid": False}
    bench.bar.press("ask_all")
    bench.wait()
    assert bench.bar.problem == ""
    audits = bench.rollout.record.audits
    assert all(a.run for a in audits)
    assert bench.bar.prices["ask_all"]["text"] == "already asked"
    first = bench.panel.audits[bench.panel.fork]
    assert bench.rollout.selected == first.stop - 1 == bench.posterior.selected
    assert bench.ledger.selected == first.start
    other = next(a for a in audits if a != first)
    bench.posterior.selected = other.stop - 1
    assert (bench.rollout.selected, bench.ledger.selected) == (other.stop - 1, other.start)
    assert bench.panel.audits[bench.panel.fork] == other
    bench.bar.settings = {**bench.bar.settings, "audit.way": "chunks", "audit.forks": 2, "audit.chunk_tokens": 2}
    bench.wait()
    assert bench.bar.problem == ""
    assert bench.rollout.record.audits == ()
    assert len(bench.rollout.forks) == 2
    bench.close()


def test_a_scan_that_costs_is_priced_by_a_guess_and_waits_for_a_press() -> None:
    teacher = ScriptedTeacher(lambda request: [(request.draft or "")[:3] + "#"] * request.samples)
    bench = workbench(
        teacher, teacher__model="anthropic/claude-haiku-4-5", audit__way="scan", audit__forks=0, audit__chunk_tokens=24
    )
    assert bench.bar.prices["ask_all"]["text"].startswith("a guess: about ")
    assert bench.bar.prices["ask_all"]["paid"]
    assert teacher.requests == []
    bench.ask_all()
    bench.wait()
    assert bench.bar.prices["ask_all"] == {"text": "already asked", "paid": False}
    assert all(request.draft for request in teacher.requests)
    bench.close()


def test_the_bar_offers_what_a_scan_has(mount) -> None:
    settings = {"audit.way": "chunks", "audit.forks": 4, "audit.at_once": 1, "audit.similarity": "exact"}
    mounted = mount(QuestionBar(PROBLEMS, settings=settings, has_answer=True))
    at_once = mounted.find("label:has-text('at once') input")
    similarity = mounted.find("label:has-text('compare by') select")
    assert (at_once.is_visible(), similarity.is_visible()) == (False, True)
    mounted.find("label:has-text('ask by') select").select_option("scan")
    mounted.settle()
    assert mounted.view.settings["audit.way"] == "scan"
    assert (at_once.is_visible(), similarity.is_visible()) == (True, False)
    assert mounted.find("button:has-text('Scan')").is_visible()
    mounted.find("label:has-text('forks') input").first.fill("0")
    mounted.find("label:has-text('forks') input").first.press("Enter")
    mounted.settle()
    assert mounted.view.settings["audit.forks"] == 0


def test_without_a_kernel_all_parts_are_inert_html(bench: Workbench) -> None:
    bench.ask()
    bench.wait()
    bundle = bench._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/html"].count('class="oopd-fallback') == 5
    assert repr(bench) in data["text/plain"]
    assert "0x" not in repr(bench)


def test_the_bar_in_a_browser_says_what_is_pressed_and_what_it_costs(mount) -> None:
    bar = QuestionBar(PROBLEMS, settings={"audit.forks": 4, "audit.similarity": "exact"}, has_answer=True)
    bar.prices = {"ask": {"text": "≈ 812 teacher tokens, $0.0020", "paid": True}}
    mounted = mount(bar)
    assert mounted.text(".oopd-bench-problem") == PROBLEMS[0]
    assert mounted.find(".oopd-price[data-kind=paid]").inner_text() == "≈ 812 teacher tokens, $0.0020"
    mounted.press("]")
    assert bar.problem_index == 1
    assert mounted.text(".oopd-bench-problem") == PROBLEMS[1]
    mounted.press("a")
    mounted.press("q")
    assert bar.pressed == {"action": "ask", "count": 2}
    assert mounted.leaked_keys() == []


def test_the_bar_waits_for_an_answer_before_it_asks_and_rests_while_something_goes_on(mount) -> None:
    bar = QuestionBar(PROBLEMS)
    mounted = mount(bar)
    ask = mounted.find("button:has-text('Ask here')")
    answer = mounted.find("button:has-text('Answer')")
    assert (ask.is_disabled(), answer.is_disabled()) == (True, False)
    bar.has_answer, bar.busy = True, "the teacher continues …"
    mounted.settle()
    assert (ask.is_disabled(), answer.is_disabled()) == (True, True)
    # The status line speaks ten times a second.
    said = "document.querySelector('.oopd-status').textContent"
    mounted.page.wait_for_function(f"{said}.includes('the teacher continues')")


def test_hostile_problems_and_names_are_shown_and_not_obeyed(mount) -> None:
    texts = hostile_strings()[:200]
    mounted = mount(QuestionBar(texts, student=texts[0], teacher=texts[1], problem=texts[2]))
    for number in range(0, len(texts), 20):
        mounted.view.problem_index = number
        mounted.settle()
    assert len(mounted.find("option").all()) >= len(texts)
    mounted.assert_quiet()


def test_an_order_is_priced_by_what_the_teacher_would_be_asked_and_not_by_the_forks_shown(mount) -> None:
    """One fork is at hand, and not the highest: one fork of five texts is quoted as the five of another fork."""
    teacher = ScriptedTeacher([f"text {n} of it" for n in range(9)])
    bench = workbench(teacher, teacher__model="anthropic/claude-haiku-4-5", audit__forks=2)
    low = min(bench.session.forks(), key=lambda fork: fork.entropy)
    bench.ask(low.start)
    bench.wait()
    mounted = mount(bench.posterior)
    mounted.click("details.oopd-posterior-paid summary")
    badge = mounted.find(".oopd-posterior-paid .oopd-price")
    for forks, samples in ((1, 3), (2, 5), (1, 2), (2, 3)):
        mounted.find("[data-name=forks]").fill(str(forks))
        mounted.find("[data-name=samples]").fill(str(samples))
        mounted.settle()
        quoted = bench.session.price_with(audit__forks=forks, audit__samples=samples)
        assert badge.inner_text() == str(quoted)
        asked = len(teacher.requests)
        mounted.press("Enter")
        bench.wait()
        assert sum(r.samples for r in teacher.requests[asked:]) == quoted.texts
        assert bench.bar.problem == ""
        mounted.settle()
    assert [r.samples for r in teacher.requests] == [3, 3, 2, 2]
    bench.close()
