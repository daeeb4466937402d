"""GRPO with the task's grader: the baseline that needs answers to check against and no teacher. TRL's `GRPOTrainer`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from omniopd.errors import ConfigError
from omniopd.models.text.token_text import decode
from omniopd.tasks.rows import require_answers
from omniopd.tasks.safe_grade import safe_grade
from omniopd.training.arguments import run_settings, sampling_settings
from omniopd.training.baselines.step_log import StepLog
from omniopd.training.checks.architecture import check_architecture
from omniopd.training.checks.preflight import check_prompt_count, hold_still
from omniopd.training.data import as_rows
from omniopd.training.parts import TrainerParts
from omniopd.training.reference import adapter_off_is_start
from omniopd.training.trl.atomic_checkpoints import AtomicCheckpointMixin
from omniopd.training.trl.learning import LearnsSomething
from omniopd.training.trl.own_draws import OwnDraws
from omniopd.training.trl.token_means import TokenMeans
from omniopd.types import Prompt, Task


class GraderTrainer(OwnDraws, TokenMeans, LearnsSomething, AtomicCheckpointMixin, GRPOTrainer):
    """TRL's `GRPOTrainer` with the seeding and the whole checkpoints of `OmniOPDTrainer`."""

    _name = "GRPO"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_architecture(self.model, generates=not self.args.use_vllm)
        hold_still(self.model, self.args)
        if self.ref_model is not None and self.accelerator.distributed_type not in ("FSDP", "DEEPSPEED"):
            # TRL reads it from the folder that the student came from, which need not hold the student as it is.
            self.accelerator.unwrap_model(self.ref_model).load_state_dict(self.model.state_dict())
        if kwargs.get("peft_config") is not None and self.beta and not adapter_off_is_start(self.model):
            raise ConfigError(
                f"beta is {self.beta}, which pulls towards the model with its adapter off, and with this adapter that "
                "is not the starting student: let it start as nothing and train no other weights "
                '(init_lora_weights=True, bias="none"), or set beta=0'
            )

    def _why(self) -> str:
        return "no two answers of a group were rewarded differently: take easier prompts, or a better student"


def build(parts: TrainerParts) -> GraderTrainer:
    recipe, failures = parts.recipe, Counter[str]()
    require_answers(parts.task, parts.prompts, 'method "grpo"')
    args = GRPOConfig(
        **run_settings(recipe, parts.output),
        **sampling_settings(recipe),
        num_generations=recipe.training.group,
        beta=recipe.objective.anchor_weight,
        disable_dropout=True,
    )
    check_prompt_count(parts.prompts, args.generation_batch_size // args.num_generations)
    return GraderTrainer(
        reward_funcs=[grader_reward(parts.task, parts.tokenizer, failures)],
        args=args,
        train_dataset=as_rows(parts.prompts),
        callbacks=[StepLog(parts.recorder, failures=failures)],
        **parts.student,
    )


def grader_reward(
    task: Task, tokenizer: PreTrainedTokenizerBase, failures: Counter[str] | None = None
) -> Callable[..., list[float]]:
    """A reward for TRL: 1 where the task grades the answer as right, else 0. Rows need `prompt`, `id` and `answer`.

    A grader that throws rewards nothing; `failures` counts why.
    """

    def reward(prompt: Prompt, response: str) -> float:
        grade, reason = safe_grade(task, prompt, response)
        if reason and failures is not None:
            failures[f"grader: {reason}"] += 1
        return float(grade)

    def right(
        prompts: list[Any], completion_ids: list[list[int]], id: list[str], answer: list[str], **_: Any
    ) -> list[float]:
        asked = [Prompt(i, tuple(p), a) for i, p, a in zip(id, prompts, answer, strict=True)]
        return [reward(p, decode(tokenizer, ids)) for p, ids in zip(asked, completion_ids, strict=True)]

    return right
