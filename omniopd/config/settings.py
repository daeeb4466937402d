"""The settings of a recipe, as frozen dataclasses. Knows names and defaults, neither files nor what they build.

The words are those of the paper's notation table: M `forks`, C `chunk_tokens`, N `samples`, α `concentration`,
β `anchor_weight`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

HANDOVERS = ("auto", "raw", "prefill", "instruction")
METHODS = ("omniopd", "continuations", "white_box", "white_box_sampled", "sft", "grpo")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16", "float64")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "linear")
TASKS = ("stories", "gsm8k", "jsonl", "math", "code")
TRACKERS = ("none", "tensorboard", "wandb", "trackio")


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
    """Who continues. `model` is `embedded:teacher`, a folder, `local:` and a hub id, or a model that litellm can reach.

    `batch_tokens` and `dtype` belong to a teacher that runs here, the rest to one behind an API. `handover` is "raw",
    "prefill", "instruction", or "auto" for the table's; a raw one renders with the chat template of `tokenizer` ("":
    the model's own name). `api_base` is a server's address, `key_variable` the environment's variable with its key (the
    key itself belongs into no recipe). Answers are kept in `cache`, a file ("": the run's own, "none": nowhere), and
    with `replay` nobody is asked. `budget_usd` is what the run may spend (0: no limit), `ask_above_usd` what it may be
    expected to cost without a question; prices that the table lacks are dollars per million tokens. Limits per minute:
    0 is none. `strict` stops at a changed fingerprint, too.
    """

    model: str = "embedded:teacher"
    temperature: float = 1.0
    top_p: float = 1.0
    tokens_per_student_token: float = 1.0
    batch_tokens: int = 65536
    dtype: str = "float32"
    handover: str = "auto"
    tokenizer: str = ""
    api_base: str = ""
    key_variable: str = ""
    concurrency: int = 64
    call_timeout_s: float = 120.0
    batch_deadline_s: float = 1200.0
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    cache: str = ""
    replay: bool = False
    budget_usd: float = 0.0
    ask_above_usd: float = 5.0
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0
    allow_unknown_price: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What is practised. `path` is a data set id, a folder or a JSONL file, for tasks that need one; "math" also knows
    names such as "math500". `subset` is the part of a data set on the hub.

    `run_programs` lets "code" run what models write, in a sandbox; OMNIOPD_RUN_PROGRAMS=1 in the environment must say
    so too. `timeout_s` (wall) and `memory_mb` limit one run of a program.
    """

    name: str = "stories"
    path: str = ""
    train_split: str = "train"
    test_split: str = "test"
    prompts: int = 4096
    prompt_column: str = "prompt"
    answer_column: str = "answer"
    subset: str = ""
    run_programs: bool = False
    timeout_s: float = 10.0
    memory_mb: int = 1024


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

    `depth` belongs to `labels` and `posterior_kl`: offsets of a chunk that get them. `concentration` is α of π̂, and of
    the posterior in `posterior_kl`. `continuation_weight` is λ of the additive continuation cross-entropy. `redraws` is
    K of the same-fork baseline (0: the mean over other rollouts).
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
    """How long and how fast. `rollouts` are sampled and audited per step, over all processes.

    `probe_prompts` held-out prompts are answered and audited whenever rollouts are recorded, the same ones each time,
    so that their forks can be followed through training; nothing is learnt from them. `group` answers of one prompt
    are compared with each other where `method` is `grpo`. `report_to` names a tracker that gets every step and
    evaluation too (`tracking.py`): "tensorboard", "wandb" or "trackio", by pip install 'omniopd[trackers]'.
    A run stops when more of a step's forks than `max_unanswered_share` get no answer, when at more than
    `max_equal_share` of the first step's a sampling teacher writes one text only, and after a step that learns nothing,
    unless `allow_zero_gradient`.
    """

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
    group: int = 8
    probe_prompts: int = 0
    max_unanswered_share: float = 0.5
    max_equal_share: float = 0.95
    allow_zero_gradient: bool = False
    device: str = "auto"
    threads: int = 0
    report_to: str = "none"


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How the student is measured on held-out problems, before and after; `every` k steps in between (0: never).

    `problems` of the test split, 0 for all that it has (small sets such as AIME; the embedded world has no end).
    `before` measures the untrained student, and a teacher that runs here. `at` are steps of training after which the
    student is measured as at its end, at all temperatures on all problems: budgets of student samples (0: untrained).
    The best student in between is kept, chosen on `every_problems` of `every_split` ("": the test split, on which the
    best of many looks a little better than it is).
    `controls` are trained and measured too, from the same start and as long: their gain was not the teacher's doing.
    """

    problems: int = 500
    temperatures: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 1.0)
    samples: int = 16
    every: int = 0
    every_problems: int = 100
    every_split: str = ""
    before: bool = True
    at: tuple[int, ...] = ()
    batch: int = 256
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run. `method` is the only difference between OmniOPD and a baseline.

    `continuations` is the cross-entropy on the teacher's texts at the forks, alone; `white_box` and
    `white_box_sampled` see the teacher's logits, or its log-probabilities of the student's tokens; `sft` learns from
    whole answers of the teacher; `grpo` from the task's grader.
    """

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
