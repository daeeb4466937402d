"""Whether an answer's prefix ends inside a thought, and how a chat template goes on from there.

A thought is written `<think>…</think>`. Some templates open it themselves, so that a student's text starts inside one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
# GPT-OSS names a channel before it writes, and its template leaves that to the model.
_HARMONY, _FINAL = "<|start|>assistant", "<|channel|>final<|message|>"


def inside_thought(prefix: str, opened: bool = False) -> bool:
    """Whether the prefix ends inside `<think>`; `opened`: the template has opened a thought before it."""
    return prefix.rfind(OPEN) > prefix.rfind(CLOSE) or (opened and CLOSE not in prefix)


def opens_thought(rendered: str) -> bool:
    """Whether a rendered conversation ends in an open thought."""
    return rendered.rstrip().endswith(OPEN)


def ends_in_open_thought(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int]) -> bool:
    """Whether a prompt, as the student read it, ended in an open thought, so that its answer began inside one."""
    return opens_thought(str(tokenizer.decode(list(prompt_ids[-16:]), skip_special_tokens=False)))


@dataclass(frozen=True, slots=True)
class Joint:
    """How a prefix follows a rendered conversation: take `dropped` off its end, write `added`, then the prefix."""

    dropped: str = ""
    added: str = ""

    def rewrite(self, rendered: str) -> str:
        return rendered.removesuffix(self.dropped) + self.added


def joint(rendered: str, prefix: str, opened: bool) -> Joint:
    """What makes of conversation and prefix what the model itself would have written. The prefix stays as it is.

    `opened` says that the student's own template had opened a thought before the prefix. A tag that both the template
    and the student wrote is the student's; a thought that the template opens and the student never had is closed empty,
    as templates write it.
    """
    if rendered.endswith(_HARMONY):
        return Joint(added=_FINAL)
    begins = prefix.lstrip().startswith(OPEN)
    if opens_thought(rendered):
        if opened:
            return Joint()
        if begins:
            return Joint(dropped=rendered[rendered.rfind(OPEN) :])
        return Joint(added=("" if rendered.endswith("\n") else "\n") + f"\n{CLOSE}\n\n")
    if opened or begins:
        # A thought that the template wrote empty, since thinking is off, makes room for the student's own.
        empty = rendered[rendered.rfind(OPEN) :] if rendered.rstrip().endswith(CLOSE) and OPEN in rendered else ""
        return Joint(dropped=empty, added=f"{OPEN}\n" if opened else "")
    return Joint()
