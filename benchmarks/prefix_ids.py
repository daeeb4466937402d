"""Whose tokens a teacher continues: prefixes that a student sampled, through every handover that can carry its ids.

    python benchmarks/prefix_ids.py [--student embedded:student] [--prefixes 20000] [--temperature 1.0] [--tokens 128]

Prompts are the lab's. One row per handover: how many prefixes went over as the student's own ids, how many say so
(`exact`), how many say what is not so; above the table the share whose text is encoded to other ids, and of forks of
the paper's scheduler. Exit status 1 where `exact` is wrong once, or ids that can go over did not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from omniopd.config import load_recipe
from omniopd.method.tensors import schedule
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.sampling import sample
from omniopd.models.text.encoding import encode
from omniopd.models.text.token_text import whole_characters
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.pipeline.build import build_task
from omniopd.teachers.handover import handover_named
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import traits_of
from omniopd.types import ContinuationRequest, Rollout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="embedded:student")
    parser.add_argument("--prefixes", type=int, default=20_000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=128)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_model(asked.student), load_tokenizer(asked.student)
    prompts = build_task(load_recipe("labels")).prompts("train", 4000)
    requests: list[ContinuationRequest] = []
    forks = other_forks = answers = 0
    while len(requests) < asked.prefixes:
        some = prompts[answers : answers + 16]
        for rollout in sample(model, tokenizer, some, asked.tokens, asked.temperature):
            found = requests_of(rollout, tokenizer_mark(tokenizer))
            requests += found
            allowed = whole_characters(rollout.pieces)
            chosen = schedule("causal", rollout.entropies, 8, 8, allowed=allowed)
            other = other_ids(tokenizer, found)
            at = {len(request.prefix_ids or ()) for request, is_other in zip(found, other, strict=True) if is_other}
            forks, other_forks = forks + len(chosen), other_forks + sum(fork.start in at for fork in chosen)
        answers += len(some)
    requests = requests[: asked.prefixes]
    other = sum(other_ids(tokenizer, requests))
    print(
        f"{answers} answers of {asked.student} at T = {asked.temperature}: {other} of {len(requests)} prefixes "
        f"({other / len(requests):.2%}) and {other_forks} of {forks} forks are encoded to other ids\n"
    )
    print("| handover | prefixes | the student's ids | exact | exact wrongly | white space held back | not sent |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    local, template = LocalTeacher(model, tokenizer), ChatTemplate(tokenizer)
    served = handover_named("raw", traits_of("hosted_vllm/m"), template)
    text = handover_named("raw", traits_of("text-completion-openai/m"), template)

    def as_ids(request: ContinuationRequest) -> tuple[tuple[int, ...], bool, str]:
        sent = served.render(request)
        assert isinstance(sent.prompt, tuple)
        return sent.prompt, sent.exact, sent.unsent

    def as_text(request: ContinuationRequest) -> tuple[tuple[int, ...], bool, str]:
        sent = text.render(request)
        return tuple(tokenizer(sent.prompt).input_ids), sent.exact, sent.unsent

    def here(request: ContinuationRequest) -> tuple[tuple[int, ...], bool, str]:
        shown = local._template.shown(request, local._vocabulary)
        return local._prefixes([request])[0], shown.exact, shown.unsent

    wrong = [row("local, self-teacher, redraws", here, requests, all_of_them=True)]
    wrong += [row("raw, ids (vLLM)", as_ids, requests, all_of_them=True), row("raw, text", as_text, requests)]
    return 1 if any(wrong) else 0


def requests_of(rollout: Rollout, mark: str) -> list[ContinuationRequest]:
    """One for every place of an answer that a text can end at."""
    ids = rollout.token_ids.tolist()
    return [
        ContinuationRequest(
            rollout.prompt, "".join(rollout.pieces[:at]), 1, 1, prefix_ids=tuple(ids[:at]), tokenizer=mark,
            in_thought=False,
        )
        for at in range(len(ids))
        if at == 0 or rollout.pieces[at - 1]
    ]  # fmt: skip


def other_ids(tokenizer, requests: list[ContinuationRequest]) -> list[bool]:
    found = encode(tokenizer, [request.prefix for request in requests], special=False)
    return [tuple(ids) != request.prefix_ids for ids, request in zip(found, requests, strict=True)]


def row(
    name: str,
    ask: Callable[[ContinuationRequest], tuple[tuple[int, ...], bool, str]],
    requests: list[ContinuationRequest],
    all_of_them: bool = False,
) -> bool:
    """Prints a handover's row; whether something is wrong with it."""
    own = exact = wrongly = held = refused = 0
    for request in requests:
        wanted = request.prefix_ids or ()
        try:
            sent, says, unsent = ask(request)
        except UnsupportedRequest:
            refused += 1
            continue
        is_own = sent[len(sent) - len(wanted) :] == wanted and not unsent
        own, exact, held = own + is_own, exact + says, held + bool(unsent)
        wrongly += says != is_own
    print(f"| {name} | {len(requests)} | {own} | {exact} | {wrongly} | {held} | {refused} |", flush=True)
    return bool(wrongly) or (all_of_them and own < len(requests))


if __name__ == "__main__":
    sys.exit(main())
