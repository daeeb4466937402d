"""`teacher.sees` through whole runs: what it shows reaches the teacher, and nothing that the student reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from omniopd.config import Recipe
from omniopd.costs.recipe import estimate_of, prompt_tokens
from omniopd.errors import ConfigError, DataError
from omniopd.models.loading import same_weights
from omniopd.pipeline import run as runs
from omniopd.pipeline.build import LocalModel, build_prompts, build_student, build_teacher_model, load_student
from omniopd.pipeline.methods import build_trainer
from omniopd.pipeline.readiness import require_ready
from omniopd.pipeline.run import run_training
from omniopd.pipeline.session import Session
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.privileged import as_shown
from omniopd.training import reference
from tests.builders import tiny_tokenizer
from tests.small_runs import lab, small_recipe
from tests.teachers.faulty_server import Served
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SOLUTION, SYSTEM = "canary 4711", "canary 9292"
SEES = "{question}\nThe solution: {solution}\nNow answer."


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """A folder with a split of 16 rows, each with a solution of its own, and one of 4 without any."""
    folder = tmp_path / "problems"
    folder.mkdir()
    rows = [{"prompt": f"the cat {i}?", "answer": str(i), "why": f"{SOLUTION} of {i}"} for i in range(20)]
    write(folder / "train.jsonl", rows[:16])
    write(folder / "test.jsonl", [{**row, "why": f"{row['why']}, held out"} for row in rows[16:]])
    return folder


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def seeing(problems: Path, **more: object) -> Recipe:
    """Both models are random and of one kind; the teacher is shown solutions."""
    wanted = {
        "teacher__sees": SEES, "task__name": "jsonl", "task__path": str(problems), "task__solution_column": "why",
        "task__prompts": 0,
    }  # fmt: skip
    return small_recipe(**{**wanted, **more})


def alone(**more: object) -> dict[str, object]:
    """Settings under which the student is its own teacher."""
    return {"teacher__model": str(lab() / "student"), **more}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """All that students and teachers of a run come to read, as text: their embeddings see every id."""
    seen: dict[str, list[str]] = {"student": [], "teacher": []}

    def listening(who: str, model: Any) -> Any:
        def hear(module: Any, args: tuple[Any, ...]) -> None:
            seen[who] += tiny_tokenizer().batch_decode(args[0])

        model.get_input_embeddings().register_forward_pre_hook(hear)
        return model

    def student(recipe: Recipe) -> LocalModel:
        made = build_student(recipe)
        return replace(made, model=listening("student", made.model))

    def teacher(recipe: Recipe) -> LocalModel | None:
        made = build_teacher_model(recipe)
        return None if made is None else replace(made, model=listening("teacher", made.model))

    monkeypatch.setattr(runs, "build_student", student)
    monkeypatch.setattr(runs, "build_teacher_model", teacher)
    monkeypatch.setattr(runs, "load_student", lambda *args: listening("student", load_student(*args)))
    return seen


def holding(folder: Path, word: str) -> set[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if word.encode() in path.read_bytes()}


@pytest.mark.parametrize("method", ["omniopd", "scan", "continuations", "sft"])
def test_nothing_of_it_reaches_what_the_student_reads_or_a_run_keeps(
    method: str, problems: Path, tmp_path: Path, read: dict[str, list[str]]
) -> None:
    controls = [] if method == "sft" else ["other_context"]
    more = {"training__probe_prompts": 2, "evaluation__at": [1], "evaluation__controls": controls}
    if method == "scan":
        more |= {"audit__way": "scan", "objective__target": "posterior_kl"}
    named = "omniopd" if method == "scan" else method
    recipe = seeing(problems, method=named, teacher__system=SYSTEM, **more)
    run = run_training(recipe, tmp_path / "runs", "one", show=False)
    assert run.state == "finished"
    assert read["student"]
    assert not [text for text in read["student"] if "canary" in text]
    shown = [text for text in read["teacher"] if SOLUTION in text]
    assert shown
    assert all(SYSTEM in text for text in shown)
    assert any("held out" in text for text in shown)  # measured as it is asked, and probed
    assert holding(run.path, SOLUTION) == set()
    assert holding(run.path, SYSTEM) == {"recipe.toml", "manifest.json"}
    rollouts = [record for step in run.rollout_steps() for record in run.rollouts(step)] if method != "sft" else []
    assert bool(rollouts) == (method != "sft")
    assert all(r.messages == ({"role": "user", "content": r.messages[0]["content"]},) for r in rollouts)
    assert all(a.exact for r in rollouts for a in r.audits)


def test_what_a_served_teacher_is_sent_is_in_no_file_of_the_run_but_the_recipe(problems: Path, tmp_path: Path) -> None:
    with Served() as server:
        api = {"teacher__model": "hosted_vllm/m", "teacher__api_base": server.url, "teacher__handover": "instruction"}
        run = run_training(seeing(problems, teacher__system=SYSTEM, **api), tmp_path / "runs", "one", show=False)
        sent = [seen.question for seen in server.seen]
    assert sent
    assert all(SOLUTION in question and SYSTEM in question for question in sent)
    assert holding(run.path, SOLUTION) == set()
    assert holding(run.path, SYSTEM) == {"recipe.toml", "manifest.json"}


# ── a student that is its own teacher ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_teacher_of_the_same_checkpoint_lends_its_weights_to_the_reference_and_changes_no_bit(
    precision: str, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"training__probe_prompts": 0}  # 16-bit probes of random models are refused

    def trained(name: str) -> tuple[Any, PartialResults]:
        kept = PartialResults()
        recipe = seeing(problems, **alone(**more, training__precision=precision, training__learning_rate=1e-3))
        trainer: Any = build_trainer(recipe, tmp_path / name, kept)
        trainer.train()
        return trainer, kept

    def memory(model: Any) -> set[int]:
        return {parameter.data_ptr() for parameter in model.parameters()}

    shared, found = trained("shared")
    assert memory(shared.teacher_model) == memory(shared.teacher.teacher.model)
    assert not memory(shared.teacher_model) & memory(shared.model)
    monkeypatch.setattr(reference, "same_weights", lambda *models: False)
    apart, wanted = trained("apart")
    assert not memory(apart.teacher_model) & memory(apart.teacher.teacher.model)
    assert [s.loss for s in found.steps] == [s.loss for s in wanted.steps]
    assert found.rollouts == wanted.rollouts
    ours, theirs = shared.model.state_dict(), apart.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    start = build_student(seeing(problems)).model
    assert same_weights(start, shared.teacher_model.module if hasattr(shared.teacher_model, "module") else
                        shared.teacher_model)  # fmt: skip
    assert not same_weights(start, shared.model)


def test_another_teacher_lends_nothing(problems: Path, tmp_path: Path) -> None:
    trainer: Any = build_trainer(seeing(problems), tmp_path)
    teacher = {p.data_ptr() for p in trainer.teacher.teacher.model.parameters()}
    assert not teacher & {p.data_ptr() for p in trainer.teacher_model.parameters()}


def test_an_adapters_teacher_of_the_same_checkpoint_stays_as_it_was(problems: Path, tmp_path: Path) -> None:
    trainer: Any = build_trainer(seeing(problems, **alone(student__lora_rank=2)), tmp_path)
    trainer.train()
    assert same_weights(trainer.teacher.teacher.model, build_student(seeing(problems)).model)


def test_an_exploration_loads_a_student_that_is_its_own_teacher_once(problems: Path) -> None:
    session: Any = Session(seeing(problems, **alone()))
    assert session.teacher.teacher.model is session.student.model
    other: Any = Session(seeing(problems))
    assert other.teacher.teacher.model is not other.student.model


# ── controls ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_controls_are_the_plain_student_and_another_rows_solution(problems: Path, tmp_path: Path) -> None:
    def asked(control: str) -> tuple[Any, list[str]]:
        recipe = seeing(problems, **alone(objective__control=control))
        trainer: Any = build_trainer(recipe, tmp_path / control)
        return trainer.teacher, [as_shown(trainer.teacher, p).messages[-1]["content"] for p in build_prompts(recipe)]

    _, own = asked("none")
    plain, questions = asked("self_teacher")
    assert isinstance(plain, LocalTeacher)
    assert questions == [text.splitlines()[0] for text in own]
    _, other = asked("other_context")
    assert [text.splitlines()[0] for text in other] == questions
    solutions, others = ([text.splitlines()[1] for text in texts] for texts in (own, other))
    assert sorted(solutions) == sorted(others)
    assert not [1 for mine, theirs in zip(solutions, others, strict=True) if mine == theirs]
    assert asked("other_context")[1] == other


# ── what is refused, before anything is paid ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"teacher__sees": "{solution}"}, "teacher.sees is '{solution}', without {question}"),
        ({"teacher__sees": "{question} {soluton}"}, "did you mean {solution}?"),
        ({"method": "white_box"}, 'teacher.sees is set and method "white_box": its teacher reads the student\'s own'),
        ({"method": "white_box_sampled", "teacher__sees": "", "teacher__system": "x"}, "teacher.system is set and"),
        (
            {"teacher__sees": "{question}!", "objective__control": "other_context"},
            'objective.control names "other_context", which changes nothing where the teacher sees neither',
        ),
        (
            {"teacher__sees": "", "evaluation__controls": ["other_context"]},
            'evaluation.controls names "other_context", which changes nothing where the teacher sees neither',
        ),
    ],
)
def test_settings_that_show_nothing_or_the_wrong_thing_are_refused(
    more: dict[str, object], said: str, problems: Path
) -> None:
    with pytest.raises(ConfigError) as told:
        seeing(problems, **more)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        ({"why": None}, "why", "row 4 (prompt 'jsonl/train/4') has no solution in column 'why', and the teacher is"),
        ({"why": "  "}, "why", "row 4 (prompt 'jsonl/train/4') has no solution in column 'why', and the teacher is"),
        ({"why": {"a": 1}}, "why", "row 4 (prompt 'jsonl/train/4') has no solution in column 'why'"),
        ({}, "whys", "has no column 'whys': did you mean 'why'?"),
        ({}, "other", "has no solution in column 'other'"),
        ({}, "", "has no solution, and the teacher is to see it: give every row one (task.solution_column names"),
    ],
)
def test_a_solution_that_is_missing_is_named_with_row_and_column(
    row: dict[str, object], column: str, said: str, problems: Path
) -> None:
    rows = [json.loads(line) for line in (problems / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    write(problems / "train.jsonl", [{**r, **row} if n == 3 else r for n, r in enumerate(rows)])
    with pytest.raises(DataError) as told:
        require_ready(seeing(problems, task__solution_column=column))
    assert said in str(told.value)
    require_ready(seeing(problems, teacher__sees=""))  # nobody is to see it


def test_a_question_that_fills_the_teachers_context_ends_nothing_but_its_beginning(
    problems: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"tokens as the teacher sees it, with answers of 8 more than .* \(512\)"):
        run_training(seeing(problems, teacher__sees="the cat " * 400 + "{question}"), tmp_path / "runs", show=False)
    assert not list((tmp_path / "runs").iterdir())


def test_a_teacher_that_cannot_be_shown_the_held_out_problems_is_not_measured(
    problems: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [json.loads(line) for line in (problems / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    write(problems / "test.jsonl", [{k: v for k, v in row.items() if k != "why"} for row in rows])
    with pytest.raises(DataError, match=r"training.probe_prompts: row . .* has no solution in column 'why'"):
        require_ready(seeing(problems))
    run = run_training(seeing(problems, training__probe_prompts=0), tmp_path / "runs", "one", show=False)
    assert {record.model for record in run.evals()} == {"student"}
    assert "the teacher is not measured" in caplog.text


# ── prices and exploring ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def paid(problems: Path) -> Iterator[Callable[..., Recipe]]:
    with Served() as server:
        api = {"teacher__model": "hosted_vllm/m", "teacher__api_base": server.url, "teacher__handover": "instruction"}
        yield lambda **more: seeing(problems, **{**api, **more})


def test_what_the_teacher_sees_is_counted_before_it_is_paid(paid: Callable[..., Recipe]) -> None:
    plain, more = paid(teacher__sees=""), paid()
    longer = prompt_tokens(more) - prompt_tokens(plain)
    assert longer > len(tiny_tokenizer()("The solution:").input_ids)
    less, whole = estimate_of(plain), estimate_of(more)
    assert less is not None
    assert whole is not None
    assert whole.calls == less.calls
    assert whole.input_tokens - less.input_tokens == pytest.approx(less.calls * longer, abs=1)


def test_a_click_shows_and_prices_what_training_would(paid: Callable[..., Recipe]) -> None:
    session, plain = Session(paid()), Session(paid(teacher__sees=""))
    problem = session.problems(1)[0]
    for one in (session, plain):
        one.answer(problem)
    longer = len(tiny_tokenizer()(f"\nThe solution: {problem.solution}\nNow answer.").input_ids)
    price, less = (one.price(one.forks()) for one in (session, plain))
    assert price.input_tokens - less.input_tokens == pytest.approx(price.calls * longer, abs=2 * price.calls)
    record = session.ask(session.forks())
    assert record.audits
    assert session.price(session.forks()).is_free
    assert SOLUTION not in str(record)
    with pytest.raises(DataError, match="prompt 'own' has no solution, and the teacher is to see it"):
        session.answer("What is 1 + 1?")
