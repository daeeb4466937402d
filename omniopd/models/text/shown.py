"""A prompt as a teacher is shown it: with the worked solution, an instruction, examples that the student never reads.

What a recipe says of it is `config/sees.py`'s. Knows no teacher and no tokenizer.
"""

from __future__ import annotations

from dataclasses import replace

from omniopd.config.sees import Sees, filled
from omniopd.errors import DataError
from omniopd.types import Message, Prompt


def lacks(sees: Sees, prompt: Prompt) -> str:
    """What this prompt has not and must have: "solution", "answer"; "" where it has everything."""
    return next((part for part in sorted(sees.needs) if not (getattr(prompt, part) or "").strip()), "")


def shown(sees: Sees, prompt: Prompt) -> Prompt:
    """The prompt as a teacher sees it. Raises DataError for one that lacks what is to be shown of it."""
    if not sees:
        return prompt
    if part := lacks(sees, prompt):
        raise DataError(
            f"prompt {prompt.id!r} has no {part}, and the teacher is to see it (teacher.sees): give the row one, or "
            f"take {{{part}}} out"
        )
    place, question = _question(prompt)
    parts = {"question": question, "solution": prompt.solution or "", "answer": prompt.answer or ""}
    messages: list[Message] = [dict(message) for message in prompt.messages]
    if sees.template:
        messages[place]["content"] = filled(sees.template, parts)
    if sees.system:
        system = filled(sees.system, parts)
        if messages[0]["role"] == "system":  # chat models take one
            system = f"{system}\n\n{messages.pop(0)['content']}"
        messages.insert(0, {"role": "system", "content": system})
    return replace(prompt, messages=tuple(messages))


def _question(prompt: Prompt) -> tuple[int, str]:
    """The user's last message, by its place."""
    for place in reversed(range(len(prompt.messages))):
        if prompt.messages[place]["role"] == "user":
            return place, prompt.messages[place]["content"]
    raise DataError(
        f"prompt {prompt.id!r} has no message of a user, in whose place the teacher could see more (teacher.sees): "
        "give prompts that ask something"
    )
