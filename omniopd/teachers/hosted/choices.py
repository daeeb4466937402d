"""Which draw each text of an answer is, and whether it is a continuation: what its ending and its handover say.

Knows replies and handovers; sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from omniopd.teachers.handover.base import REFUSAL, Handover, ParsedText, ProviderRequest
from omniopd.teachers.hosted.finish import BROKEN, REFUSED, STOP, UNSAID
from omniopd.teachers.hosted.transport import Choice, Reply
from omniopd.types import HALF_CHARACTER

NO_TEXT, THINKING_ONLY, OTHER_MODEL = "no text", "thinking only", "other model"
THOUGHT_REMOVED, ECHO = "thought removed", "echo"
# A provider's slip, not the model's word: the same draw is asked for again.
GLITCHES = (NO_TEXT, THINKING_ONLY, OTHER_MODEL, HALF_CHARACTER, BROKEN, UNSAID)


def by_number(run: Sequence[int], choices: Sequence[Choice]) -> dict[int, Choice]:
    """Which draw each text is, by the provider's own count. A text whose number was not asked for, or came before,
    belongs to no draw: its draw is asked for again. Without numbers, and for a single draw, the order says it."""
    if len(run) == 1 or all(choice.index is None for choice in choices):
        return dict(zip(run, choices, strict=False))
    found: dict[int, Choice] = {}
    for choice in choices:
        if choice.index is not None and 0 <= choice.index < len(run):
            found.setdefault(run[choice.index], choice)
    return dict(sorted(found.items()))


def parsed_choice(choice: Choice, reply: Reply, rendered: ProviderRequest, handover: Handover) -> ParsedText:
    """The continuation in one text of a reply, or why it does not count."""
    if choice.finish == REFUSED:
        return ParsedText("", REFUSAL)
    if not choice.text:
        # A model that ends its turn at once has written an end-of-turn token and nothing else.
        ended = choice.finish == STOP and not choice.thought and handover.exact and not rendered.unsent
        if ended and 0 < reply.taken.written <= 3 * len(reply.choices):
            return ParsedText("")
        return ParsedText("", THINKING_ONLY if choice.thought else NO_TEXT)
    if choice.finish in (BROKEN, UNSAID):
        return ParsedText("", f"{choice.finish}: {choice.word}" if choice.word else choice.finish)
    if choice.thought and handover.exact:
        # litellm takes a leading <think>…</think> out of an answer: what is left does not follow the prefix.
        return ParsedText("", THOUGHT_REMOVED)
    return handover.parse(rendered, choice.text)
