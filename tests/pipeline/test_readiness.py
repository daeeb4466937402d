"""What can be known is said in seconds, before a model is loaded and a folder is made; and what may change does."""

from __future__ import annotations

import json
import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import omniopd.pipeline.run
from omniopd.cli.main import main
from omniopd.errors import ConfigError, DataError, OmniOPDError, RunError, TeacherError
from omniopd.pipeline.run import execute, resume_training, run_training
from omniopd.runs import open_run
from omniopd.runs.new_settings import MAY_CHANGE, with_new_settings
from omniopd.runs.store import Run, create_run
from omniopd.teachers.access.contact import first_contact
from omniopd.training.trl.checkpoints import checkpoint_path
from tests.small_runs import STEPS, as_words, lab, small_recipe


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of one's own without a test split."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"prompt": f"{i} + 1", "answer": str(i + 1)} for i in range(20)]
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def no_template(folder: Path) -> str:
    model = shutil.copytree(lab() / "student", folder / "no-template")
    (model / "chat_template.jinja").unlink(missing_ok=True)
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "chat_template"}))
    return str(model)


WRONG = {
    "student folder": ({"student__model": "./nowhere/m"}, r"student\.model: the model folder \./nowhere/m does not"),
    "student is not a model": ({"student__model": "{tmp}/data"}, r"student\.model: .* has no config\.json"),
    "template": ({"student__model": "{template}"}, "no chat template"),
    "teacher folder": (
        {"teacher__model": "local:./nowhere/t"},
        r"teacher\.model: the model folder \./nowhere/t does not",
    ),
    "teacher key": ({"teacher__model": "anthropic/claude-haiku-4-5"}, "ANTHROPIC_API_KEY"),
    "key variable": (
        {"teacher__model": "openai/x", "teacher__api_base": "{closed}", "teacher__key_variable": "NO_KEY_X"},
        "teacher.key_variable is 'NO_KEY_X', and the environment has no such variable",
    ),
    "teacher away": (
        {"teacher__model": "hosted_vllm/m", "teacher__handover": "instruction", "teacher__api_base": "{closed}"},
        r"nobody listens at 127\.0\.0\.1:\d+ \(Connection refused\)",
    ),
    "test split": ({"task__name": "jsonl", "task__path": "{tmp}/data"}, r"task\.test_split: .* has no test\.jsonl"),
    "every split": (
        {"task__name": "jsonl", "task__path": "{tmp}/data", "task__test_split": "dev", "evaluation__every": 1,
         "evaluation__every_problems": 2, "evaluation__every_split": "nope"},
        r"evaluation\.every_split: .* has no nope\.jsonl",
    ),
    "column": (
        {"task__name": "jsonl", "task__path": "{tmp}/data", "task__prompt_column": "question"},
        "no column 'question'",
    ),
    "data file": ({"task__name": "jsonl", "task__path": "{tmp}/none.jsonl"}, "none.jsonl"),
    "too few problems": (
        {"task__name": "jsonl", "task__path": "{tmp}/data", "task__test_split": "dev", "evaluation__problems": 500},
        "500 prompts were asked of",
    ),
}  # fmt: skip


def filled(settings: dict[str, object], folder: Path) -> dict[str, object]:
    words = {"{tmp}": str(folder), "{closed}": f"http://127.0.0.1:{closed_port()}/v1"}
    if "{template}" in settings.values():
        words["{template}"] = no_template(folder)
    made = dict(settings)
    for mark, word in words.items():
        made = {key: value.replace(mark, word) if isinstance(value, str) else value for key, value in made.items()}
    return made


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_work_is_said_in_seconds_and_leaves_no_run(
    what: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    for name in ("build_student", "build_teacher_model"):
        monkeypatch.setattr(omniopd.pipeline.run, name, never)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    settings, sentence = WRONG[what]
    settings = filled(settings, tmp_path)
    recipe = small_recipe(**settings)
    since = time.monotonic()
    with pytest.raises(OmniOPDError, match=sentence):
        run_training(recipe, tmp_path / "runs", show=False)
    assert time.monotonic() - since < 20  # seconds on a quiet machine
    assert not (tmp_path / "runs").exists()
    assert main(["train", "labels", *as_words(**settings), "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "--resume" not in said
    assert not (tmp_path / "runs").exists()


def test_what_only_a_loaded_model_shows_leaves_no_run_either(tmp_path: Path) -> None:
    recipe = small_recipe(student__max_tokens=4096)
    with pytest.raises(DataError, match="context"):
        run_training(recipe, tmp_path / "runs", "run", show=False)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_has_recorded_something_stays_whatever_ends_it(tmp_path: Path) -> None:
    run = create_run(tmp_path, small_recipe(student__max_tokens=4096), "run")
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="context"):
        execute(run, show=False)
    assert open_run(run.path).state == "failed"


def test_a_run_that_is_gone_on_with_stays_though_nothing_was_recorded_yet(tmp_path: Path) -> None:
    run = create_run(tmp_path, small_recipe(student__max_tokens=4096), "run")
    run.set_status(state="interrupted")
    with pytest.raises(DataError, match="context"):
        resume_training(run.path, show=False)
    assert open_run(run.path).state == "failed"


def test_a_server_that_answers_to_nobody_is_given_up_within_the_deadline() -> None:
    with socket.socket() as silent, ExitStack() as others:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        first_contact("hosted_vllm/m", url)  # somebody listens
        for _ in range(8):  # a full queue of connections takes no more
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(silent.getsockname())
        since = time.monotonic()
        with pytest.raises(TeacherError, match=r"nobody listens at 127\.0\.0\.1:\d+"):
            first_contact("hosted_vllm/m", url, patience_s=0.5)
        assert time.monotonic() - since < 5


# ── going on with other settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training(small_recipe(training__keep=STEPS), tmp_path_factory.mktemp("runs"), "run", show=False)


def stopped_at(finished: Run, folder: Path, step: int) -> Run:
    run = open_run(shutil.copytree(finished.path, folder / "run"))
    shutil.rmtree(run.student)
    for later in range(step + 1, STEPS + 1):
        shutil.rmtree(checkpoint_path(run.checkpoints, later))
    run.set_status(state="failed", step=step)
    return run


def test_a_run_is_gone_on_with_under_settings_that_may_change(finished: Run, tmp_path: Path) -> None:
    run = stopped_at(finished, tmp_path, 1)
    words = ["evaluation.temperatures=[0.0]", "evaluation.problems=2", "training.max_unanswered_share=0.9"]
    assert main(["train", "--resume", str(run.path), *words, "--quiet"]) == 0
    again = open_run(run.path)
    assert again.state == "finished"
    assert [s.loss for s in again.steps()] == [s.loss for s in finished.steps()]
    assert [len(e.problems) for e in again.evals() if e.step == STEPS] == [2]
    assert again.recipe == small_recipe(
        training__keep=STEPS, evaluation__temperatures=[0.0], evaluation__problems=2, training__max_unanswered_share=0.9
    )
    [change] = again.manifest.changes
    assert change["step"] == 1
    assert change["settings"] == {
        "evaluation.temperatures": [[0.0, 1.0], [0.0]], "evaluation.problems": [3, 2],
        "training.max_unanswered_share": [0.5, 0.9],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("audit.samples=4", "audit.samples is what .* is trained with, and stays 2: start a new run"),
        ("seed=3", "seed is what"),
        ("student.model=x", "student.model is what"),
        ("training.learning_rate=1", "training.learning_rate is what"),
        ("training.steps=9", "training.steps is what"),
        ("teacher.model=x", "teacher.model is what"),
        ("teacher.temperature=0.5", "teacher.temperature is what"),
        ("objective.target=paper", "objective.target is what"),
        ("task.train_split=dev", "task.train_split is what"),
        ("evaluation.sampels=4", r"there is no setting 'evaluation\.sampels': did you mean 'evaluation\.samples'"),
        ("evaluation.problems=-1", "evaluation.problems"),
        ("evaluation.controls=[x]", "evaluation.controls"),
    ],
)
def test_what_is_trained_stays_and_a_refused_change_changes_nothing(word, sentence, finished, tmp_path) -> None:
    run = stopped_at(finished, tmp_path, 1)
    before = {path: path.read_bytes() for path in run.path.glob("*.*") if path.name not in ("status.json", "run.lock")}
    with pytest.raises(ConfigError, match=sentence):
        resume_training(run.path, show=False, settings=[word])
    assert {path: path.read_bytes() for path in before} == before
    assert open_run(run.path).state == "failed"


def test_every_setting_that_may_change_is_one(tmp_path: Path) -> None:
    run = create_run(tmp_path, small_recipe(), "run")
    run.set_status(state="failed")
    known = run.recipe.as_dict()
    for key in MAY_CHANGE:
        section, _, name = key.partition(".")
        assert name in known[section] if name else section in known
        if name:
            assert with_new_settings(run, [f"{key}={json.dumps(known[section][name])}"]).manifest.changes == ()


def test_a_missing_test_split_is_mended_on_resuming(finished: Run, tmp_path: Path) -> None:
    run = stopped_at(finished, tmp_path, STEPS)
    with pytest.raises(DataError, match=r"task\.test_split"):
        resume_training(run.path, show=False, settings=["task.test_split=nowhere"])
    resume_training(run.path, show=False, settings=["task.test_split=dev"])
    assert {e.split for e in run.evals() if e.step == STEPS and e is run.evals()[-1]} <= {"dev"}
    assert open_run(run.path).state == "finished"


# ── a damaged run trains to its end ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_without_status_folders_and_student_goes_on_to_the_same_end(finished: Run, tmp_path: Path) -> None:
    run = stopped_at(finished, tmp_path, 2)
    (run.path / "status.json").write_text('{"state": "runn')
    shutil.rmtree(run.path / "rollouts")
    (run.path / "evals.jsonl").unlink()
    run.student.mkdir()
    (run.student / "model.safetensors").write_bytes(b"of somebody else")
    assert run.state == "lost"
    resume_training(run.path, show=False)
    assert run.state == "finished"
    assert [s.loss for s in run.steps()] == [s.loss for s in finished.steps()]
    # What was measured before is measured again, since its records were lost.
    assert [(e.model, e.step, e.problems) for e in run.evals()] == [
        (e.model, e.step, e.problems) for e in finished.evals()
    ]
    for name in ("model.safetensors", "config.json"):
        assert (run.student / name).read_bytes() == (finished.student / name).read_bytes()


def test_a_run_that_is_over_is_not_gone_on_with(finished: Run) -> None:
    with pytest.raises(RunError, match="has finished"):
        resume_training(finished.path, settings=["evaluation.problems=1"])
