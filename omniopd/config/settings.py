"""The settings of a recipe, as frozen dataclasses: names and defaults. What each is for stands in `bounds.SETTINGS`.

The words are those of the paper's notation table: M `forks`, C `chunk_tokens`, N `samples`, α `concentration`,
β `anchor_weight`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16", "float64")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "linear")
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
    """Who continues. `batch_tokens` and `dtype` belong to a teacher that runs here, the rest to one behind an API. A
    key itself belongs in no recipe: `key_variable` names the environment variable that holds it."""

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
    """What is practised. For `path`, "math" also knows names such as "math500". With `run_programs`,
    OMNIOPD_RUN_PROGRAMS=1 in the environment must say so too."""

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
    """Where the teacher is asked, and how alike two texts are."""

    scheduler: str = "peak"
    forks: int = 10
    samples: int = 10
    chunk_tokens: int = 50
    similarity: str = "characters"
    power: float = 1.0
    embedding_model: str = "embedded:embedding"


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """What an audit becomes in the loss (method/targets.py, method/loss.py)."""

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

    Probes are audited whenever rollouts are recorded, so that their forks can be followed through training; nothing is
    learnt from them. Trackers come with pip install 'omniopd[trackers]'. A run stops when more of a step's forks than
    `max_unanswered_share` get no answer, when at more than `max_equal_share` of the first step's a sampling teacher
    writes one text only, and after a step that learns nothing, unless `allow_zero_gradient`.
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

    The steps `at` are budgets of student samples: measured as at the end, at all temperatures on all problems. The best
    student in between is kept, chosen on `every_problems` of `every_split` ("": the test split, on which the best of
    many looks a little better than it is).
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
