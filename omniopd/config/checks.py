"""Settings that cannot work, or not together, found before anything runs. The bounds of each are `bounds.py`'s."""

from __future__ import annotations

from omniopd.config.bounds import check_settings
from omniopd.config.methods import METHODS
from omniopd.config.settings import (
    SERVED,
    TRANSFORMERS,
    AuditConfig,
    EvaluationConfig,
    ObjectiveConfig,
    Recipe,
    StudentConfig,
)
from omniopd.errors import ConfigError
from omniopd.io.redaction import redact
from omniopd.method.controls import CONTROLS
from omniopd.method.forks import SCHEDULERS
from omniopd.method.targets import TARGETS


def check(recipe: Recipe) -> Recipe:
    """The recipe itself, or ConfigError for a setting out of its bounds and for settings that cannot work together."""
    check_settings(recipe)
    student, audit, objective, training = recipe.student, recipe.audit, recipe.objective, recipe.training
    _check_sampler(student)
    _check_adapter(student)
    _check_sees(recipe)
    _check_controls(recipe)
    if METHODS[recipe.method].reads == "logits" and recipe.teacher.top_p != 1:
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
    _check_evaluation(recipe.evaluation)
    if redact(recipe.teacher.api_base) != recipe.teacher.api_base:
        raise ConfigError(
            f"teacher.api_base ({redact(recipe.teacher.api_base)}) holds a key or a password, and a recipe is a file "
            "to show: put it into an environment variable and name that (teacher.key_variable)"
        )
    METHODS[recipe.method].check(recipe)
    if training.passes > 1 and METHODS[recipe.method].cost != "answers":
        raise ConfigError(
            f'training.passes is {training.passes} and method "{recipe.method}": it buys no answers before, so '
            "leave it at 1"
        )
    if recipe.teacher.replay and recipe.teacher.cache in ("", "none"):
        raise ConfigError(
            f"teacher.replay is true and teacher.cache is {recipe.teacher.cache!r}: name the file of the recorded run, "
            "such as teacher.cache=runs/RUN/teacher_answers.sqlite"
        )
    if audit.chunk_tokens > student.max_tokens and audit.way != "scan":  # a scan's text ends with the answer
        raise ConfigError(
            f"audit.chunk_tokens is {audit.chunk_tokens}, longer than a rollout ({student.max_tokens}): "
            "lower it, or raise student.max_tokens"
        )
    if TARGETS[objective.target].labelled and objective.depth > audit.chunk_tokens:
        raise ConfigError(
            f"objective.depth is {objective.depth}, more tokens of labels than a chunk ({audit.chunk_tokens}): "
            "lower it, or raise audit.chunk_tokens"
        )
    check_audit(audit, objective)
    check_objective(objective, "objective.")
    if training.rollouts % training.micro_batch and training.rollouts > training.micro_batch:
        raise ConfigError(
            f"training.rollouts is {training.rollouts}, no multiple of training.micro_batch ({training.micro_batch}): "
            "change one of them"
        )
    _check_overlap(recipe)
    off_policy = (student.temperature, student.top_p, student.top_k) != (1.0, 1.0, 0)
    if off_policy and not student.allow_off_policy:
        raise ConfigError(
            f"student sampling is temperature {student.temperature}, top_p {student.top_p}, top_k {student.top_k}, "
            "which sharpens the student by itself: use 1, 1 and 0, or set student.allow_off_policy = true"
        )
    return recipe


def _check_sampler(student: StudentConfig) -> None:
    """A server without an address cannot be asked, and an address without a server would be overlooked."""
    if (student.sampler == SERVED) != bool(student.server):
        raise ConfigError(
            f'student.sampler is "{student.sampler}" and student.server {student.server!r}: an address is that of the '
            f'sampler "{SERVED}", so give both, or neither'
        )
    if student.server and (not student.server.startswith(("http://", "https://")) or student.server.endswith("/")):
        raise ConfigError(
            f"student.server is {redact(student.server)!r}: give an address such as http://localhost:8000, without a "
            "slash at its end"
        )
    if redact(student.server) != student.server:
        raise ConfigError(
            f"student.server ({redact(student.server)}) holds a key or a password, and a recipe is a file to show: "
            "leave it out"
        )


def check_audit(
    audit: AuditConfig, objective: ObjectiveConfig, audits: str = "audit.", where: str = "objective."
) -> None:
    """ConfigError for an audit that asks nowhere, and for what a scan has not; `audits` and `where` go before names."""
    if audit.way != "scan":
        if audit.at_once > 1:
            raise ConfigError(
                f'{audits}at_once is {audit.at_once} and {audits}way "{audit.way}": it is for a scan; leave it at 1'
            )
        if audit.forks == 0:
            raise ConfigError(
                f'{audits}forks is 0 and {audits}way "{audit.way}": nobody would be asked; name a number of forks, or '
                f'scan the whole answer ({audits}way="scan")'
            )
        return
    if audit.similarity == "embedding":
        raise ConfigError(
            f'{audits}similarity is "embedding" and {audits}way "scan": a scan compares tokens, so leave it at '
            f'"{AuditConfig().similarity}"'
        )
    if audit.power != 1:
        raise ConfigError(
            f'{audits}power is {audit.power:g} and {audits}way "scan": a token is the same or not, so leave it at 1'
        )
    if objective.depth != 1:
        raise ConfigError(
            f'{where}depth is {objective.depth} and {audits}way "scan": a scan labels every token that a text repeats, '
            "so leave it at 1"
        )
    for name, value in (("redraws", objective.redraws), ("continuation_weight", objective.continuation_weight)):
        if value:
            raise ConfigError(
                f'{where}{name} is {value:g} and {audits}way "scan": it takes whole texts at forks, and a scan stops '
                f'them at the first difference; set it to 0, or {audits}way="chunks"'
            )


def check_objective(objective: ObjectiveConfig, where: str = "") -> None:
    """ConfigError for an objective that would learn nothing, or something else; `where` goes before the names."""
    target = TARGETS[objective.target]
    if target.gives == "counts" and objective.concentration == 0:
        raise ConfigError(
            f'{where}target is "{target.name}" and {where}concentration is 0: without a prior the divergence to a '
            "few texts is infinite; give it some weight, such as 1"
        )
    if target.gives == "nothing" and objective.continuation_weight == 0:
        raise ConfigError(
            f'{where}target is "{target.name}" and {where}continuation_weight is 0: nothing would be learnt; '
            "name a target, or give the continuations a weight"
        )
    if objective.redraws and "redraws" not in target.uses:
        able = ", ".join(f'"{t.name}"' for t in TARGETS.values() if "redraws" in t.uses)
        raise ConfigError(
            f'{where}redraws is {objective.redraws} and {where}target "{target.name}": only {able} has a '
            f"baseline at the same fork, so set {where}redraws=0"
        )


def check_overlap(
    waves: int, staleness: int, audit: AuditConfig, objective: ObjectiveConfig, audits: str = "", where: str = "",
    own: str = "",
) -> None:  # fmt: skip
    """ConfigError for what a teacher cannot be asked beside; `audits`, `where` and `own` go before the names."""
    name, value, usual = (f"{own}staleness", staleness, 0) if staleness else (f"{own}waves", waves, 1)
    if value != usual and objective.redraws:
        raise ConfigError(
            f"{name} is {value} and {where}redraws is {objective.redraws}: the student, which is sampling then, would "
            f"be asked as well; set {where}redraws=0, or leave {name} at {usual}"
        )
    if waves > 1 and SCHEDULERS[audit.scheduler].draws:
        raise ConfigError(
            f'{own}waves is {waves} and {audits}scheduler "{audit.scheduler}": it draws for all answers of a step at '
            f"once; leave {own}waves at 1, or take another scheduler"
        )


def _check_overlap(recipe: Recipe) -> None:
    training = recipe.training
    check_overlap(
        training.waves, training.staleness, recipe.audit, recipe.objective, "audit.", "objective.", "training."
    )
    for name, value, usual in (("waves", training.waves, 1), ("staleness", training.staleness, 0)):
        if value != usual and METHODS[recipe.method].cost != "forks":
            raise ConfigError(
                f'training.{name} is {value} and method "{recipe.method}": it asks no teacher about the student\'s '
                f"answers, so leave it at {usual}"
            )


def _check_adapter(student: StudentConfig) -> None:
    """What needs an adapter beside it, and what cannot go with weights of 4 bits."""
    if student.target_modules and not student.lora_rank:
        raise ConfigError(
            f"student.target_modules is {list(student.target_modules)} and student.lora_rank 0: there is no adapter to "
            "put there; give it a rank, such as student.lora_rank=16, or leave the modules out"
        )
    if not student.load_in_4bit:
        return
    if not student.lora_rank:
        raise ConfigError(
            "student.load_in_4bit is true and student.lora_rank 0: weights of 4 bits do not learn, an adapter beside "
            "them does; give it a rank, such as student.lora_rank=16"
        )
    if student.dtype == "float64":
        raise ConfigError(
            'student.load_in_4bit is true and student.dtype "float64", which no product with 4 bits is computed in: '
            'use "float32" or "bfloat16"'
        )
    if student.sampler != TRANSFORMERS:
        raise ConfigError(
            f'student.load_in_4bit is true and student.sampler "{student.sampler}": vLLM is sent an adapter merged '
            f'into whole weights, and 4 bits have none; use "{TRANSFORMERS}"'
        )


def _check_controls(recipe: Recipe) -> None:
    """A control that a method does not know would train the very same student, and pass for proof."""
    method, objective = METHODS[recipe.method], recipe.objective
    shows = bool(recipe.teacher.shown.needs)
    known = [name for name in method.controls_of(objective) if shows or not CONTROLS[name].shows_others]
    what = f'method "{method.name}"'
    if callable(method.controls):
        by_texts = objective.continuation_weight > 0
        what += " with continuation_weight" if by_texts else f" with target {objective.target}"
    offer = f"it has {', '.join(known)}" if known else "it has none"
    for key, names in (
        ("objective.control", [recipe.objective.control]), ("evaluation.controls", recipe.evaluation.controls),
    ):  # fmt: skip
        odd = next((name for name in names if name not in ("none", *known)), None)
        if odd is not None:
            way_out = "evaluation.controls=[]" if key == "evaluation.controls" else 'objective.control="none"'
            raise ConfigError(f'{key} names "{odd}", which changes nothing in {what} ({offer}): set {way_out}')


def _check_sees(recipe: Recipe) -> None:
    """What only a teacher sees must have its question, and a teacher that reads it."""
    sees, method = recipe.teacher.shown.check("teacher."), METHODS[recipe.method]
    if sees and method.reads == "logits":
        key = "teacher.sees" if recipe.teacher.sees else "teacher.system"
        raise ConfigError(
            f'{key} is set and method "{method.name}": its teacher reads the student\'s own tokens and would see no '
            f'more than it; leave it out ({key}=""), or take a method that reads texts'
        )
    for key, names, way_out in (
        ("objective.control", [recipe.objective.control], 'objective.control="none"'),
        ("evaluation.controls", recipe.evaluation.controls, "evaluation.controls without it"),
    ):
        odd = next((name for name in names if CONTROLS[name].shows_others), None)
        if odd is not None and not sees.needs:
            raise ConfigError(
                f'{key} names "{odd}", which changes nothing where the teacher sees neither {{solution}} nor '
                f"{{answer}}: show it one (teacher.sees), or set {way_out}"
            )


def _check_evaluation(e: EvaluationConfig) -> None:
    """Measuring that would have no temperature to measure at dies in the middle of a run, or is left out unsaid."""
    if e.temperatures:
        return
    for key, value in (("every", e.every), ("at", list(e.at)), ("controls", list(e.controls))):
        if value:
            raise ConfigError(
                f"evaluation.{key} is {value} and evaluation.temperatures is empty: name a temperature "
                f"(evaluation.temperatures=[1.0]), or leave it out (evaluation.{key}={0 if key == 'every' else '[]'})"
            )
