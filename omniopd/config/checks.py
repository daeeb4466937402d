"""Settings that cannot work together, found before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from omniopd.config.settings import (
    CONTROLS,
    HANDOVERS,
    LABELLED,
    METHODS,
    SCHEDULERS,
    SIMILARITIES,
    TARGETS,
    TRACKERS,
    Recipe,
)
from omniopd.errors import ConfigError


def check(recipe: Recipe) -> Recipe:
    """The recipe itself, or ConfigError for settings that cannot work together."""
    student, audit, objective, training = recipe.student, recipe.audit, recipe.objective, recipe.training
    _one_of("method", recipe.method, METHODS)
    _one_of("audit.scheduler", audit.scheduler, SCHEDULERS)
    _one_of("audit.similarity", audit.similarity, SIMILARITIES)
    _one_of("objective.target", objective.target, TARGETS)
    _one_of("objective.control", objective.control, CONTROLS)
    _one_of("objective.anchor_on", objective.anchor_on, ("unaudited", "all"))
    for name in recipe.evaluation.controls:
        _one_of("evaluation.controls", name, CONTROLS[1:])
    _check_controls(recipe)
    if recipe.method in ("white_box", "white_box_sampled") and recipe.teacher.top_p != 1:
        raise ConfigError(
            f'teacher.top_p is {recipe.teacher.top_p} and method "{recipe.method}": it learns from all logits of the '
            "teacher, so leave it at 1"
        )
    beyond = next((step for step in recipe.evaluation.at if not 0 <= step <= training.steps), None)
    if beyond is not None:
        raise ConfigError(
            f"evaluation.at holds step {beyond}, and training.steps is {training.steps}: name steps from 0 (the "
            f"untrained student) to {training.steps}, or none (evaluation.at=[])"
        )
    _one_of("teacher.handover", recipe.teacher.handover, HANDOVERS)
    _one_of("training.schedule", training.schedule, ("constant", "cosine", "linear"))
    _one_of("training.report_to", training.report_to, TRACKERS)
    for key, value, least in (
        ("audit.forks", audit.forks, 1), ("audit.samples", audit.samples, 1),
        ("audit.chunk_tokens", audit.chunk_tokens, 1),
        ("training.steps", training.steps, 1), ("training.rollouts", training.rollouts, 1),
        ("training.micro_batch", training.micro_batch, 1), ("student.max_tokens", student.max_tokens, 1),
        ("training.keep", training.keep, 2), ("objective.depth", objective.depth, 1),
        ("objective.redraws", objective.redraws, 0), ("training.probe_prompts", training.probe_prompts, 0),
        ("evaluation.problems", recipe.evaluation.problems, 0), ("evaluation.samples", recipe.evaluation.samples, 1),
        ("evaluation.batch", recipe.evaluation.batch, 1),
        ("teacher.concurrency", recipe.teacher.concurrency, 1), ("teacher.budget_usd", recipe.teacher.budget_usd, 0),
        ("teacher.requests_per_minute", recipe.teacher.requests_per_minute, 0),
        ("teacher.tokens_per_minute", recipe.teacher.tokens_per_minute, 0),
        ("teacher.usd_per_million_input", recipe.teacher.usd_per_million_input, 0),
        ("teacher.usd_per_million_output", recipe.teacher.usd_per_million_output, 0),
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{key} is {value}: it must be at least {least}")
    if recipe.method == "grpo" and (training.group < 2 or training.micro_batch % training.group):
        raise ConfigError(
            f"training.group is {training.group}: grpo compares at least 2 answers of a prompt, and "
            f"training.micro_batch ({training.micro_batch}) must hold whole groups"
        )
    if not (recipe.teacher.call_timeout_s > 0 and recipe.teacher.batch_deadline_s > 0):
        raise ConfigError(
            f"teacher.call_timeout_s is {recipe.teacher.call_timeout_s} and teacher.batch_deadline_s "
            f"{recipe.teacher.batch_deadline_s}: both must be above 0"
        )
    if recipe.teacher.replay and recipe.teacher.cache in ("", "none"):
        raise ConfigError(
            f"teacher.replay is true and teacher.cache is {recipe.teacher.cache!r}: name the file of the recorded run, "
            "such as teacher.cache=runs/RUN/teacher_answers.sqlite"
        )
    if audit.chunk_tokens > student.max_tokens:
        raise ConfigError(
            f"audit.chunk_tokens is {audit.chunk_tokens}, longer than a rollout ({student.max_tokens}): "
            "lower it, or raise student.max_tokens"
        )
    if objective.target in LABELLED and objective.depth > audit.chunk_tokens:
        raise ConfigError(
            f"objective.depth is {objective.depth}, deeper than a chunk ({audit.chunk_tokens}): "
            "lower it, or raise audit.chunk_tokens"
        )
    check_objective(
        objective.target, objective.concentration, objective.anchor_weight, objective.continuation_weight, "objective."
    )
    if training.rollouts % training.micro_batch and training.rollouts > training.micro_batch:
        raise ConfigError(
            f"training.rollouts is {training.rollouts}, no multiple of training.micro_batch ({training.micro_batch}): "
            "change one of them"
        )
    if not training.learning_rate > 0:
        raise ConfigError(f"training.learning_rate is {training.learning_rate}: it must be above 0")
    off_policy = (student.temperature, student.top_p, student.top_k) != (1.0, 1.0, 0)
    if off_policy and not student.allow_off_policy:
        raise ConfigError(
            f"student sampling is temperature {student.temperature}, top_p {student.top_p}, top_k {student.top_k}, "
            "which sharpens the student by itself: use 1, 1 and 0, or set student.allow_off_policy = true"
        )
    return recipe


def check_objective(
    target: str, concentration: float, anchor_weight: float, continuation_weight: float, where: str = ""
) -> None:
    """ConfigError for an objective that would learn nothing, or something else; `where` goes before the names."""
    if min(concentration, anchor_weight, continuation_weight) < 0:
        raise ConfigError(
            f"{where}concentration, anchor_weight and continuation_weight are {concentration}, {anchor_weight} and "
            f"{continuation_weight}: they are weights, and none may be negative"
        )
    if target == "posterior_kl" and concentration == 0:
        raise ConfigError(
            f'{where}target is "posterior_kl" and {where}concentration is 0: without a prior the divergence to a '
            "few texts is infinite; give it some weight, such as 1"
        )
    if target == "none" and continuation_weight == 0:
        raise ConfigError(
            f'{where}target is "none" and {where}continuation_weight is 0: nothing would be learnt; '
            "name a target, or give the continuations a weight"
        )


def _check_controls(recipe: Recipe) -> None:
    """A control that a method does not know would train the very same student, and pass for proof."""
    by_texts = recipe.method == "continuations" or recipe.objective.continuation_weight > 0
    if recipe.method in ("white_box", "sft", "grpo"):
        known: Sequence[str] = ()
    elif recipe.method == "white_box_sampled" or by_texts:
        known = ("self_teacher",)
    elif recipe.objective.target == "posterior_kl":
        known = tuple(name for name in CONTROLS[1:] if name != "prior_only")  # the prior alone is the student
    else:
        known = CONTROLS[1:]
    why = " with continuation_weight" if by_texts else f" with target {recipe.objective.target}"
    what = f'method "{recipe.method}"' + (why if recipe.method == "omniopd" else "")
    offer = f"it has {', '.join(known)}" if known else "it has none"
    for key, names in (
        ("objective.control", [recipe.objective.control]), ("evaluation.controls", recipe.evaluation.controls),
    ):  # fmt: skip
        odd = next((name for name in names if name not in ("none", *known)), None)
        if odd is not None:
            way_out = "evaluation.controls=[]" if key == "evaluation.controls" else 'objective.control="none"'
            raise ConfigError(f'{key} names "{odd}", which changes nothing in {what} ({offer}): set {way_out}')


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(allowed)}"
        raise ConfigError(f"{key} is {value!r}: {hint}")
