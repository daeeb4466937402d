"""The settings of a recipe, as frozen dataclasses. Knows names and defaults, neither files nor what they build.

The words are those of the paper's notation table: M `forks`, C `chunk_tokens`, N `samples`, α `concentration`,
β `anchor_weight`. What each setting is for stands in `bounds.SETTINGS`; here is only what takes more than a line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from omniopd.config.sees import Sees

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16", "float64")
PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("adamw", "adamw_8bit")
SCHEDULES = ("constant", "cosine", "linear")
STREAMS = ("auto", "always", "never")
PARTED_COSTS = ("auto", "most", "written")
WAYS = ("chunks", "scan")
TRANSFORMERS, COLOCATED, SERVED = SAMPLERS = ("transformers", "vllm", "vllm_server")
TRACKERS = ("none", "tensorboard", "wandb", "trackio")


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Who learns. `load_in_4bit` (QLoRA) comes by pip install 'omniopd[bits]'; `dtype` is then what embeddings and
    head are held in. `server` is the address of the sampler "vllm_server"."""

    model: str = "embedded:student"
    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    allow_off_policy: bool = False
    lora_rank: int = 0
    lora_alpha: int = 16
    target_modules: tuple[str, ...] = ()
    load_in_4bit: bool = False
    dtype: str = "float32"
    sampler: str = TRANSFORMERS
    server: str = ""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who continues. `sees` and `system` are shown to it and not to the student (`sees.py`). `batch_tokens` and `dtype`
    are for a teacher that runs here; those from `handover` on for one behind an API. A key itself belongs in no recipe,
    only the name of the variable that holds it (`key_variable`)."""

    model: str = "embedded:teacher"
    sees: str = ""
    system: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    tokens_per_student_token: float = 1.0
    batch_tokens: int = 65536
    dtype: str = "float32"
    handover: str = "auto"
    stream: str = "auto"
    parted_costs: str = "auto"
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

    @property
    def shown(self) -> Sees:
        """What the teacher sees more than the student."""
        return Sees(self.sees, self.system)


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What is practised. `path` may be a name such as "math500" for the task "math". `run_programs` also needs
    OMNIOPD_RUN_PROGRAMS=1 in the environment."""

    name: str = "stories"
    path: str = ""
    train_split: str = "train"
    test_split: str = "test"
    prompts: int = 4096
    instruction: str = ""
    steps: tuple[int, ...] = (2, 3, 4)
    longest_question: int = 0
    prompt_column: str = "prompt"
    answer_column: str = "answer"
    solution_column: str = ""
    subset: str = ""
    run_programs: bool = False
    timeout_s: float = 10.0
    memory_mb: int = 1024


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Where the teacher is asked, and how alike two texts are.

    `way` "chunks" is the paper's: N texts at M forks are compared with chunks of C tokens. In a "scan" every text runs
    on until it parts from the answer, C tokens at most, and the next begins behind the difference: until every token
    has its N draws (M = 0), or M texts were asked for each draw. `at_once` is for a scan, `similarity` and `power` for
    chunks.
    """

    way: str = "chunks"
    scheduler: str = "peak"
    forks: int = 10
    samples: int = 10
    chunk_tokens: int = 50
    similarity: str = "characters"
    power: float = 1.0
    embedding_model: str = "embedded:embedding"
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """What an audit becomes in the loss (method/targets.py, method/loss.py). `depth` is for the targets `labels` and
    `posterior_kl`, `redraws` for `centred`."""

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
    """How long and how fast. The same `probe_prompts` are answered and audited whenever rollouts are recorded; nothing
    is learnt from them. The trackers of `report_to` come by pip install 'omniopd[trackers]', the optimizer "adamw_8bit"
    by pip install 'omniopd[bits]'."""

    steps: int = 100
    rollouts: int = 64
    micro_batch: int = 64
    waves: int = 1
    staleness: int = 0
    optimizer: str = "adamw"
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
    passes: int = 1
    probe_prompts: int = 0
    max_unanswered_share: float = 0.5
    max_equal_share: float = 0.95
    allow_zero_gradient: bool = False
    device: str = "auto"
    threads: int = 0
    report_to: str = "none"


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How the student is measured on held-out problems.

    `at` makes budgets of student samples: at these steps it is measured on all problems at all temperatures (0:
    untrained). The best student of the evaluations `every` so many steps is kept; chosen on the test split it looks a
    little better than it is. Controls start as the run did and take as long: what they gain is not the teacher's doing.
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
    """One run. `method` is the only difference between OmniOPD and a baseline (methods.py)."""

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
