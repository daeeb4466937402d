"""Two students on one prompt: both answer it with the same draws, and each reads what the other wrote.

The answers are sampled and scored by the functions of a training step. Knows no teacher and no view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from omniopd.config import Recipe, load_recipe
from omniopd.errors import ConfigError
from omniopd.models.sampling import sample
from omniopd.models.score import score
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.vocabulary import same_tokenizer
from omniopd.pipeline.build import LocalModel, build_student, build_task
from omniopd.records import PairedAnswer, Reading
from omniopd.runs.checkpoints import Checkpoint
from omniopd.tasks.verdict import graded
from omniopd.training.recording import rollout_records
from omniopd.types import AuditedRollout, Prompt, Rollout, Task

Say = Callable[[str], object]


class Pair:
    """Two students of runs, or models: each is loaded when it is first needed, and then kept.

    The task, the longest answer and the temperature are those of the left one's run (else the right one's, else of the
    recipe `embedded`).
    """

    def __init__(self, left: Checkpoint, right: Checkpoint) -> None:
        self.left, self.right = left, right
        self.recipe = left.recipe or right.recipe or load_recipe("embedded")
        self._task: Task | None = None
        self._loaded: dict[tuple[str, ...], LocalModel] = {}

    @property
    def task(self) -> Task:
        if self._task is None:
            self._task = build_task(self.recipe)
        return self._task

    def problems(self, count: int = 50) -> list[Prompt]:
        """Held-out problems to choose from."""
        return self.task.prompts(self.recipe.task.test_split, count)

    def answer(
        self, prompt: Prompt | str, seed: int = 0, temperature: float | None = None, say: Say = lambda _: None
    ) -> tuple[PairedAnswer, PairedAnswer]:
        """The left one's answer and the right one's, each as both read it, graded where the prompt has an answer.

        The draws are those of (seed, prompt): two students that agree write the same. `say` hears what goes on. Raises
        ConfigError for what cannot be loaded, DataError for a prompt beyond a student's context.
        """
        asked = Prompt("own", ({"role": "user", "content": prompt},)) if isinstance(prompt, str) else prompt
        heat = self.recipe.student.temperature if temperature is None else temperature
        wrote: list[Rollout] = []
        for one in (self.left, self.right):
            student = self._student(one, say)
            say(f"{one.label} answers …")
            wrote += sample(
                student.model, student.tokenizer, [asked], self.recipe.student.max_tokens, heat, seed
            )  # fmt: skip
        say("each reads the other's answer …")
        left, right = wrote
        return (
            self._paired(left, _reading(left), self._read(self.right, left, heat)),
            self._paired(right, self._read(self.left, right, heat), _reading(right)),
        )

    @property
    def difference_in_kind(self) -> str:
        """Why neither can read the other's tokens, as a sentence; "" where both can. Of students that are loaded."""
        left, right = (self._loaded.get(self._loading(one)) for one in (self.left, self.right))
        if left is None or right is None or same_tokenizer(left.tokenizer, right.tokenizer):
            return ""
        return (
            f"{self.left.label} and {self.right.label} have different tokenizers, so neither can read the other's "
            "tokens: the answers stand side by side, and no token is compared"
        )

    def _read(self, by: Checkpoint, rollout: Rollout, temperature: float) -> Reading | None:
        if self.difference_in_kind:
            return None
        reader = self._loaded[self._loading(by)]
        # Behind the question as the reader's own chat template writes it.
        asked = torch.tensor(prompt_ids(reader.tokenizer, rollout.prompt.messages))
        [read] = score(
            reader.model, reader.tokenizer, [replace(rollout, prompt_ids=asked)], temperature=temperature or 1.0
        )
        return _reading(read)

    def _paired(self, rollout: Rollout, left: Reading | None, right: Reading | None) -> PairedAnswer:
        tokenizer = self._loaded[self._loading(self.left)].tokenizer
        [record] = rollout_records(0, {0: (AuditedRollout(rollout, ()), [])}, {}, 1.0, tokenizer, probe=True)
        return PairedAnswer(graded(self.task, record), left, right)

    def _student(self, of: Checkpoint, say: Say) -> LocalModel:
        key = self._loading(of)
        if key not in self._loaded:
            say(f"{of.label} is being loaded …")
            try:
                self._loaded[key] = build_student(_with_model(of.recipe or self.recipe, of.model))
            except ConfigError as error:
                raise ConfigError(f"{of.label}: {str(error).removeprefix('student.model: ')}") from error
        return self._loaded[key]

    def _loading(self, of: Checkpoint) -> tuple[str, ...]:
        """All that `build_student` loads a student by."""
        recipe = of.recipe or self.recipe
        student, training = recipe.student, recipe.training
        return of.model, student.dtype, str(student.load_in_4bit), training.precision, training.device


def _with_model(recipe: Recipe, model: str) -> Recipe:
    return replace(recipe, student=replace(recipe.student, model=model))


def _reading(rollout: Rollout) -> Reading:
    return Reading(tuple(rollout.logprobs.tolist()), tuple(rollout.entropies.tolist()))
