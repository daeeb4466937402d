"""What each setting of a recipe is for, in a line, and which values it may have: one table, for every way in.

A recipe may come from TOML, a command line, a form, or Python; `check_setting` holds all of them to the same bounds.
Knows single settings; those that cannot work together are `checks.py`'s.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from omniopd.config.handovers import HANDOVER_WORDS
from omniopd.config.methods import METHODS
from omniopd.config.settings import (
    DEVICES,
    DTYPES,
    OPTIMIZERS,
    PARTED_COSTS,
    PRECISIONS,
    SAMPLERS,
    SCHEDULES,
    STREAMS,
    TRACKERS,
    WAYS,
    Recipe,
)
from omniopd.errors import ConfigError
from omniopd.method.controls import CONTROLS
from omniopd.method.forks import SCHEDULERS
from omniopd.method.similarity import SIMILARITIES
from omniopd.method.targets import TARGETS
from omniopd.tasks.registry import TASKS

MANY = 2**31 - 1  # counts stay what every library underneath can hold
HOT, LONG, DEAR = 100.0, 1e7, 1e9  # temperatures, seconds (115 days), dollars and rates: beyond is a slip of the pen
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table. Numbers lie in [least, most], or above `least` where `open_`; of a list, each of them.

    `words` are all that a text may be (a registry may grow), all but `but`. A text may be empty only where `empty`,
    and hold what no path can (NUL) only where `any_text`. A list may be empty, and never repeats itself.
    """

    says: str
    least: float = -math.inf
    most: float = math.inf
    open_: bool = False
    words: Collection[str] = ()
    but: str = ""
    empty: bool = False
    any_text: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if word != self.but)


def _count(says: str, least: int = 1, most: int = MANY) -> Setting:
    return Setting(says, least, most)


def _above_0(says: str, most: float) -> Setting:
    return Setting(says, 0, most, open_=True)


def _share(says: str) -> Setting:
    return Setting(says, 0, 1)


def _text(says: str, empty: bool = False) -> Setting:
    return Setting(says, empty=empty)


def _word(says: str, words: Collection[str], but: str = "") -> Setting:
    return Setting(says, words=words, but=but)


SETTINGS: dict[str, Setting] = {
    "name": Setting("what the run is called, and the arm of a comparison", empty=True, any_text=True),
    "method": _word("what the student learns from", METHODS.keys()),
    "seed": _count("every draw follows from it", 0, 2**32 - 1),
    "student.model": _text("embedded:student, a folder, or an id on the Hugging Face hub"),
    "student.max_tokens": _count("tokens of an answer, at most"),
    "student.temperature": _above_0("of the student's sampling; other than 1 is off-policy", HOT),
    "student.top_p": Setting("nucleus sampling; other than 1 is off-policy", 0, 1, open_=True),
    "student.top_k": _count("the k likeliest tokens only; other than 0 (all) is off-policy", 0),
    "student.allow_off_policy": Setting("allow temperature, top_p or top_k other than 1, 1, 0"),
    "student.lora_rank": _count("rank of an adapter that learns in the model's place (0: all weights learn)", 0, 2**16),
    "student.lora_alpha": _count("scale of that adapter", 1, 2**16),
    "student.target_modules": _text("layers that get one, such as q_proj ([]: every linear layer but the head)"),
    "student.load_in_4bit": Setting("its frozen linear layers in 4 bits (NF4), beside an adapter: QLoRA"),
    "student.dtype": _word("what the weights are held in", DTYPES),
    "student.sampler": _word("what samples its answers: transformers, or vLLM, here or as a server", SAMPLERS),
    "student.server": _text("address of that server, such as http://localhost:8000", empty=True),
    "teacher.model": _text("embedded:teacher, a folder, local:ID on the hub, or a model that litellm can reach"),
    "teacher.sees": _text("its last message: text with {question}, {solution}, {answer} (empty: the student's)", True),
    "teacher.system": _text("what it reads before the conversation, and the student does not", empty=True),
    "teacher.temperature": Setting("of the teacher's texts; at 0 all are the same", 0, HOT),
    "teacher.top_p": Setting("nucleus sampling of the teacher's texts", 0, 1, open_=True),
    "teacher.tokens_per_student_token": _above_0("teacher tokens asked for one of the student's", 100),
    "teacher.batch_tokens": _count("tokens at once, for a teacher that runs here"),
    "teacher.dtype": _word("what the weights of a teacher that runs here are held in", DTYPES),
    "teacher.handover": _word("how a text is handed to an API to be continued", HANDOVER_WORDS),
    "teacher.stream": _word("whether a text is left where it parts from the student's: where an API streams", STREAMS),
    "teacher.parted_costs": _word("what such a call costs: the most it can, or what was written by then", PARTED_COSTS),
    "teacher.tokenizer": _text("whose chat template a raw handover renders with (empty: the model's own)", empty=True),
    "teacher.api_base": _text("address of a server (empty: the provider's)", empty=True),
    "teacher.key_variable": _text("environment variable with the key (empty: the provider's)", empty=True),
    "teacher.concurrency": _count("requests in flight", 1, 2**16),
    "teacher.call_timeout_s": _above_0("seconds until one request is given up", LONG),
    "teacher.batch_deadline_s": _above_0("seconds until all requests of a step are given up", LONG),
    "teacher.requests_per_minute": Setting("rate limit (0: none)", 0, DEAR),
    "teacher.tokens_per_minute": Setting("rate limit (0: none)", 0, 1e12),
    "teacher.cache": _text('file of remembered answers (empty: the run\'s own, "none": nowhere)', empty=True),
    "teacher.replay": Setting("take answers from the cache alone, and ask nobody"),
    "teacher.budget_usd": Setting("what the run may spend, in dollars (0: no limit)", 0, DEAR),
    "teacher.ask_above_usd": Setting("expected dollars above which a question comes first", 0, DEAR),
    "teacher.usd_per_million_input": Setting("price of a million tokens read (0: the table's)", 0, DEAR),
    "teacher.usd_per_million_output": Setting("price of a million tokens written (0: the table's)", 0, DEAR),
    "teacher.allow_unknown_price": Setting("ask a model whose price nobody knows"),
    "teacher.strict": Setting("stop when the provider's fingerprint changes"),
    "task.name": _word("what is practised", TASKS),
    "task.path": _text("data set id, folder or JSONL file, for a task that needs one", empty=True),
    "task.train_split": _text("split that prompts come from"),
    "task.test_split": _text("split that the student is measured on"),
    "task.prompts": _count("prompts to learn from (0: all of them)", 0),
    "task.instruction": _text("asked below every problem, not of code (empty: the task's own words)", empty=True),
    "task.steps": Setting("lengths of a story, in steps, for the task stories", 1, 9),
    "task.longest_question": _count("characters of a question of the task gsm8k, at most (0: any)", 0),
    "task.prompt_column": _text("column with the prompt"),
    "task.answer_column": _text("column with the answer; rows may lack it where nothing is graded"),
    "task.solution_column": _text("column with the worked solution, for teacher.sees alone", empty=True),
    "task.subset": _text("part of a data set on the hub", empty=True),
    "task.run_programs": Setting("let the code task run what models write, in a sandbox"),
    "task.timeout_s": _above_0("seconds (wall) of one run of a program", LONG),
    "task.memory_mb": _count("mebibytes of one run of a program", 64),
    "audit.way": _word("texts beside chunks at forks, or each text until it parts from the answer", WAYS),
    "audit.scheduler": _word("where forks are put", SCHEDULERS),
    "audit.forks": _count("places of an answer at which the teacher is asked (0, in a scan: no limit)", 0),
    "audit.samples": _count("texts of the teacher at each"),
    "audit.chunk_tokens": _count("length: student tokens that are compared there, in a scan at most"),
    "audit.similarity": _word("how alike two texts are", SIMILARITIES),
    "audit.power": _above_0("the similarity is raised to it (1: as it is)", HOT),
    "audit.embedding_model": _text('model behind similarity "embedding"'),
    "audit.at_once": _count("stretches of an answer that a scan asks about side by side"),
    "objective.target": _word("what an audit becomes in the loss", TARGETS),
    "objective.control": _word("what is taken away, to see what remains", CONTROLS),
    "objective.concentration": Setting("strength of the student's own prior, α", 0, 1e6),
    "objective.anchor_weight": Setting("pull towards the reference model, β", 0, 1e6),
    "objective.anchor_on": _word("which tokens are held near the start", ("unaudited", "all")),
    "objective.depth": _count("tokens of a chunk that get labels"),
    "objective.continuation_weight": Setting("cross-entropy on the teacher's texts beside the target, λ", 0, 1e6),
    "objective.redraws": _count("the student's own redraws of a fork as its baseline (0: other rollouts)", 0),
    "objective.length": _count("fixed length that divides the loss (0: student.max_tokens)", 0),
    "training.steps": _count("updates of the student"),
    "training.rollouts": _count("answers sampled for one update, over all processes"),
    "training.micro_batch": _count("answers in memory at once, each process"),
    "training.waves": _count("parts that a step's answers are sampled in, each asked about while the next is sampled"),
    "training.staleness": _count("steps that answers are sampled ahead, so that nobody waits for the teacher", 0, 1),
    "training.optimizer": _word("AdamW, or AdamW with its moments in 8 bits", OPTIMIZERS),
    "training.learning_rate": _above_0("of AdamW", 1),
    "training.warmup_steps": _count("steps until the learning rate is reached", 0),
    "training.schedule": _word("of the learning rate", SCHEDULES),
    "training.weight_decay": Setting("of AdamW", 0, 1),
    "training.max_grad_norm": Setting("gradients are clipped to it (0: they are not)", 0, 1e6),
    "training.precision": _word("what products are computed in", PRECISIONS),
    "training.gradient_checkpointing": Setting("compute activations again instead of keeping them"),
    "training.save_every": _count("steps between checkpoints"),
    "training.keep": _count("checkpoints kept", 2),
    "training.record_every": _count("steps between recorded rollouts (0: none)", 0),
    "training.group": _count("answers of one prompt, for grpo"),
    "training.passes": _count("times that sft learns each answer of the teacher; it then buys fewer"),
    "training.probe_prompts": _count("held-out prompts followed through training", 0),
    "training.max_unanswered_share": _share("stop when more forks of a step than this stay unanswered"),
    "training.max_equal_share": _share("stop when the first step's texts are all one at more forks than this"),
    "training.allow_zero_gradient": Setting("continue after a step with zero gradient"),
    "training.device": _word("where models run", DEVICES),
    "training.threads": _count("threads of the CPU (0: its physical cores at most)", 0, 2**16),
    "training.report_to": _word("tracker that gets every record too", TRACKERS),
    "evaluation.problems": _count("held-out problems (0: all that the split has)", 0),
    "evaluation.temperatures": Setting("temperatures at which the student is measured", 0, HOT),
    "evaluation.samples": _count("answers to a problem at the hottest of them, an eighth at others"),
    "evaluation.every": _count("steps between smaller evaluations (0: none)", 0),
    "evaluation.every_problems": _count("problems of such a smaller one"),
    "evaluation.every_split": _text("split of such a smaller one (empty: task.test_split)", empty=True),
    "evaluation.before": Setting("measure the untrained student, and a teacher that runs here"),
    "evaluation.at": _count("steps after which the student is measured as at its end", 0),
    "evaluation.batch": _count("answers written at once"),
    "evaluation.controls": _word("controls that are trained and measured too", CONTROLS, but="none"),
}  # fmt: skip


@lru_cache(maxsize=1)
def every_setting() -> Mapping[str, Any]:
    """Dotted name and type of every setting, in the order of a recipe."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(Recipe).items():
        if is_dataclass(hint):
            found |= {f"{name}.{f.name}": get_type_hints(hint)[f.name] for f in fields(hint)}
        else:
            found[name] = hint
    return MappingProxyType(found)


def check_settings(recipe: Recipe) -> None:
    """ConfigError for the first setting of a wrong type or out of its bounds."""
    for key, hint in every_setting().items():
        check_setting(key, attrgetter(key)(recipe), hint)


def check_setting(key: str, value: Any, hint: Any = None, said: str | None = None) -> None:
    """ConfigError for a value that the setting `key` cannot have; `said` is what the setting is called to the user."""
    hint, said, bounds = hint or every_setting()[key], said or key, SETTINGS.get(key, Setting(""))
    if get_origin(hint) is not tuple:
        fault = _fault(value, hint, bounds, "it")
        if fault:
            raise ConfigError(f"{said} is {shown(value)}: {fault}")
        return
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{said} is {shown(value)}: it must be {in_words(hint)}")
    for one in value:
        fault = _fault(one, get_args(hint)[0], bounds, "each")
        if fault:
            raise ConfigError(f"{said} holds {shown(one)}: {fault}")
    twice = next((one for place, one in enumerate(value) if one in value[:place]), None)
    if twice is not None:
        raise ConfigError(f"{said} is {shown(list(value))}, which names {twice!r} twice: name it once")


def in_words(hint: Any) -> str:
    """A setting's type as a person says it, a list with its form."""
    if get_origin(hint) is not tuple:
        return {str: "text", float: "a number", int: "a whole number", bool: "true or false"}[hint]
    inner = get_args(hint)[0]
    example = {float: "[0.0, 1.0]", int: "[10, 20]", str: '["one", "another"]'}[inner]
    return f"a list, each {in_words(inner)}, such as {example}"


def allowed(key: str) -> str:
    """The values of a setting in a few words; "" where any of its type will do."""
    bounds = SETTINGS[key]
    if bounds.words:
        return ", ".join(bounds.choices)
    if math.isinf(bounds.least):
        return ""
    if bounds.least == 0 and not bounds.open_ and bounds.most > 1:
        return ""  # only what nobody would write is left out
    if bounds.most <= 1:
        return f"{'above ' * bounds.open_}{bounds.least:g} to {bounds.most:g}"
    return f"{'above' if bounds.open_ else 'at least'} {bounds.least:g}"


def shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long: it stands in one sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes, or a list in itself
        return f"{type(value).__name__} that is too large to be written"
    return text if len(text) <= 200 else f"{text[:150]}…"


def _fault(value: Any, hint: Any, bounds: Setting, who: str) -> str:
    """What `who` ("it", "each") must be and is not; "" where the value may stay."""
    whole = hint is float and isinstance(value, int)
    if not (isinstance(value, hint) or whole) or (isinstance(value, bool) and hint is not bool):
        return f"{who} must be {in_words(hint)}"
    if isinstance(value, str):
        return _fault_of_text(value, bounds, who)
    if isinstance(value, bool):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{who} must be a finite number"
    if value < bounds.least or (bounds.open_ and value == bounds.least):
        return f"{who} must be {'above' if bounds.open_ else 'at least'} {_number(bounds.least)}"
    return f"{who} must be at most {_number(bounds.most)}" if value > bounds.most else ""


def _fault_of_text(value: str, bounds: Setting, who: str) -> str:
    if bounds.words and value not in bounds.choices:
        near = difflib.get_close_matches(value, bounds.choices, 1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return f"{guess}{who} must be one of {', '.join(bounds.choices)}"
    if not value and not bounds.empty:
        return f"{who} must be named ({bounds.says})"
    if _HALF.search(value):
        return f"{who} must be text without halves of surrogate pairs, which no file can hold"
    if "\0" in value and not bounds.any_text:
        return f"{who} must be text without NUL, which no path, id or address can hold"
    return ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
