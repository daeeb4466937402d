"""Everything that only a large GPU can say, in one run of at most eight minutes; rehearsed on a CPU at small sizes.

    python benchmarks/gpu.py                              on a GPU: a 1.7-billion-parameter student, vocabulary 151,936
    python benchmarks/gpu.py --device cpu                 the same code at small sizes: it runs, and says nothing else
    python benchmarks/gpu.py --only scoring --seconds 200

Scoring beside full logits, TRL's kernels and the matrix products alone; a step in bfloat16 of a student with random
weights of a real shape; the teacher's texts as a tree beside rows; sampling beside `generate`; entropies in bfloat16
beside float32. Ways take turns in one process. Prints one Markdown table as it goes; a section that fails is a row of
it, and one that the time does not reach is named. Exit status 1 where a goal is not reached.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, Qwen3Config, Qwen3ForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))

import scoring
from continuations import Shape

from omniopd import embedded
from omniopd.io.quiet import quiet_libraries
from omniopd.models.decoding import continue_ids
from omniopd.models.token_stats import sequence_statistics
from omniopd.records import StepRecord
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.continuations import continuation_loss
from omniopd.training.trainer import OmniOPDConfig, OmniOPDTrainer
from tests.builders import tiny_tokenizer

Row = tuple[str, float, str, float | None]  # what, found, "≤" or "≥", goal


@dataclass(frozen=True)
class Sizes:
    """Of the student (a Qwen3's), and of what it is measured on."""

    hidden: int
    layers: int
    inner: int
    vocabulary: int
    head_tokens: int  # tokens of one loss on the head
    rollouts: int
    answer: int
    tree: Shape
    rounds: int

    @property
    def config(self) -> Qwen3Config:
        heads = max(1, self.hidden // 128)
        return Qwen3Config(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.inner,
            num_hidden_layers=self.layers, num_attention_heads=heads, num_key_value_heads=max(1, heads // 2),
            head_dim=128, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip


# Qwen3-1.7B's shape; and something like it that a CPU computes in seconds.
SIZES = {
    "cuda": Sizes(2048, 28, 6144, 151_936, 16_384, 32, 512, Shape(4, 256, 1024, forks=10, texts=8, chunk=50), 5),
    "cpu": Sizes(128, 2, 256, 2_048, 256, 4, 16, Shape(2, 16, 32, forks=2, texts=3, chunk=4), 2),
}


def student(sizes: Sizes, device: str, dtype: torch.dtype = torch.float32) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    with torch.device(device):
        return Qwen3ForCausalLM(sizes.config).to(dtype)


def tokenizer(sizes: Sizes) -> PreTrainedTokenizerBase:
    """As many tokens as the student has: bytes, words, and then names of nothing."""
    made = tiny_tokenizer()
    made.add_tokens([f"<{number}>" for number in range(sizes.vocabulary - len(made))])
    return made


def score(sizes: Sizes, device: str) -> list[Row]:
    """The loss on the head. Times in turns, memory as the growth of the peak in one forward and backward."""
    shape = sizes.vocabulary, sizes.head_tokens, sizes.hidden
    case = scoring.Case(*shape, device)
    names = [*scoring.VARIANTS]
    wall, _ = scoring.times(case, names, sizes.rounds, device)
    del case
    memory = {}
    for name in names:
        free(device)
        memory[name] = scoring.peak_growth(name, *shape, device)
    rows: list[Row] = []
    for ours in (scoring.OURS, scoring.OWN_WALK):
        rows += [
            (f"memory of {ours} ÷ full logits", memory[ours] / memory["full logits"], "≤", 1 / 20),
            (f"time of {ours} ÷ matrix products", wall[ours] / wall["matrix products"], "≤", 1.4),
            (f"time of {ours} ÷ TRL's kernels", wall[ours] / wall["TRL's kernels"], "≤", 1.05),
        ]
    # Below 1 "auto" takes the slower of the two (`token_stats.weighted_head_loss`).
    rows.append(("time of the own walk ÷ what auto takes", wall[scoring.OWN_WALK] / wall[scoring.OURS], "≥", 1.0))
    return rows


class Steps:
    """A recorder that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []

    def append(self, record: Any) -> None:
        self.steps.append(record)

    def write_rollouts(self, step: int, records: Any) -> None:
        pass


def step(sizes: Sizes, device: str) -> list[Row]:
    """Training steps in bfloat16 over float32 weights, by phase; a teacher that answers at once."""
    kept, lab = Steps(), embedded.lab()
    rows = [{"prompt": [dict(m) for m in p.messages]} for p in lab.task.prompts("train", sizes.rollouts * 3)]
    with tempfile.TemporaryDirectory() as folder:
        args = OmniOPDConfig(
            folder, per_device_train_batch_size=max(1, sizes.rollouts // 4), gradient_accumulation_steps=4, max_steps=3,
            max_completion_length=sizes.answer, generation_kwargs={"min_new_tokens": sizes.answer}, save_strategy="no",
            use_cpu=device == "cpu", bf16=True, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
            forks=10, samples=4, chunk_tokens=min(8, sizes.answer // 4), target="labels", similarity="exact",
            allow_off_policy=True, max_equal_share=1.0, learning_rate=1e-6,  # answers are held to a length
        )  # fmt: skip
        teacher = ScriptedTeacher(["apples in all", "shells", "has 12+9"])
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer = OmniOPDTrainer(
            student(sizes, device), teacher, args, train_dataset=rows, processing_class=tokenizer(sizes), recorder=kept
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    last = kept.steps[-1].seconds
    tokens = sizes.rollouts * sizes.answer
    found: list[Row] = [(f"a step of {tokens:,} tokens, seconds", sum(last.values()), "≤", None)]
    found += [(f"… {phase}, seconds", seconds, "≤", None) for phase, seconds in last.items()]
    if device == "cuda":
        found.append(("… memory at its peak, GB", torch.cuda.max_memory_allocated() / 1e9, "≤", None))
    return found


def tree(sizes: Sizes, device: str) -> list[Row]:
    """Continuation cross-entropy, forward and backward: a tree for each rollout beside a row for each text."""
    model = student(sizes, device, torch.bfloat16)
    batch = {name: value.to(device) for name, value in sizes.tree.batch(sizes.vocabulary).items()}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    loss: dict[bool, float] = {}
    for turn in range(sizes.rounds + 1):
        for trees in (True, False):
            model.zero_grad()
            found, took = timed(lambda trees=trees: _backward(model, batch, trees), device)
            loss[trees] = found
            if turn:
                seconds[trees].append(took)
    ratio = statistics.median(own / other for own, other in zip(seconds[True], seconds[False], strict=True))
    off = abs(loss[True] - loss[False]) / abs(loss[False])
    return [("time of trees ÷ rows", ratio, "≤", 1.0), ("losses apart, relative", off, "≤", 0.01)]


def _backward(model: nn.Module, batch: dict[str, torch.Tensor], trees: bool) -> float:
    loss = continuation_loss(model, batch, 1000.0, trees=trees)
    loss.backward()
    return float(loss.detach())


def sampling(sizes: Sizes, device: str) -> list[Row]:
    """Tokens a second, all answers of full length: ours, which draws by counters, beside transformers'."""
    model = student(sizes, device, torch.bfloat16).eval()
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(5, sizes.vocabulary, (sizes.rollouts, 64), generator=draw)
    tokens = sizes.rollouts * sizes.answer

    def ours() -> None:
        continue_ids(model, prompts.tolist(), [*range(sizes.rollouts)], sizes.answer, eos_ids=[], pad_id=0)

    @torch.no_grad()
    def theirs() -> None:
        model.generate(
            input_ids=prompts.to(device), attention_mask=torch.ones_like(prompts).to(device), do_sample=True, top_k=0,
            top_p=1.0, min_new_tokens=sizes.answer, max_new_tokens=sizes.answer, pad_token_id=0,
        )  # fmt: skip

    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(3):
        for name, work in (("ours", ours), ("theirs", theirs)):
            _, took = timed(work, device)
            if turn:
                seconds[name].append(took)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        ("tokens a second, ours", tokens / median["ours"], "≥", None),
        ("tokens a second, generate", tokens / median["theirs"], "≥", None),
        ("time of ours ÷ generate", median["ours"] / median["theirs"], "≤", 1.25),
    ]


@torch.no_grad()
def entropies(sizes: Sizes, device: str) -> list[Row]:
    """How far entropies and log-probabilities of a forward in bfloat16 are from those in float32."""
    exact = student(sizes, device).eval()
    ids = torch.randint(5, sizes.vocabulary, (4, 2 * sizes.answer), generator=torch.Generator().manual_seed(0))
    ids = ids.to(device)
    found = sequence_statistics(exact, ids, torch.ones_like(ids), sizes.answer)
    rough = sequence_statistics(exact.to(torch.bfloat16), ids, torch.ones_like(ids), sizes.answer)
    apart = (rough.entropies.float() - found.entropies.float()).abs()
    beside = (rough.logprobs.float() - found.logprobs.float()).abs()
    return [
        ("entropies apart, nats, mean", float(apart.mean()), "≤", None),
        ("entropies apart, nats, most", float(apart.max()), "≤", None),
        ("log-probabilities apart, nats, mean", float(beside.mean()), "≤", None),
    ]


SECTIONS: dict[str, Callable[[Sizes, str], list[Row]]] = {
    "scoring": score, "entropies": entropies, "sampling": sampling, "tree": tree, "step": step,
}  # fmt: skip


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    free(device)
    began = time.perf_counter()
    found = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return found, time.perf_counter() - began


def free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.synchronize()


def lines(names: list[str], sizes: Sizes, device: str, seconds: float) -> Iterator[tuple[str, bool]]:
    """Rows of the table, and whether each reached its goal."""
    until = time.monotonic() + seconds
    for name in names:
        if time.monotonic() > until:
            yield f"| {name} | not reached in {seconds:.0f} s | | |", False
            continue
        began = time.monotonic()
        try:
            found = SECTIONS[name](sizes, device)
        except Exception as error:  # what one section cannot do must not cost the others' figures
            said = (str(error).splitlines() or [""])[0]
            yield f"| {name} | failed: {type(error).__name__}: {said} | | |", False
        else:
            for what, value, sign, goal in found:
                reached = goal is None or (value <= goal if sign == "≤" else value >= goal)
                wanted = "" if goal is None else f"{sign} {goal:.3g}{'' if reached else ' MISSED'}"
                yield f"| {name} | {what} | {value:.4g} | {wanted} |", reached
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        free(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=[*SIZES], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS], default=[*SECTIONS])
    parser.add_argument("--seconds", type=float, default=420.0, help="no section begins after so long (420)")
    options = parser.parse_args()
    quiet_libraries()
    device, sizes = options.device, SIZES[options.device]
    where = torch.cuda.get_device_name() if device == "cuda" else "a rehearsal on a CPU: goals are a GPU's"
    print(f"{where}; torch {torch.__version__}\n\n| section | figure | found | goal |\n| --- | --- | ---: | --- |")
    missed = 0
    for line, reached in lines(options.only, sizes, device, options.seconds):
        print(line, flush=True)
        missed += not reached
    raise SystemExit(device == "cuda" and missed > 0)


if __name__ == "__main__":
    main()
