"""A recipe: everything a run is asked to do, as frozen dataclasses ⇄ TOML, read strictly.

Knows names and limits, not what they build (`build.py` does). An unknown key is an error that names the nearest one.
The words are those of the paper's notation table: M `forks`, C `chunk_tokens`, N `samples`, α `concentration`,
β `anchor_weight`.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omniopd.errors import ConfigError

METHODS = ("omniopd", "white_box")
SCHEDULERS = ("peak", "random", "early", "causal")
SIMILARITIES = ("characters", "tokens", "rouge1", "exact", "embedding")
TARGETS = ("paper", "centred", "labels", "prefix_credit", "none")
CONTROLS = ("none", "constant", "shuffled", "prior_only", "self_teacher")


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Who learns. `model` is `embedded:student`, a folder or a hub id; sampling other than 1, 1, 0 is off-policy."""

    model: str = "embedded:student"
    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    allow_off_policy: bool = False
    lora_rank: int = 0
    lora_alpha: int = 16
    dtype: str = "float32"
    use_vllm: bool = False


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who continues. `model` is `embedded:teacher`, a folder, or a model litellm can reach."""

    model: str = "embedded:teacher"
    temperature: float = 1.0
    top_p: float = 1.0
    tokens_per_student_token: float = 1.0
    batch_tokens: int = 65536
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What is practised. `path` is a data set id, a folder or a JSONL file, for tasks that need one."""

    name: str = "stories"
    path: str = ""
    train_split: str = "train"
    test_split: str = "test"
    prompts: int = 4096
    prompt_column: str = "prompt"
    answer_column: str = "answer"


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Where the teacher is asked, and how alike two texts are. `power` raises the similarity (1: as it is)."""

    scheduler: str = "peak"
    forks: int = 10
    samples: int = 10
    chunk_tokens: int = 50
    similarity: str = "characters"
    power: float = 1.0
    embedding_model: str = "embedded:embedding"


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """What an audit becomes in the loss (method/targets.py, method/loss.py).

    `depth` belongs to `labels`: offsets of a chunk that get them. `continuation_weight` is λ of the additive
    continuation cross-entropy. `redraws` is K of the same-fork baseline (0: the mean over other rollouts).
    `length` is the fixed length both terms are divided by (0: `student.max_tokens`).
    """

    target: str = "paper"
    control: str = "none"
    concentration: float = 1.0
    anchor_weight: float = 0.1
    anchor_on: str = "unaudited"
    depth: int = 1
    continuation_weight: float = 0.0
    redraws: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How long and how fast. `rollouts` are sampled and audited per step, over all processes."""

    steps: int = 100
    rollouts: int = 64
    micro_batch: int = 64
    learning_rate: float = 1e-6
    warmup_steps: int = 0
    schedule: str = "constant"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: str = "float32"
    gradient_checkpointing: bool = False
    save_every: int = 20
    keep: int = 2
    record_every: int = 5
    max_unanswered_share: float = 0.5
    device: str = "auto"
    threads: int = 0
    report_to: str = "none"


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How the student is measured on held-out problems, before and after; `every` k steps in between (0: never)."""

    problems: int = 500
    temperatures: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 1.0)
    samples: int = 16
    every: int = 0
    every_problems: int = 100
    batch: int = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run. `method` is the only difference between OmniOPD and a baseline."""

    name: str = "run"
    method: str = "omniopd"
    seed: int = 0
    student: StudentConfig = field(default_factory=StudentConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def normaliser_length(self) -> int:
        return self.objective.length or self.student.max_tokens

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_recipe(name_or_path: str | Path, **overrides: Any) -> Recipe:
    """The recipe of a shipped name ("embedded"), a TOML file, or a run directory's manifest.

    Overrides are dotted keys: `load_recipe("embedded", **{"audit.samples": 4})`. Raises ConfigError.
    """
    path = recipe_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)["recipe"] if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no recipe: {error}; compare it with a shipped one (`omniopd recipes`)") from error
    for key, value in overrides.items():
        _set(data, key, value)
    return check(recipe_from(data, str(path)))


def recipe_path(name_or_path: str | Path) -> Path:
    """Where a recipe stands: a file, or `recipes/NAME.toml` of the package."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = Path(__file__).parent / "recipes" / f"{name_or_path}.toml"
    if shipped.is_file():
        return shipped
    names = sorted(p.stem for p in shipped.parent.glob("*.toml"))
    near = difflib.get_close_matches(str(name_or_path), names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped ones are {', '.join(names)}"
    raise ConfigError(f"no recipe {str(name_or_path)!r}: neither a file nor a shipped name; {hint}")


def recipe_from(data: Mapping[str, Any], place: str = "the recipe") -> Recipe:
    """A recipe from nested dictionaries; unknown keys and wrong types are errors."""
    recipe: Recipe = _read(Recipe, data, place, "")
    return recipe


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with `key=value` words of a command line applied; a value is TOML, or else a plain string."""
    data = recipe.as_dict()
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no setting: write key=value, such as audit.samples=4")
        _set(data, key.strip(), _toml_value(value.strip()))
    return check(recipe_from(data, "the command line"))


def check(recipe: Recipe) -> Recipe:
    """The recipe itself, or ConfigError for settings that cannot work together."""
    student, audit, objective, training = recipe.student, recipe.audit, recipe.objective, recipe.training
    _one_of("method", recipe.method, METHODS)
    _one_of("audit.scheduler", audit.scheduler, SCHEDULERS)
    _one_of("audit.similarity", audit.similarity, SIMILARITIES)
    _one_of("objective.target", objective.target, TARGETS)
    _one_of("objective.control", objective.control, CONTROLS)
    _one_of("objective.anchor_on", objective.anchor_on, ("unaudited", "all"))
    _one_of("training.schedule", training.schedule, ("constant", "cosine", "linear"))
    for key, value, least in (
        ("audit.forks", audit.forks, 1), ("audit.samples", audit.samples, 1), ("audit.chunk_tokens", audit.chunk_tokens, 1),
        ("training.steps", training.steps, 1), ("training.rollouts", training.rollouts, 1),
        ("training.micro_batch", training.micro_batch, 1), ("student.max_tokens", student.max_tokens, 1),
        ("training.keep", training.keep, 2), ("objective.depth", objective.depth, 1), ("objective.redraws", objective.redraws, 0),
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{key} is {value}: it must be at least {least}")
    if audit.chunk_tokens > student.max_tokens:
        raise ConfigError(
            f"audit.chunk_tokens is {audit.chunk_tokens}, longer than a rollout ({student.max_tokens}): "
            "lower it, or raise student.max_tokens"
        )
    if objective.target == "labels" and objective.depth > audit.chunk_tokens:
        raise ConfigError(
            f"objective.depth is {objective.depth}, deeper than a chunk ({audit.chunk_tokens}): "
            "lower it, or raise audit.chunk_tokens"
        )
    if objective.target == "none" and objective.continuation_weight <= 0:
        raise ConfigError(
            'objective.target is "none" and objective.continuation_weight is 0: nothing would be learnt; '
            "name a target, or give the continuations a weight"
        )
    if objective.concentration < 0 or objective.anchor_weight < 0 or objective.continuation_weight < 0:
        raise ConfigError("objective.concentration, anchor_weight and continuation_weight are weights: none may be negative")
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
            f"student sampling is temperature {student.temperature}, top_p {student.top_p}, top_k {student.top_k}, which "
            "sharpens the student by itself: use 1, 1 and 0, or set student.allow_off_policy = true"
        )
    return recipe


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    return replace(recipe, seed=seed)


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `load_recipe` reads back to an equal one."""
    lines, sections = [], []
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if is_dataclass(value):
            body = [f"{g.name} = {_toml(getattr(value, g.name))}" for g in fields(value)]
            sections.append("\n".join([f"[{f.name}]", *body]))
        else:
            lines.append(f"{f.name} = {_toml(value)}")
    return "\n".join(lines) + "\n\n" + "\n\n".join(sections) + "\n"


def _read(cls: type[Any], data: Any, place: str, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path or 'the recipe'} in {place} is {data!r}: it must be a table of settings")
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            raise ConfigError(f"{path}{key} in {place} is no setting; {_nearest(path + key)}")
        hint = hints[key]
        values[key] = _read(hint, value, place, f"{path}{key}.") if is_dataclass(hint) else _cast(hint, value, path + key, place)
    missing = [n for n, f in known.items() if n not in values and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{place} lacks {', '.join(path + m for m in missing)}")
    return cls(**values)


def _cast(hint: Any, value: Any, key: str, place: str) -> Any:
    if get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        return tuple(_cast(get_args(hint)[0], v, key, place) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = "a list of numbers" if get_origin(hint) is tuple else {"str": "text"}.get(hint.__name__, hint.__name__)
    raise ConfigError(f"{key} in {place} is {value!r}: it must be {wanted}")


def _nearest(key: str) -> str:
    every = []
    for f in fields(Recipe):
        hint = get_type_hints(Recipe)[f.name]
        every += [f"{f.name}.{g.name}" for g in fields(hint)] if is_dataclass(hint) else [f.name]
    sections = [f.name for f in fields(Recipe)]
    same_end = [k for k in every if k.split(".")[-1] == key.split(".")[-1]]
    near = same_end or ("." not in key and difflib.get_close_matches(key, sections, 1, 0.7)) or difflib.get_close_matches(key, every, 1, 0.4)
    return f"the nearest is {near[0]}" if near else f"settings are {', '.join(every)}"


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key} is no setting: {section} is not a table")
    data[last] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(allowed)}"
        raise ConfigError(f"{key} is {value!r}: {hint}")
