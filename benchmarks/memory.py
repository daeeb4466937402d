"""Claim: `omniopd plan` says the peak memory of a run within 15%.

    python benchmarks/memory.py [qwen3] [llama] [gpt2] [llama4]

Three small models with random weights are really trained on the CPU, a whole `run_training` each: Qwen3 with all its
weights, LLaMA with an adapter, GPT-2 with gradient checkpointing; with bitsandbytes installed, LLaMA in 4 bits too.
Each in a process of its own: the most that is resident during the run, less what was before it (Linux says both),
beside what the plan says of the recipe, which knows nothing of the run. What a first run loads, libraries and their
caches, is loaded before by a run of the shipped student. One thread; large blocks of memory go back to the system at
once (MALLOC_MMAP_THRESHOLD_), or what was freed would count. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GOAL = 0.15
RUN = {
    "evaluation.temperatures": [], "evaluation.controls": [], "audit.forks": 2, "audit.samples": 2,
    "training.steps": 2, "training.rollouts": 16, "training.micro_batch": 8, "training.record_every": 0,
    "training.probe_prompts": 0, "training.allow_zero_gradient": True, "training.max_equal_share": 1.0,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {"student.lora_rank": 8},
    "gpt2": {"training.gradient_checkpointing": True},
    "llama4": {"student.lora_rank": 8, "student.load_in_4bit": True},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help=", ".join(SETTINGS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.which[0])))
        return 0
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    able = [name for name in SETTINGS if name != "llama4" or find_spec("bitsandbytes")]
    missed = 0
    print(f"{'':8} {'million':>8} {'measured':>9} {'planned':>9} {'ratio':>6}", flush=True)
    for name in options.which or able:
        command = [sys.executable, __file__, "--child", name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            return 1
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = found["planned"] / found["measured"]
        missed += abs(ratio - 1) > GOAL
        megabytes = f"{found['measured'] / 1e6:6.0f} MB {found['planned'] / 1e6:6.0f} MB"
        print(f"{name:8} {found['numbers'] / 1e6:8.1f} {megabytes} {ratio:6.2f}   {found['parts']}", flush=True)
    print("holds" if not missed else "DOES NOT HOLD")
    return int(missed > 0)


def measured(name: str) -> dict[str, Any]:
    """What one run took, and what was planned, in bytes."""
    import torch

    from omniopd.config import load_recipe
    from omniopd.costs.memory import memory_of
    from omniopd.costs.recipe import longest_prompt
    from omniopd.pipeline.run import run_training

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        numbers = make_student(name, Path(folder) / "student")
        settings = RUN | SETTINGS[name]
        run_training(load_recipe("labels", **settings | {"training.steps": 1}), folder, show=False)
        gc.collect()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        recipe = load_recipe("labels", **settings | {"student.model": f"{folder}/student"})
        run_training(recipe, folder, show=False)
        took = resident("VmHWM") - before
        plan = memory_of(recipe, longest_prompt(recipe) or 0)
    parts = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in plan.lines() if size)
    return {"measured": took, "planned": plan.peak, "numbers": numbers, "parts": f"{plan.when}: {parts}"}


def resident(what: str) -> int:
    """Bytes: VmRSS now, VmHWM at the most."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


def make_student(name: str, folder: Path) -> int:
    """A model with random weights and the shipped student's tokenizer; how many numbers it has."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config

    from omniopd.models.loading import load_tokenizer

    tokenizer = load_tokenizer("embedded:student")
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    ids["pad_token_id"] = tokenizer.pad_token_id
    size = {"hidden_size": 384, "num_hidden_layers": 8, "max_position_embeddings": 512}
    config = {
        "qwen3": Qwen3Config(
            **ids, **size, intermediate_size=1152, num_attention_heads=6, num_key_value_heads=2, head_dim=64
        ),
        "llama": LlamaConfig(**ids, **size, intermediate_size=1024, num_attention_heads=6),
        "gpt2": GPT2Config(**ids, n_embd=384, n_layer=8, n_head=6, n_positions=512),
    }[name.removesuffix("4")]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


if __name__ == "__main__":
    sys.exit(main())
