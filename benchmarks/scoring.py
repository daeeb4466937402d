"""Memory and time of the loss on the head, against full logits, TRL's kernels and the matrix products alone.

    python benchmarks/scoring.py                  a CPU: vocabulary 32,000, 2,048 tokens
    python benchmarks/scoring.py --device cuda    a GPU: vocabulary 151,936, 16,384 tokens, bfloat16

Prints one Markdown table, and the same ratios for both of our kernels. Times are interleaved in one process (median of
the rounds), memory is the growth of the peak during one forward and backward, each variant in a fresh process: on a CPU
of the resident set. What does not fit is measured at a quarter and at half of the tokens and continued on a straight
line; it is then not timed. (By count full logits take 50 GB at the GPU's sizes: a card of 80 GB holds them.)
"""

from __future__ import annotations

import argparse
import functools
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from omniopd.models.chunked_stats import Head, Reference
from omniopd.models.token_stats import response_hidden, weighted_head_loss
from omniopd.training.objective import micro_batch_loss

AUDITED = 0.24  # share of tokens in chunks: 10 forks of 50 tokens in rollouts of 2,048
LIMITS = {
    "cpu": {("memory", "full logits"): 1 / 7, ("time", "full logits"): 1.1},
    "cuda": {("memory", "full logits"): 1 / 20, ("time", "matrix products"): 1.4, ("time", "TRL's kernels"): 1.05},
}
OURS = "weighted_head_loss"
OWN_WALK = f"{OURS}, own walk"
MICRO_BATCH = "micro_batch_loss"


class Case:
    """One random loss of the given size; the student's hidden states and head take gradients."""

    def __init__(self, vocab: int, tokens: int, hidden: int, device: str) -> None:
        draw = torch.Generator(device).manual_seed(0)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, device=device, dtype=dtype)

        self.states = normal(tokens, hidden).requires_grad_()
        self.weight = normal(vocab, hidden).mul_(3 / hidden**0.5).requires_grad_()
        self.reference_states = normal(tokens, hidden)
        self.reference_weight = normal(vocab, hidden).mul_(3 / hidden**0.5)
        self.targets = torch.randint(vocab, (tokens,), generator=draw, device=device)
        audited = torch.rand(tokens, generator=draw, device=device) < AUDITED
        self.chunk_weights = audited / tokens
        self.anchor_weights = 0.1 * ~audited / tokens

    def clear(self) -> None:
        self.states.grad = self.weight.grad = None
        if "micro_batch" in vars(self):
            self.micro_batch[0].zero_grad()

    @functools.cached_property
    def micro_batch(self) -> tuple[nn.Module, dict[str, Tensor], Reference]:
        """A model that is hardly more than its head, a trainer's batch of the same tokens, and the reference's view.

        Half of the audited tokens have a weight, the others two labels.
        """
        torch.manual_seed(0)
        (vocab, hidden), tokens, device = self.weight.shape, len(self.states), self.states.device
        config = LlamaConfig(
            vocab_size=vocab, hidden_size=hidden, intermediate_size=hidden, num_hidden_layers=1, num_attention_heads=4,
            tie_word_embeddings=False,
        )
        model = LlamaForCausalLM(config).to(device, self.states.dtype).eval()
        model.get_input_embeddings().requires_grad_(False)
        mask = torch.ones(8, tokens // 8, dtype=torch.long, device=device)
        audited = (self.chunk_weights != 0)[: mask.numel()].view(mask.shape)
        chosen = audited & (torch.arange(mask.shape[1], device=device) % 2 == 0)
        ids = self.targets[: mask.numel()].view(mask.shape)
        nothing = mask.new_zeros(8, 0)
        inputs = {
            "prompt_ids": ids[:, :4], "prompt_mask": mask[:, :4], "completion_ids": ids, "completion_mask": mask,
            "weights": chosen.float(), "audited": audited, "anchored": ~audited,
            "label_ids": torch.stack([ids, ids.flip(0)], -1),
            "label_weights": (audited & ~chosen).float()[..., None].expand(-1, -1, 2).contiguous(),
            "continuation_ids": nothing[..., None], "continuation_starts": nothing, "continuation_lengths": nothing,
            "continuation_weights": nothing.float(),
        }  # fmt: skip
        with torch.no_grad():
            sequence = (torch.cat([inputs[f"prompt_{of}"], inputs[f"completion_{of}"]], 1) for of in ("ids", "mask"))
            states = response_hidden(model, *sequence, mask.shape[1]) + 0.1
        return model, inputs, Reference(states, Head(self.reference_weight))


def full_logits(case: Case) -> float:
    """What one writes first: both models' logits, log-softmax in float32, `kl_div`. No entropy, in its favour."""
    log_p = functional.log_softmax((case.states @ case.weight.t()).float(), dim=-1)
    with torch.no_grad():
        log_q = functional.log_softmax((case.reference_states @ case.reference_weight.t()).float(), dim=-1)
    kl = functional.kl_div(log_p, log_q, log_target=True, reduction="none").sum(-1)
    picked = log_p.gather(-1, case.targets.unsqueeze(-1)).squeeze(-1)
    loss = (case.anchor_weights * kl - case.chunk_weights * picked).sum()
    loss.backward()
    return loss.item()


def ours(case: Case, kernel: str = "auto") -> float:
    loss = weighted_head_loss(
        case.states, Head(case.weight), case.targets, case.chunk_weights, anchor_weights=case.anchor_weights,
        reference=Reference(case.reference_states, Head(case.reference_weight)), kernel=kernel,
    )
    loss.total.backward()
    return loss.total.item()


def whole_micro_batch(case: Case) -> float:
    """What a training step computes on the head: the loss, its gradient, and the statistics for the log."""
    loss = micro_batch_loss(*case.micro_batch, 0.1, float(len(case.states)))
    loss.total.backward()
    return loss.total.item()


def trl_kernels(case: Case) -> float:
    """TRL's two kernels as they come, over all tokens."""
    from trl.kernels import ChunkedLogProbFunction
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    picked, *_ = ChunkedLogProbFunction.apply(
        case.states, case.weight, None, case.targets, 1.0, 32_768, None, 1.0, ("entropy",)
    )
    kl, _ = ChunkedDivergenceFunction.apply(
        case.states, case.weight, None, case.reference_states, case.reference_weight, None, 0.0
    )
    loss = (case.anchor_weights * kl - case.chunk_weights * picked).sum()
    loss.backward()
    return loss.item()


def matrix_products(case: Case) -> float:
    """The limit: logits of both models (the reference where anchored) and two gradients, nothing else."""
    states, weight = case.states.detach(), case.weight.detach()
    anchored = case.reference_states[case.anchor_weights != 0]
    of_weight = torch.zeros_like(weight)
    for rows in states.split(2048):
        logits = rows @ weight.t()
        torch.mm(logits, weight)
        of_weight.addmm_(logits.t(), rows)
    for rows in anchored.split(2048):
        torch.mm(rows, case.reference_weight.t())
    return 0.0


VARIANTS: dict[str, Callable[[Case], float]] = {
    "full logits": full_logits,
    OURS: ours,
    OWN_WALK: lambda case: ours(case, "tokens"),
    MICRO_BATCH: whole_micro_batch,
    "TRL's kernels": trl_kernels,
    "matrix products": matrix_products,
}


def times(case: Case, names: list[str], rounds: int, device: str) -> tuple[dict[str, float], dict[str, float]]:
    """Median wall and processor seconds of each variant, taken in turns so that a busy machine is busy for all."""
    wall: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            case.clear()
            _wait(device)
            wall_start, processor_start = time.perf_counter(), time.process_time()
            VARIANTS[name](case)
            _wait(device)
            if turn:  # the first round warms up
                wall[name].append(time.perf_counter() - wall_start)
                processor[name].append(time.process_time() - processor_start)
    return (
        {name: statistics.median(values) for name, values in wall.items()},
        {name: statistics.median(values) for name, values in processor.items()},
    )


def peak_growth(name: str, vocab: int, tokens: int, hidden: int, device: str) -> float:
    """MB by which the peak grows during one forward and backward, in this process."""
    VARIANTS[name](Case(512, 32, 16, device))  # what libraries allocate once is not the loss's
    case = Case(vocab, tokens, hidden, device)
    if name == MICRO_BATCH:
        _ = case.micro_batch
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        VARIANTS[name](case)
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = peak_resident(anew=True)
    VARIANTS[name](case)
    return peak_resident() - before


def peak_resident(anew: bool = False) -> float:
    """MB of the resident set at its peak: of this process, on Linux since the last call that began `anew`."""
    clear_refs = Path("/proc/self/clear_refs")
    if anew and clear_refs.exists():
        clear_refs.write_text("5")
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor / 1e6


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(names: list[str], wall: dict, processor: dict, memory: dict, device: str) -> str:
    lines = ["| variant | seconds | processor seconds | peak MB |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {wall[name]:.3f} | {processor[name]:.3f} | {memory[name]:,.0f} |" for name in names]
    for ours in (name for name in (OURS, OWN_WALK) if name in names):
        lines += ["", f"| {ours} against | ratio | limit | met |", "| --- | ---: | ---: | --- |"]
        for (what, other), limit in LIMITS[device].items():
            if other not in names:
                continue
            values = memory if what == "memory" else wall
            ratio = values[ours] / values[other]
            shown = f"1/{1 / ratio:.1f}" if what == "memory" else f"{ratio:.2f}"
            allowed = f"1/{1 / limit:.0f}" if what == "memory" else f"{limit:.2f}"
            lines.append(f"| {what} of {other} | {shown} | {allowed} | {'yes' if ratio <= limit else 'no'} |")
    return "\n".join(lines)


def peak_in_a_fresh_process(name: str, vocab: int, tokens: int, hidden: int, device: str, threads: int) -> float:
    """`peak_growth` where nothing ran before; NaN where it does not fit, which is said on stderr."""
    command = [sys.executable, __file__, "--device", device, "--threads", str(threads), "--vocab", str(vocab)]
    command += ["--tokens", str(tokens), "--hidden", str(hidden), "--peak-of", name]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode == 0:
        return float(answer.stdout.split()[-1])
    why = answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"]
    print(f"{name}, {tokens:,} tokens: {why[-1]}", file=sys.stderr)
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="which to measure; all by default")
    parser.add_argument("--peak-of", choices=list(VARIANTS), help=argparse.SUPPRESS)  # one variant in a fresh process
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"
    size = (
        options.vocab or (151_936 if on_gpu else 32_000), options.tokens or (16_384 if on_gpu else 2_048),
        options.hidden or (2_048 if on_gpu else 1_024),
    )
    if options.peak_of:
        print(peak_growth(options.peak_of, *size, options.device))
        return
    # On a CPU "auto" is the own walk: one row less.
    names = options.variants or [name for name in VARIANTS if on_gpu or name != OWN_WALK]
    vocab, tokens, hidden = size

    def peak(name: str, tokens: int) -> float:
        return peak_in_a_fresh_process(name, vocab, tokens, hidden, options.device, options.threads)

    memory = {name: peak(name, tokens) for name in names}
    timed = [name for name in names if not math.isnan(memory[name])]
    for name in set(names) - set(timed):
        half = peak(name, tokens // 2)
        memory[name] = half + 2 * (half - peak(name, tokens // 4))
        print(f"{name} does not fit: its memory is continued from a quarter and half of the tokens", file=sys.stderr)
    wall, processor = times(Case(*size, options.device), timed, options.rounds, options.device)
    for values in (wall, processor):
        values.update({name: float("nan") for name in names if name not in timed})
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, {options.threads} thread(s)"
    print(f"Vocabulary {vocab:,}, {tokens:,} tokens, hidden {hidden:,}; {where}; median of {options.rounds}.\n")
    print(table(names, wall, processor, memory, options.device))


if __name__ == "__main__":
    main()
