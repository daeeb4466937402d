"""/v1/completions as vLLM serves it: token ids, or a text that its tokenizer reads special tokens out of.

With ids it insists on a distribution that nothing cuts, as the teachers of these tests want it: a real server would
take what is missing from the checkpoint's generation_config, without a word.
"""

from __future__ import annotations

import copy
import re
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from tests.builders import tiny_tokenizer
from tests.wire.reading import Turn, refusal, tokens, write
from tests.wire.server import Answering, Received, Reply


def vllm(tokenizer: PreTrainedTokenizerBase) -> Answering:
    """A server of a model with this tokenizer, whose turns are ChatML's."""
    tokenizer = copy.deepcopy(tokenizer)  # encoding sets a switch on it, and the server has a thread of its own

    def answer(received: Received) -> Reply:
        body = received.body
        if received.path != "/v1/completions":
            return refusal(404, f"no such path: {received.path}")
        whole = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        if isinstance(body["prompt"], list) and (cut := {name for name in whole if body.get(name) != whole[name]}):
            return refusal(400, f"the checkpoint's own {sorted(cut)[0]} would cut the distribution")
        turns = chatml_turns(tokenizer, prompt_ids(tokenizer, body["prompt"]))
        if not turns or turns[-1].role != "assistant":
            return refusal(400, "the prompt is not a conversation that ends in the assistant's turn")
        written = write(turns, body["max_tokens"])
        choice = {"text": written.text, "logprobs": None, "finish_reason": "stop" if written.stopped else "length"}
        count = body.get("n", 1)
        spent = tokens(written.text) * count
        return Reply(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 1700000000,
                "model": body["model"],
                "choices": [{"index": index, **choice} for index in range(count)],
                "usage": {"prompt_tokens": 100, "completion_tokens": spent, "total_tokens": 100 + spent},
            }
        )

    return answer


def turns_of(received: Received) -> list[Turn]:
    """The turns of a request to a server with the tiny tokenizer."""
    tokenizer = _own_tiny_tokenizer()
    return chatml_turns(tokenizer, prompt_ids(tokenizer, received.body["prompt"]))


@lru_cache(maxsize=1)
def _own_tiny_tokenizer() -> PreTrainedTokenizerBase:
    return copy.deepcopy(tiny_tokenizer())


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str | list[int]) -> list[int]:
    """The ids that the model sees: those sent, or the text as the server's tokenizer reads it."""
    return prompt if isinstance(prompt, list) else list(tokenizer(prompt).input_ids)


def chatml_turns(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[Turn]:
    """The turns that control tokens mark: text that merely spells them makes none."""
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    turns, current = [], None
    for token in ids:
        if token == start:
            current = []
        elif token == end and current is not None:
            turns.append(_turn(tokenizer, current))
            current = None
        elif current is not None:
            current.append(token)
    return turns if current is None else [*turns, _turn(tokenizer, current)]


def _turn(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> Turn:
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    role, text = re.match(r"(\w+)\n(.*)", text, re.DOTALL).groups()
    return Turn(role, text)
