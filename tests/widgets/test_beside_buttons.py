"""What stands beside the workbench's buttons before anybody is paid, and controls that are turned while it computes."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import torch

from omniopd.pipeline.session import Session
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd_widgets import Workbench
from omniopd_widgets._parts import beside_buttons
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import hosted
from tests.widgets.test_one_screen import bench  # noqa: F401
from tests.widgets.test_workbench import STUDENT, workbench

TOKENIZER = tiny_tokenizer()


def test_where_the_student_has_no_doubt_is_said_before_the_teacher_is_paid() -> None:
    teacher = ScriptedTeacher([f"text {n}" for n in range(9)])
    made = workbench(teacher, teacher__model="anthropic/claude-haiku-4-5", audit__forks=3)
    rollout, at = made.session.rollout, made.rollout.selected
    assert at > 0
    sure = torch.zeros_like(rollout.entropies)
    sure[at] = 1.0
    made.session.take(replace(rollout, entropies=sure))
    made._show(made.session.record(), at)
    forks = len(made.session.forks())
    none = f"at {forks - 1} of {forks} forks the student has no doubt (entropy 0.00 nats)"
    assert made.bar.place == f"at token {at}; {none}"
    made.rollout.selected = 0
    assert made.bar.place == f"at token 0, where the student has no doubt (entropy 0.00 nats); {none}"
    made.rollout.opened = 0
    assert "token 0, where the student has no doubt (entropy 0.00 nats): press “Ask here” to pay ≈" in made.bar.place
    assert teacher.requests == []
    made.close()


def test_a_doubt_is_not_remarked_on() -> None:
    made = workbench(ScriptedTeacher(["a text"] * 9))
    assert min(fork.entropy for fork in made.session.forks()) > beside_buttons.NO_DOUBT
    assert made.bar.place == f"at token {made.rollout.selected}"
    made.close()


def test_before_is_where_a_drag_began_however_late_python_answers(mount, bench, monkeypatch) -> None:  # noqa: F811
    """The first tick of the drag is still computed when the last one arrives: it must not come back as the setting."""
    mounted = mount(bench)
    mounted.click("[role=tab]:has-text('Trust')")
    column = ".oopd-posterior-list tbody tr > :nth-child({})"
    now, before = column.format(3), column.format(4)
    at_first = mounted.find(now).all_inner_texts()
    slider = mounted.find(".oopd-posterior input[type=range]").first
    begun, go_on = threading.Event(), [threading.Event(), threading.Event()]
    taken, change = iter(go_on), bench.session.with_settings

    def slowly(**settings) -> None:
        begun.set()
        assert next(taken).wait(20)
        change(**settings)

    def drag(value: str, kind: str) -> None:
        slider.evaluate("(s, [v, k]) => { s.value = v; s.dispatchEvent(new Event(k)); }", [value, kind])
        mounted.page.wait_for_timeout(120)  # what is dragged is sent ten times a second
        mounted.settle()

    monkeypatch.setattr(bench.session, "with_settings", slowly)
    drag("2", "input")
    assert begun.wait(20)
    drag("4", "input")
    drag("4", "change")
    begun.clear()
    go_on[0].set()
    assert begun.wait(20)  # the second turn: the first has been shown
    mounted.settle()
    go_on[1].set()
    bench.wait()
    mounted.settle()
    mounted.frame()
    assert bench.session.recipe.objective.concentration == bench.posterior.concentration == 4.0
    assert mounted.find(before).all_inner_texts() == at_first != mounted.find(now).all_inner_texts()


def test_what_goes_on_says_how_far_it_is() -> None:
    with Served(latency_s=0.05) as server:
        recipe = small_recipe(student__max_tokens=24, audit__samples=5, audit__forks=2, audit__similarity="characters")
        made = Workbench(exploration=Session(recipe, STUDENT, hosted(server, concurrency=1)), runs=None, problems=3)
        said: list[str] = []
        made.bar.observe(lambda change: said.append(change["new"]), "busy")
        made.begin()
        assert server.seen == []  # on a press, and not by itself
        assert any(re.fullmatch(r"the student answers … token \d+ of at most 24", words) for words in said)
        made.ask_all()
        made.wait()
        assert made.bar.problem == ""
        far = [words for words in said if re.fullmatch(r"the teacher continues at all forks … \d+ of 10 texts", words)]
        assert len(far) > 1
        assert said[-1] == ""
        made.close()


def test_a_teacher_that_runs_here_has_read_the_answer_to_begin_with() -> None:
    teacher = LocalTeacher(tiny_model(1, context=512), TOKENIZER)
    session = Session(small_recipe(student__max_tokens=24), STUDENT, teacher)
    made = Workbench(exploration=session, runs=None, problems=3).begin(seed=2)
    assert (made.bar.seed, made.bar.busy) == (2, "")
    assert made.rollout.record.audits
    made.close()
