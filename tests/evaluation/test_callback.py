"""While training goes on, held-out prompts are answered every k steps and the best student kept; it does not notice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from omniopd.errors import ConfigError, OmniOPDError, RunError
from omniopd.evaluation.best import Best, keep_best, read_best
from omniopd.evaluation.callback import EvaluationCallback
from omniopd.evaluation.evaluate import evaluate
from omniopd.models.loading import load_model
from omniopd.records import EvalRecord, ProblemResult
from omniopd.types import Prompt
from tests.builders import prompts, tiny_model, tiny_tokenizer


class Vowels:
    name = "vowels"

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        return prompts(6)[:count]

    def grade(self, prompt: Prompt, response: str) -> bool:
        return "e" in response


class Unanswered(Vowels):
    grades_by_answer = True

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        return [Prompt(p.id, p.messages) for p in super().prompts(split, count, seed)]


class Rows(Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(at % 5 + 3, at % 5 + 11)
        return {"input_ids": ids, "labels": ids}


def trained(folder: Path, *callbacks: EvaluationCallback) -> dict[str, torch.Tensor]:
    settings = TrainingArguments(
        str(folder), max_steps=5, per_device_train_batch_size=2, learning_rate=1e-2, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, logging_strategy="no", seed=3,
    )  # fmt: skip
    trainer = Trainer(tiny_model(), settings, train_dataset=Rows(), callbacks=list(callbacks))
    trainer.train()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_any_trainer_is_measured_every_k_steps_and_does_not_notice(tmp_path: Path) -> None:
    passed_on: list[EvalRecord] = []
    callback = EvaluationCallback(
        Vowels(), tiny_tokenizer(), 2, problems=4, max_tokens=12, best_in=tmp_path, on_record=passed_on.append
    )
    with_it, without = trained(tmp_path / "a", callback), trained(tmp_path / "b")
    assert all(torch.equal(with_it[name], without[name]) for name in without)
    assert [record.step for record in callback.records] == [2, 4, 5]
    assert passed_on == callback.records
    best = read_best(tmp_path)
    top = max(callback.records, key=lambda record: record.accuracy)
    assert best == Best(top.step, top.accuracy, 1.0, "test", 4)
    # What was kept is the model that scored so.
    kept = load_model(str(tmp_path / "best"))
    again = evaluate(kept, tiny_tokenizer(), Vowels(), limit=4, max_tokens=12)
    assert again.problems == top.problems


def test_every_must_be_a_step_or_more() -> None:
    with pytest.raises(ConfigError, match="every is 0"):
        EvaluationCallback(Vowels(), tiny_tokenizer(), 0)


def record(step: int, right: int, problems: int = 10, temperature: float = 1.0) -> EvalRecord:
    results = tuple(ProblemResult(str(at), int(at < right), 1) for at in range(problems))
    return EvalRecord("student", "t", "test", temperature, 1, 0, 8, results, step)


def writes(text: str):
    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "model").write_text(text)

    return save


def test_the_best_is_kept_the_earlier_one_of_a_tie(tmp_path: Path) -> None:
    kept = [
        keep_best(tmp_path, record(step, right), writes(str(step))) for step, right in ((1, 3), (2, 3), (3, 5), (4, 4))
    ]
    assert kept == [True, False, True, False]
    assert read_best(tmp_path) == Best(3, 0.5, 1.0, "test", 10)
    assert (tmp_path / "best" / "model").read_text() == "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "best.json"]


def test_what_was_measured_otherwise_is_not_compared(tmp_path: Path) -> None:
    assert keep_best(tmp_path, record(1, 9), writes("1"))
    assert keep_best(tmp_path, record(2, 1, temperature=0.0), writes("2"))
    assert keep_best(tmp_path, record(3, 1, problems=4), writes("3"))
    assert (tmp_path / "best" / "model").read_text() == "3"


def test_a_save_that_fails_leaves_the_old_best(tmp_path: Path) -> None:
    keep_best(tmp_path, record(1, 1), writes("1"))

    def full(folder: Path) -> None:
        folder.mkdir()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        keep_best(tmp_path, record(2, 5), full)
    assert (tmp_path / "best" / "model").read_text() == "1"
    assert read_best(tmp_path) == Best(1, 0.1, 1.0, "test", 10)
    assert keep_best(tmp_path, record(3, 5), writes("3"))
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(RunError, match=r"best\.json cannot be read"):
        read_best(tmp_path)


@pytest.mark.parametrize(
    ("task", "problems", "says"),
    [(Vowels(), 0, "limit is 0: evaluate at least one"), (Unanswered(), 2, "has no answer, and the evaluation")],
)
def test_what_an_evaluation_lacks_is_said_before_training(task, problems, says):
    with pytest.raises(OmniOPDError, match=says):
        EvaluationCallback(task, tiny_tokenizer(), 2, problems=problems)
