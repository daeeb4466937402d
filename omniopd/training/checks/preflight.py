"""What would go wrong later, said before the first step; each problem is one sentence with the way out."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.auditing.scan import NO_TOKEN
from omniopd.config import HANDOVERS
from omniopd.errors import ConfigError, DataError, TeacherError
from omniopd.method.controls import CONTROLS
from omniopd.models.architecture.dropout import check_still, remove_dropout
from omniopd.models.architecture.probing import context_length
from omniopd.models.loading import require_weights
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.conversation import conversation
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.architecture import check_architecture
from omniopd.training.data import as_dataset, named
from omniopd.types import AuditedRollout

MOST_AUDITED = 0.6
MOST_STILL = 0.2
# A fork is open where the student's own entropy over the chunk reaches two equal chances, in nats.
SEVERAL, MANY_EQUAL, FEW_FORKS = math.log(2), 0.8, 8
_log = logging.getLogger(__name__)


def check_run(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: OmniOPDConfig, rows: Any, adapter: bool = False
) -> Any:
    """The rows as a data set. Raises ConfigError or DataError for what cannot work; logs a warning for what should not.
    `adapter`: only adapters are trained."""
    dataset = as_dataset(rows)
    _check_sampling(args)
    require_weights(model, "training")
    check_architecture(model, generates=not args.use_vllm)
    _check_end_of_turn(model, tokenizer)
    _check_prompts(model, tokenizer, args, dataset)
    if not adapter:
        _check_rounding(model, args)
    return dataset


def refuse_overlap(args: OmniOPDConfig, method: str) -> None:
    """ConfigError for settings that hide a teacher's seconds, in a `method` that asks none about the answers."""
    for name, value, usual in (("waves", args.waves, 1), ("staleness", args.staleness, 0)):
        if value != usual:
            raise ConfigError(
                f"{name} is {value} in {method}: it asks no teacher about the student's answers, so leave it at {usual}"
            )


def check_prompt_count(dataset: Any, of_a_step: int) -> None:
    """TRL leaves out what does not fill a step: with fewer prompts it would end at once, having learnt nothing."""
    if len(dataset) < of_a_step:
        raise DataError(
            f"the training data holds {len(dataset)} prompts, and a step takes {of_a_step}: give more, or lower the "
            "rollouts of a step (training.rollouts; per_device_train_batch_size × gradient_accumulation_steps)"
        )


def hold_still(model: nn.Module, args: Any) -> None:
    """After TRL has made its student: without dropout of any kind, where `args.disable_dropout` says so, and proven."""
    if args.disable_dropout:
        remove_dropout(model)
        if not getattr(args, "allow_off_policy", False):
            check_still(model)


def check_batch(
    audited: Sequence[AuditedRollout], args: OmniOPDConfig, first: bool, temperature: float | None = None
) -> None:
    """After an audit: stop when too many forks went unanswered; at first, stop where a teacher that samples does not
    (`temperature`: its own, None where it does not say), warn when the anchor holds few tokens, and when a teacher's
    own tokens are taken for the student's."""
    asked = sum(len(item.audits) + len(item.unanswered) for item in audited)
    failed = [u.problem for item in audited for u in item.unanswered if u.problem != NO_TOKEN]
    if asked and len(failed) / asked > args.max_unanswered_share:
        most = max(set(failed), key=failed.count)
        raise TeacherError(
            f"{len(failed)} of {asked} forks got no answer in this step, most often {most!r}: mend the teacher and "
            f"resume, or raise training.max_unanswered_share ({args.max_unanswered_share})"
        )
    if args.way == "scan":
        _check_labelled(audited, args)
    if first:
        _check_draws(audited, args.max_equal_share, temperature)
    handovers = HANDOVERS.keys() & {a.continuations.handover for item in audited for a in item.audits}
    if first and args.tokens_per_student_token == 1 and not all(HANDOVERS[name].completes for name in handovers):
        _log.warning(
            "the teacher has a tokenizer of its own, and tokens_per_student_token is 1, as if it had the student's: "
            "texts are cut inside words; say how many of its tokens a student's token takes (about 1.3)"
        )
    tokens = sum(len(item.rollout) for item in audited)
    inside = sum(a.fork.stop - a.fork.start for item in audited for a in item.audits)
    if first and args.way != "scan" and tokens and inside / tokens > MOST_AUDITED:
        _log.warning(
            "%.0f%% of the response tokens are audited, so the anchor holds few: lower audit.forks (%d) or "
            "audit.chunk_tokens (%d)",
            100 * inside / tokens, args.forks, args.chunk_tokens,
        )  # fmt: skip


def _check_labelled(audited: Sequence[AuditedRollout], args: OmniOPDConfig) -> None:
    """An answer whose conversation broke early is one failure, and all that it lacks is what was to be learnt."""
    lost = [item for item in audited if any(u.problem != NO_TOKEN for u in item.unanswered)]
    tokens = sum(len(item.rollout) for item in audited)
    missing = sum(len(item.rollout) - sum(len(a.chunk_ids) for a in item.audits) for item in lost)
    if tokens and missing / tokens > args.max_unanswered_share:
        problems = [u.problem for item in lost for u in item.unanswered if u.problem != NO_TOKEN]
        most = max(set(problems), key=problems.count)
        raise TeacherError(
            f"{missing} of {tokens} tokens got no label in this step, since {len(lost)} of {len(audited)} answers were "
            f"given up, most often for {most!r}: mend the teacher and resume, or raise training.max_unanswered_share "
            f"({args.max_unanswered_share})"
        )


def _check_draws(audited: Sequence[AuditedRollout], limit: float, temperature: float | None) -> None:
    """N equal texts are one. A teacher may be sure where the student is not, but not nearly everywhere."""
    open_forks = [
        len(set(a.continuations.texts)) == 1
        for item in audited
        for a in item.audits
        if a.samples > 1 and not a.run and float(item.rollout.entropies[a.fork.start : a.fork.stop].sum()) >= SEVERAL
    ]
    equal = sum(open_forks)
    if not open_forks or equal / len(open_forks) <= MANY_EQUAL:
        return
    found = (
        f"at {equal} of {len(open_forks)} forks where the student itself would write several texts, the teacher's are "
        "all one"
    )
    if temperature and len(open_forks) >= FEW_FORKS and equal / len(open_forks) > limit:
        raise TeacherError(
            f"{found}, though its temperature is {temperature:g}: all its samples are one text, as where a "
            "server does not sample or seeds itself; try it out (omniopd teacher check), or raise "
            f"training.max_equal_share ({limit:g})"
        )
    _log.warning("%s: where that is meant, as at temperature 0, one sample says as much", found)


def _check_sampling(args: OmniOPDConfig) -> None:
    if args.allow_off_policy:
        return
    if (args.temperature, args.top_p, args.top_k, args.min_p or 0.0) != (1.0, 1.0, 0, 0.0):
        raise ConfigError(
            f"student sampling is temperature {args.temperature}, top_p {args.top_p}, top_k {args.top_k}, "
            f"min_p {args.min_p}, which sharpens the student by itself: use 1, 1, 0 and none, or set "
            "student.allow_off_policy (allow_off_policy in Python)"
        )
    for name, usual, why in (
        ("repetition_penalty", (1.0,), "which makes sampling off-policy: use 1"),
        ("generation_kwargs", (None, {}), "which `generate` would sample by and scoring would not know: leave it out"),
        ("neftune_noise_alpha", (None, 0), "noise that only training would see: leave it out"),
    ):
        if (value := getattr(args, name)) not in usual:
            raise ConfigError(f"{name} is {value}, {why}, or set allow_off_policy")


@torch.no_grad()
def _check_rounding(model: PreTrainedModel, args: OmniOPDConfig) -> None:
    """A step of AdamW moves a weight by about the learning rate, which 16 bits round away where the weight is large."""
    narrow = [p for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)]
    still = sum(int((p - args.learning_rate == p).sum()) for p in narrow)
    share = still / max(1, sum(p.numel() for p in model.parameters()))
    if share > MOST_STILL:
        _log.warning(
            "the student's weights have 16 bits, and %.0f%% of them are too large for a step of %g to change: load it "
            "in float32 (student.dtype) and train with bfloat16 precision, train an adapter, or raise learning_rate",
            100 * share, args.learning_rate,
        )  # fmt: skip


def _check_end_of_turn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-turn token, so no answer would end: "
            "set eos_token"
        )
    declared = model.generation_config.eos_token_id
    declared = [declared] if isinstance(declared, int) else list(declared or [])
    if declared and tokenizer.eos_token_id not in declared:
        _log.warning(
            "the tokenizer ends a turn with id %d, the model's generation_config with %s: make them agree",
            tokenizer.eos_token_id, declared,
        )  # fmt: skip
    if tokenizer.pad_token_id is None:
        _log.warning("the tokenizer has no padding token: the end-of-turn token pads")


def _check_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: OmniOPDConfig, dataset: Any
) -> None:
    if dataset is None:
        raise DataError("the training data is missing: give rows with a `prompt` column (train_dataset)")
    if args.chat_template_kwargs:
        raise ConfigError(
            f"chat_template_kwargs is {args.chat_template_kwargs}, which teachers, probes and evaluations would not "
            "see: set such values in tokenizer.chat_template, as '{% set enable_thinking = false %}' before it"
        )
    columns = getattr(dataset, "column_names", None)
    if columns is not None and "prompt" not in columns:
        near = difflib.get_close_matches("prompt", columns, 1, 0.3)
        hint = f"rename {near[0]!r} to 'prompt'" if near else f"it has {', '.join(columns)}"
        raise DataError(f"the training data has no column 'prompt': {hint}")
    if columns is not None and {"image", "images"} & set(columns):
        raise DataError("the training data holds images, and audits read text: drop the columns image and images")
    if not hasattr(dataset, "__len__"):
        return
    context = context_length(model)
    prompts = dataset["prompt"]
    ids = dataset["id"] if "id" in (columns or ()) else [None] * len(prompts)
    for number, (prompt, name) in enumerate(zip(prompts, ids, strict=True), start=1):
        row = named({"id": name}, number)
        conversation(prompt, row)
        chat = not isinstance(prompt, str)
        if chat and tokenizer.chat_template is None:
            raise DataError(
                f"{row} is a chat, and the tokenizer of {tokenizer.name_or_path!r} has no chat template: use an "
                "instruction-tuned student (student.model); in Python, set tokenizer.chat_template, or give prompts as "
                "text (and a teacher that has a template)"
            )
        if not chat and (CONTROLS[args.control].asks_student or args.redraws):
            raise DataError(
                f"{row} is a text, which the student reads as it is and a teacher as a user's message: give "
                "prompts as chats where the student itself is asked (control self_teacher, redraws)"
            )
        length = len(prompt_ids(tokenizer, prompt)) if chat else len(tokenizer(prompt).input_ids)
        if length + args.max_completion_length > context:
            raise DataError(
                f"{row} has {length} tokens, with answers of {args.max_completion_length} more than the model's "
                f"context ({context}): drop it, or lower student.max_tokens (max_completion_length in Python)"
            )
    of_a_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    check_prompt_count(dataset, of_a_step)
