"""What a lab promises, measured: is the teacher right, is the student wrong at its mode and yet able to be right?

Problems are the test split's, which neither model was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.embedded.labs import LABS, Plan, Promises
from omniopd.method.tensors import peak_forks
from omniopd.models.architecture.reading import left_padded
from omniopd.models.text.chat import prompt_ids
from omniopd.tasks.stories import Stories
from omniopd.types import Prompt

TEMPERATURES = (0.0, 0.3, 0.5, 0.7, 1.0)
FORKS, CHUNK_TOKENS, SAMPLES = 4, 12, 10


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares in [0, 1] of `problems` test problems; entropies in nats; sizes in megabytes (1e6 bytes)."""

    problems: int
    teacher_accuracy: dict[str, float]
    teacher_accuracy_by_steps: dict[str, float]
    student_accuracy: dict[str, float]
    student_accuracy_by_steps: dict[str, float]
    student_pass_at_16: float
    answer_tokens: float
    prompt_tokens: float
    fork_entropy: float
    forks_on_digits: float
    texts_per_fork: float
    megabytes: dict[str, float]
    told_apart: dict[str, float]

    @property
    def student_best(self) -> float:
        """The student's accuracy at the temperature that suits it best."""
        return max(self.student_accuracy.values())

    def unmet(self, promised: Promises = LABS["stories"].promises) -> list[str]:
        """The promises that these figures break, one sentence each."""
        least, most = promised.student_best
        promises = {
            f"the teacher samples {self.teacher_accuracy['1']:.1%} right: {promised.teacher_sampled:.0%} is promised":
                self.teacher_accuracy["1"] >= promised.teacher_sampled,
            f"the student's greedy accuracy is {self.student_accuracy['0']:.1%}: "
            f"at most {promised.student_greedy:.0%} is promised":
                self.student_accuracy["0"] <= promised.student_greedy,
            f"the student's best accuracy is {self.student_best:.1%}: {least * 100:.0f}-{most:.0%} is promised":
                least <= self.student_best <= most,
            f"the student's pass@16 is {self.student_pass_at_16:.1%}: {promised.student_pass_at_16:.0%} is promised":
                self.student_pass_at_16 >= promised.student_pass_at_16,
            f"the teacher writes {self.texts_per_fork:.2f} texts at a fork: {promised.texts_per_fork:g} are promised":
                self.texts_per_fork >= promised.texts_per_fork,
            f"the folders take {sum(self.megabytes.values()):.1f} MB: {promised.megabytes:g} are allowed":
                sum(self.megabytes.values()) <= promised.megabytes,
        }  # fmt: skip
        return [promise for promise, kept in promises.items() if not kept]

    def as_dict(self) -> dict[str, object]:
        """The figures as plain numbers, for a file."""
        return asdict(self)


def measure(
    teacher: PreTrainedModel, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    megabytes: dict[str, float], told_apart: dict[str, float], problems: int = 500, seed: int = 0,
    plan: Plan = LABS["stories"],
) -> Figures:  # fmt: skip
    """All figures. Half of them wait for the student's 16 samples a problem."""
    task = plan.task
    prompts = task.prompts("test", problems, seed)
    rows = [prompt_ids(tokenizer, prompt.messages) for prompt in prompts]

    def right(model: PreTrainedModel, temperature: float, repeats: int = 1) -> Tensor:
        """Whether each sample of each problem is right, [problem, repeat]."""
        written = generate(model, [row for row in rows for _ in range(repeats)], plan.answer_tokens, temperature, seed)
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        asked = [prompt for prompt in prompts for _ in range(repeats)]
        grades = [task.grade(prompt, text) for prompt, text in zip(asked, texts, strict=True)]
        return torch.tensor(grades).view(len(prompts), repeats).float()

    student_right = {f"{t:g}": right(student, t) for t in TEMPERATURES[:-1]}
    student_right["1"] = right(student, 1.0, 16)
    teacher_right = {f"{t:g}": right(teacher, t) for t in TEMPERATURES}
    on_digits, entropy, texts, length = _at_forks(teacher, student, tokenizer, prompts[:64], plan.answer_tokens, seed)
    return Figures(
        problems=problems,
        teacher_accuracy={t: round(grades.mean().item(), 4) for t, grades in teacher_right.items()},
        teacher_accuracy_by_steps=_by_steps(task, prompts, teacher_right["1"]),
        student_accuracy={t: round(grades.mean().item(), 4) for t, grades in student_right.items()},
        student_accuracy_by_steps=_by_steps(task, prompts, student_right["1"]),
        student_pass_at_16=round(student_right["1"].amax(1).mean().item(), 4),
        answer_tokens=round(length, 1),
        prompt_tokens=round(mean(map(len, rows)), 1),
        fork_entropy=round(entropy, 3),
        forks_on_digits=round(on_digits, 3),
        texts_per_fork=round(texts, 2),
        megabytes=megabytes,
        told_apart={name: round(share, 4) for name, share in told_apart.items()},
    )


@torch.inference_mode()
def generate(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], max_tokens: int, temperature: float, seed: int
) -> list[list[int]]:
    """What the model writes after each row of ids (the end token left out); batches of rows of like length."""
    torch.manual_seed(seed)
    written: list[list[int]] = [[] for _ in rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    settings = {"do_sample": temperature > 0} | ({"temperature": temperature} if temperature > 0 else {})
    end, pad = model.generation_config.eos_token_id, model.generation_config.pad_token_id
    for start in range(0, len(order), 256):
        batch = order[start : start + 256]
        ids, kept = left_padded([rows[i] for i in batch], pad, model.device)
        out = model.generate(ids, attention_mask=kept, max_new_tokens=max_tokens, **settings)
        for i, tokens in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
            written[i] = tokens[: tokens.index(end)] if end in tokens else [t for t in tokens if t != pad]
    return written


def _at_forks(
    teacher: PreTrainedModel, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt], answer_tokens: int, seed: int,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Share of forks on digits, their mean entropy, different teacher texts a fork, tokens a rollout."""
    rows = [prompt_ids(tokenizer, prompt.messages) for prompt in prompts]
    rollouts = generate(student, rows, answer_tokens, 1.0, seed)
    prefixes, entropies, digits = [], [], []
    for row, rollout in zip(rows, rollouts, strict=True):
        forks = peak_forks(_entropies(student, row, rollout), FORKS, CHUNK_TOKENS)
        for fork in sorted(forks, key=lambda fork: -fork.entropy):
            prefixes.append(row + rollout[: fork.start])
            entropies.append(fork.entropy)
            digits.append(tokenizer.decode([rollout[fork.start]]).isdigit())
    continued = generate(teacher, [p for p in prefixes for _ in range(SAMPLES)], CHUNK_TOKENS, 1.0, seed)
    texts = [len({tuple(t) for t in continued[i : i + SAMPLES]}) for i in range(0, len(continued), SAMPLES)]
    return mean(map(float, digits)), mean(entropies), mean(map(float, texts)), mean(len(r) for r in rollouts)


@torch.inference_mode()
def _entropies(model: PreTrainedModel, prompt: list[int], rollout: list[int]) -> Tensor:
    ids = torch.tensor([prompt + rollout], device=model.device)
    logs = model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    return -(logs.exp() * logs).sum(-1).cpu()


def _by_steps(task: Stories, prompts: Sequence[Prompt], grades: Tensor) -> dict[str, float]:
    steps = torch.tensor([task.worked_answer(prompt).count("\n") for prompt in prompts])
    return {str(n): round(grades[steps == n].mean().item(), 4) for n in sorted(set(steps.tolist()))}
