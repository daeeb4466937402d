"""What a run of a recipe takes of each GPU's memory (or of a CPU's), by what it is for, before anything is loaded.

Weights and what stands beside them are counted; what comes and goes is run on tensors without numbers (`shapes.py`).
Nothing but configurations is read or downloaded. Knows no run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch

from omniopd.config import METHODS, Recipe
from omniopd.config.settings import COLOCATED, TRANSFORMERS
from omniopd.config.sharing import micro_batches
from omniopd.costs import shapes
from omniopd.errors import ConfigError
from omniopd.models.chunked_stats import BLOCK_LOGITS, BLOCK_LOGITS_ON_A_GPU, rows_of_a_tile
from omniopd.models.loading import DTYPES, config_of, resolve
from omniopd.teachers.model_traits import LOCAL, runs_here
from omniopd.training.arguments import OmniOPDConfig

# How the processes of `omniopd train --strategy` hold weights, gradients and moments: each all of them, or its share.
STRATEGIES = {"ddp": False, "fsdp2": True, "zero3": True}
COUNTED = ("omniopd", "white_box", "white_box_sampled")  # methods whose loss is the walk of `chunked_stats`
# bitsandbytes: two moments of a byte, and a scale for 256 numbers each; fewer numbers, and embeddings, keep 32 bits.
_EIGHT_BITS, _FEWEST = 2 * (1 + 4 / 256), 4096
_VLLM_SHARE = OmniOPDConfig.vllm_gpu_memory_utilization  # TRL's default, of the whole device
_TILE_OF_TRL = 4096 * 32_768 * 4  # on a GPU the loss is TRL's: tokens × columns of float32


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device. All the time there are `parameters`, `optimizer`, `reference`, `teacher` (one that runs
    here) and `vllm` (its share). The others come and go: `gradients` with `activations` while it learns, `answers`
    while it answers, `texts` while a teacher that runs here writes, `measuring` in an evaluation (its own copy of the
    student, too), `control` while a control learns beside it all."""

    parameters: int
    optimizer: int
    reference: int
    teacher: int
    vllm: int
    gradients: int
    activations: int
    answers: int
    texts: int
    measuring: int
    control: int

    @property
    def phases(self) -> dict[str, int]:
        """The most there is at a time, by what is done then."""
        standing = self.parameters + self.optimizer + self.reference + self.teacher + self.vllm
        goes = {
            "while it learns": self.gradients + self.activations,
            "while it answers": self.answers,
            "while the teacher writes": self.texts,
            "while it is measured": self.measuring,
            "while a control learns": self.control,
        }
        return {phase: standing + size for phase, size in goes.items() if size}

    @property
    def peak(self) -> int:
        return max(self.phases.values())

    @property
    def when(self) -> str:
        return max(self.phases, key=self.phases.__getitem__)

    def lines(self) -> list[tuple[str, int]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


def memory_of(
    recipe: Recipe, prompt_tokens: int, gpus: int = 1, strategy: str = "ddp", device_bytes: float = 0
) -> Memory:
    """What one of `gpus` processes takes at most, where the longest prompt has `prompt_tokens`; vLLM takes its share of
    `device_bytes`. Raises ConfigError for a configuration that cannot be had, for rollouts that the processes cannot
    share, and for what is not counted here."""
    student, teacher, training = recipe.student, recipe.teacher, recipe.training
    shared = _shared_out(recipe, strategy) and gpus > 1
    rows, steps = micro_batches(training.rollouts, training.micro_batch, gpus)
    anchored = METHODS[recipe.method].reads != "nothing"
    made = _learning(
        student.model, student.dtype, training.precision, student.lora_rank, student.target_modules,
        student.load_in_4bit, training.gradient_checkpointing, rows, prompt_tokens, student.max_tokens, steps > 1,
        anchored, training.device == "cpu",
    )  # fmt: skip
    tokens, own = prompt_tokens + student.max_tokens, rows * steps
    of_answers = (student.model, student.dtype, student.load_in_4bit)
    answers = _sampling(*of_answers, own, prompt_tokens, tokens, training.precision == "bfloat16")
    measured = _sampling(*of_answers, recipe.evaluation.batch, prompt_tokens, tokens, False)
    has_reference = recipe.method == "omniopd" and not student.lora_rank
    reference, of_teacher, texts = made.whole if has_reference else 0, 0, 0
    if runs_here(teacher.model) and METHODS[recipe.method].reads != "nothing":
        name = teacher.model.removeprefix(LOCAL)
        of_teacher = _weights(name, teacher.dtype)
        if (resolve(name), teacher.dtype) == (resolve(student.model), student.dtype) and gpus == 1:
            reference = 0  # it is the teacher (`training/reference.py`)
        if METHODS[recipe.method].reads == "texts":
            places = recipe.audit.at_once if recipe.audit.way == "scan" else recipe.audit.forks
            at_once = min(own * places * recipe.audit.samples, max(1, teacher.batch_tokens // tokens))
            texts = _sampling(name, teacher.dtype, False, at_once, tokens, tokens, False)
    optimizer = sum(_moments(training.optimizer, *weight) for weight in made.learns)
    of, gathered, buckets = (gpus, made.gathered, 0) if shared else (1, 0, made.gradients if gpus > 1 else 0)
    parameters, gradients = made.parameters // of, made.gradients // of + buckets
    activations = made.peak - made.gradients + gathered
    again = parameters + optimizer // of + reference + gradients + activations
    # Who samples has the student whole (`models/pieces.py`); the reference is never in pieces.
    answers += made.parameters - parameters
    return Memory(
        parameters=parameters,
        optimizer=optimizer // of,
        reference=reference,
        teacher=of_teacher,
        vllm=int(device_bytes * _VLLM_SHARE) if student.sampler == COLOCATED else 0,
        gradients=gradients,
        activations=activations,
        answers=answers if student.sampler == TRANSFORMERS else 0,
        texts=texts,
        measuring=made.parameters + (measured if recipe.evaluation.temperatures else 0),
        control=made.parameters + again if recipe.evaluation.controls else 0,
    )


@dataclass(frozen=True, slots=True)
class _Learning:
    """Bytes of a student that learns: all its `parameters`, the `whole` model's without an adapter and unpacked, the
    `peak` beside them of a micro-batch, gradients included, what a process gathers of shared weights (`gathered`); and
    of each weight that learns how many numbers, of how many bytes, and whether it is an embedding (`learns`)."""

    parameters: int
    whole: int
    gradients: int
    peak: int
    gathered: int
    learns: tuple[tuple[int, int, bool], ...]


@lru_cache(maxsize=64)
def _learning(
    name: str, dtype: str, precision: str, rank: int, targets: tuple[str, ...], in_4_bits: bool, checkpointing: bool,
    rows: int, prompt_tokens: int, answer_tokens: int, accumulates: bool, anchored: bool, on_cpu: bool,
) -> _Learning:  # fmt: skip
    plain = shapes.built(config_of(name), DTYPES[dtype])
    whole, layers = shapes.size(plain.parameters()), [shapes.size(part.parameters()) for part in _layers(plain)]
    tiles = _tiles(rows * answer_tokens, plain.get_output_embeddings().weight, anchored, on_cpu)
    model = shapes.built(config_of(name), DTYPES[dtype], DTYPES[precision] if in_4_bits else None, rank, targets)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    learns = [p for p in model.parameters() if p.requires_grad]
    found = _Learning(
        parameters=shapes.size(model.parameters()) + shapes.size(model.buffers()),
        whole=whole,
        gradients=shapes.size(learns),
        peak=0,
        # Two layers, as the next one is fetched while one is at work, one's gradients, and all outside of layers.
        gathered=3 * max(layers, default=0) + whole - sum(layers),
        learns=tuple((p.numel(), p.element_size(), id(p) in tables) for p in learns),
    )
    with shapes.without_numbers() as alive:
        peak = shapes.learning_peak(
            alive, shapes.held(model), rows, prompt_tokens, answer_tokens, mixed=precision == "bfloat16",
            checkpointing=checkpointing, accumulates=accumulates, anchored=anchored, tiles=tiles,
        )  # fmt: skip
    return replace(found, peak=peak)


@lru_cache(maxsize=64)
def _sampling(
    name: str, dtype: str, in_4_bits: bool, rows: int, prompt_tokens: int, tokens: int, mixed: bool
) -> int:
    products = DTYPES["bfloat16" if mixed else "float32"] if in_4_bits else None
    model = shapes.built(config_of(name), DTYPES[dtype], products)
    with shapes.without_numbers() as alive:
        return shapes.answering_peak(alive, shapes.held(model), rows, prompt_tokens, tokens, mixed)


@lru_cache(maxsize=64)
def _weights(name: str, dtype: str) -> int:
    return shapes.size(shapes.built(config_of(name), DTYPES[dtype]).parameters())


def _layers(model: Any) -> list[Any]:
    """The equal parts that a network is a stack of, which FSDP gathers one by one."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(lists, key=lambda parts: shapes.size(parts.parameters()), default=()))


def _moments(optimizer: str, numbers: int, each: int, is_embedding: bool) -> int:
    """Bytes of the two moments of one weight: as wide as itself, or what bitsandbytes makes of it."""
    if optimizer != "adamw_8bit":
        return 2 * numbers * each
    return 2 * 4 * numbers if is_embedding or numbers < _FEWEST else int(_EIGHT_BITS * numbers)


def _tiles(tokens: int, head: torch.Tensor, anchored: bool, on_cpu: bool) -> int:
    """Bytes that the loss takes for a while to project states onto the vocabulary: a tile of logits, one of the
    reference's, what lies between two products twice, and 16-bit heads widened."""
    vocab, each = head.shape[0], 2 if anchored else 1
    rows = min(tokens, rows_of_a_tile(torch.device("cpu" if on_cpu else "cuda"), vocab))
    block = max(4, (BLOCK_LOGITS if on_cpu else BLOCK_LOGITS_ON_A_GPU) // vocab)
    tiles = 4 * vocab * (each * rows + 2 * min(rows, block))
    if not on_cpu:
        return max(tiles, min(each * _TILE_OF_TRL, each * 4 * tokens * vocab))
    return tiles + (each * 4 * head.numel() if head.element_size() < 4 else 0)


def _shared_out(recipe: Recipe, strategy: str) -> bool:
    """Whether processes share weights out. Raises ConfigError for what is not counted here."""
    if strategy not in STRATEGIES:
        raise ConfigError(f"--strategy is {strategy!r}: it must be one of {', '.join(STRATEGIES)}")
    if recipe.method not in COUNTED or recipe.objective.continuation_weight:
        raise ConfigError(
            f'method is "{recipe.method}" and objective.continuation_weight '
            f"{recipe.objective.continuation_weight:g}: only what {', '.join(COUNTED)} take, without continuations, is "
            "counted; try a run of one step"
        )
    if STRATEGIES[strategy] and recipe.student.load_in_4bit:
        raise ConfigError(
            f"--strategy is {strategy!r} and student.load_in_4bit true: weights of 4 bits are not shared out; use ddp"
        )
    return STRATEGIES[strategy]
