"""`omniopd plan`: what a run of a recipe takes of each GPU's memory, before anything is loaded, and what to change."""

from __future__ import annotations

import argparse
from typing import Any

from omniopd.cli.composed import add_recipes

_GUESS = 256


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "plan", help="does a run fit into memory?", description=__doc__,
        epilog="example: omniopd plan paper --gpus 8 --memory-gb 80. Loads no weights. The exit code is 1 where it "
        "does not fit.",
    )  # fmt: skip
    add_recipes(command)
    command.add_argument("--gpus", type=int, default=1, metavar="N", help="processes, a GPU each (1)")
    command.add_argument("--memory-gb", type=float, metavar="GB", help="of each GPU: says whether the run fits")
    command.add_argument("--strategy", default="ddp", metavar="NAME", help="how processes share it: ddp, fsdp2, zero3")
    command.add_argument(
        "--prompt-tokens", type=int, metavar="N",
        help=f"of the longest prompt (counted where problems and tokenizer are here, else {_GUESS})",
    )  # fmt: skip
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.config import compose
    from omniopd.config.settings import COLOCATED
    from omniopd.costs.fitting import changes
    from omniopd.costs.memory import memory_of
    from omniopd.costs.recipe import LOOKED_AT, longest_prompt
    from omniopd.errors import ConfigError
    from omniopd.io.quiet import quiet_libraries

    for name in ("gpus", "memory_gb", "prompt_tokens"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} is {value:g}: it must be above 0, and below a million")
    quiet_libraries()
    recipe = compose(options.recipes, options.settings)
    counted = None if options.prompt_tokens else longest_prompt(recipe)
    prompt = options.prompt_tokens or counted or _GUESS
    first = f"the longest of the recipe's first {LOOKED_AT:,}"
    whence = "given" if options.prompt_tokens else first if counted else "a guess: --prompt-tokens"
    limit = (options.memory_gb or 0) * 1e9
    how = prompt, options.gpus, options.strategy, limit
    memory = memory_of(recipe, *how)
    print(f"{recipe.name} on {options.gpus} × {_size(limit) if limit else 'a GPU'}, {options.strategy}, prompts of "
          f"{prompt} tokens ({whence}), answers of {recipe.student.max_tokens}")  # fmt: skip
    for name, size in memory.lines():
        if size:
            print(f"  {name:12}{_size(size):>12}")
    if recipe.student.sampler == COLOCATED and not limit:
        print("  vllm         its share of the GPU is not counted: say --memory-gb")
    for phase, size in memory.phases.items():
        print(f"  {phase:26}{_size(size):>12}{'  the most' if phase == memory.when else ''}")
    if not limit:
        return 0
    if memory.peak <= limit:
        print(f"fits into {_size(limit)}")
        return 0
    print(f"does not fit into {_size(limit)}")
    least = memory
    for number, (word, least) in enumerate(changes(recipe, *how)):
        said = "with" if number == 0 else "and"
        print(f"  {said:5}{word:40}{_size(least.peak):>12}, the most {least.when}", flush=True)
    print("fits with these" if least.peak <= limit else "nothing that is known here makes it fit")
    return 1


def _size(size: float) -> str:
    """Bytes as a person reads them; GB are 10⁹."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
