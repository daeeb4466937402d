"""What would go wrong later, said before the first step; each problem is one sentence with the way out."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError, TeacherError
from omniopd.models.backbone import check_head
from omniopd.models.chat import prompt_ids
from omniopd.training.arguments import OmniOPDConfig
from omniopd.types import AuditedRollout

MOST_AUDITED = 0.6
_log = logging.getLogger(__name__)


def check_run(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: OmniOPDConfig, dataset: Any) -> None:
    """Raises ConfigError or DataError for what cannot work; logs a warning for what should not."""
    _check_sampling(args)
    check_head(model)
    _check_end_of_turn(model, tokenizer)
    _check_prompts(model, tokenizer, args, dataset)


def check_batch(audited: Sequence[AuditedRollout], args: OmniOPDConfig, first: bool) -> None:
    """After an audit: stop when too many forks went unanswered; at first, warn when the anchor holds few tokens."""
    asked = sum(len(item.audits) + len(item.unanswered) for item in audited)
    failed = [u.problem for item in audited for u in item.unanswered]
    if asked and len(failed) / asked > args.max_unanswered_share:
        most = max(set(failed), key=failed.count)
        raise TeacherError(
            f"{len(failed)} of {asked} forks got no answer in this step, most often {most!r}: mend the teacher and "
            f"resume, or raise max_unanswered_share ({args.max_unanswered_share})"
        )
    tokens = sum(len(item.rollout) for item in audited)
    inside = sum(a.fork.stop - a.fork.start for item in audited for a in item.audits)
    if first and tokens and inside / tokens > MOST_AUDITED:
        _log.warning(
            "%.0f%% of the response tokens are audited, so the anchor holds few: lower forks (%d) or chunk_tokens (%d)",
            100 * inside / tokens, args.forks, args.chunk_tokens,
        )  # fmt: skip


def _check_sampling(args: OmniOPDConfig) -> None:
    if (args.temperature, args.top_p, args.top_k, args.min_p or 0.0) != (
        1.0,
        1.0,
        0,
        0.0,
    ) and not args.allow_off_policy:
        raise ConfigError(
            f"student sampling is temperature {args.temperature}, top_p {args.top_p}, top_k {args.top_k}, "
            f"min_p {args.min_p}, which sharpens the student by itself: use 1, 1, 0 and none, or set allow_off_policy"
        )
    if args.repetition_penalty != 1.0 and not args.allow_off_policy:
        raise ConfigError(
            f"repetition_penalty is {args.repetition_penalty}, which makes sampling off-policy: use 1, or set "
            "allow_off_policy"
        )


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
        raise DataError("train_dataset is missing: give rows with a `prompt` column")
    columns = getattr(dataset, "column_names", None)
    if columns is not None and "prompt" not in columns:
        near = difflib.get_close_matches("prompt", columns, 1, 0.3)
        hint = f"rename {near[0]!r} to 'prompt'" if near else f"it has {', '.join(columns)}"
        raise DataError(f"the training data has no column 'prompt': {hint}")
    if columns is not None and {"image", "images"} & set(columns):
        raise DataError("the training data holds images, and audits read text: drop the columns image and images")
    if not hasattr(dataset, "__len__"):
        return
    if len(dataset) == 0:
        raise DataError("the training data is empty: there is no prompt to learn from")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for row, prompt in enumerate(dataset["prompt"]):
        chat = not isinstance(prompt, str)
        if chat and tokenizer.chat_template is None:
            raise DataError(
                f"row {row} is a chat, and the tokenizer of {tokenizer.name_or_path!r} has no chat template: "
                "set one, or give prompts as text"
            )
        length = len(prompt_ids(tokenizer, prompt)) if chat else len(tokenizer(prompt).input_ids)
        if context is not None and length + args.max_completion_length > context:
            raise DataError(
                f"prompt {row} has {length} tokens, with answers of {args.max_completion_length} more than the "
                f"model's context ({context}): drop it, or lower max_completion_length"
            )
