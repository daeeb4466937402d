"""The values that computation passes along, and the two seams: who continues a text, what counts as similar.

Shapes only: no model, no tokenizer, no file. What is stored or drawn is in `records`.
Positions count response tokens from 0; entropies, log-probabilities and KL are in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

Message = dict[str, str]  # {"role": …, "content": …}
HALF_CHARACTER = "a text holds half of a surrogate pair"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as a conversation; `answer` is what a grader compares with, if the task has one.

    `solution` is the worked solution, for a teacher that may see it (`teachers/privileged.py`), and never a message.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    solution: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One response sampled from the student.

    `entropies[t]` and `logprobs[t]` belong to the distribution that produced `token_ids[t]`. `pieces` join to the
    response's text exactly: a token that completes no character has an empty piece. `finish` is "stop" (the model
    ended its turn) or "length" (cut off). The end-of-turn token is a token of the rollout; its piece is empty.
    """

    prompt: Prompt
    prompt_ids: Int[Tensor, " prompt"]
    token_ids: Int[Tensor, " time"]
    logprobs: Float[Tensor, " time"]
    entropies: Float[Tensor, " time"]
    pieces: tuple[str, ...]
    finish: str = "stop"
    anchor_kl: Float[Tensor, " time"] | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])


@dataclass(frozen=True, slots=True)
class Fork:
    """The chunk [start, stop) of a rollout; `entropy` is that of the distribution that produced token `start`."""

    start: int
    stop: int
    entropy: float


@dataclass(frozen=True, slots=True)
class ContinuationRequest:
    """Ask for `samples` independent continuations of `prefix`, the beginning of an answer to `prompt`.

    Draws are numbered from `first_sample`, so that a later round (or a retry) asks for new ones. `max_tokens` counts
    the teacher's tokens. The same (request, seed) gives the same draws where the teacher can promise that.

    `prefix_ids` are the tokens that the student wrote the prefix as, which need not be those that its text is encoded
    to; `tokenizer` says whose ids they are (`models.text.vocabulary.tokenizer_mark`), and a teacher takes them only
    where that is its own mark. None: nobody's, and the text is all. `in_thought` says whether the student's prompt
    ended in an open `<think>`; None: not known.

    `draft` is what the student wrote behind the prefix, for as many tokens as are asked for (`draft_ids`: as its own
    tokens). A text is of use until it parts from the draft, and a teacher may stop there: once the first word that
    differs is whole. Draws of a request with a draft are counted by their place in the answer and not from the prefix
    on, where the teacher makes them itself: its token at a place is the same wherever it was asked to begin.
    """

    prompt: Prompt
    prefix: str
    samples: int
    max_tokens: int
    first_sample: int = 0
    seed: int = 0
    prefix_ids: tuple[int, ...] | None = None
    tokenizer: str = ""
    in_thought: bool | None = None
    draft: str | None = None
    draft_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost. Token counts are the teacher's own; `cost_usd` is 0 for a local model."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cost_usd + other.cost_usd,
            self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True)
class Continuations:
    """A teacher's answer to one request. Fewer texts than asked for, or a `problem`: the fork is not audited.

    `stopped[i]` says that text i ended by itself (end of turn) and was not cut at `max_tokens`. `exact` says that the
    teacher continued the very tokens of the student (`prefix_ids`), not its text encoded anew, nor a paraphrase of the
    request; where a request has no such tokens, that it continued the very text. `echoes` counts answers that began by
    repeating the prefix: what was repeated is cut off, or the text drawn again. `token_ids[i]` are the tokens that text
    i was drawn as, where they are the student's own (the same tokenizer, the very prefix) and the teacher tells them.

    A text with half of a surrogate pair is none: no file can hold it and no tokenizer read it. It is left out, and the
    answer has a `problem`.
    """

    texts: tuple[str, ...]
    stopped: tuple[bool, ...] = ()
    usage: Usage = field(default_factory=Usage)
    problem: str | None = None
    served_model: str = ""
    handover: str = "raw"
    exact: bool = True
    cached: bool = False
    echoes: int = 0
    token_ids: tuple[tuple[int, ...], ...] = ()

    @property
    def ended(self) -> tuple[bool, ...]:
        """`stopped`, text by text, also where a teacher does not say: not known to have ended."""
        return self.stopped or (False,) * len(self.texts)

    def __post_init__(self) -> None:
        kept = [place for place, text in enumerate(self.texts) if is_writable(text)]
        if len(kept) < len(self.texts):
            for told in ("stopped", "token_ids"):
                if values := getattr(self, told):
                    object.__setattr__(self, told, tuple(values[place] for place in kept))
            object.__setattr__(self, "texts", tuple(self.texts[place] for place in kept))
            object.__setattr__(self, "problem", self.problem or HALF_CHARACTER)


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """One fork with what the teacher wrote there instead.

    `chunk` and `texts` are cut to the same number of student tokens. `continuation_ids[i]` are the student tokens of
    text i as they follow the prefix (the end-of-turn token closes one that stopped), or None where writing the text
    down changes the tokens of the prefix itself: such texts give no token labels. `prior` is π̄ of the chunk.
    `reencodes` says that the prefix's text, encoded anew, gives other tokens than those that the student wrote.

    A `run` is a piece of a scan: every text agrees with the chunk in all tokens but perhaps the last, and each of its
    tokens is an independent draw at its own place. Texts are then known by their tokens, and a similarity is 1 or 0.
    `begun` of them begin here; others go on from the part before.
    """

    fork: Fork
    chunk: str
    chunk_ids: tuple[int, ...]
    texts: tuple[str, ...]
    continuation_ids: tuple[tuple[int, ...] | None, ...]
    similarities: Float[Tensor, " continuation"]
    continuations: Continuations
    prior: float
    redraw_similarity: float | None = None
    reencodes: bool = False
    run: bool = False
    begun: int = 0

    @property
    def samples(self) -> int:
        return len(self.texts)

    @property
    def soft_count(self) -> float:
        """k: the sum of the similarities (method/README.md, row (b))."""
        return float(self.similarities.sum())


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A fork without an audit, and why. Its tokens are anchored."""

    fork: Fork
    problem: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, eq=False)
class AuditedRollout:
    """A rollout with its audits (ascending by start) and the forks that got no answer."""

    rollout: Rollout
    audits: tuple[Audit, ...]
    unanswered: tuple[Unanswered, ...] = ()


@runtime_checkable
class Teacher(Protocol):
    """Who continues a text. Batch in, batch out, in the order of the requests; synchronous, concurrent inside.

    `on_result(index, continuations)` is called as each answer arrives, from the calling thread or another.
    """

    def continue_from(
        self,
        requests: Sequence[ContinuationRequest],
        on_result: Callable[[int, Continuations], None] | None = None,
    ) -> list[Continuations]: ...


@runtime_checkable
class Similarity(Protocol):
    """What counts as similar: 1 is the same, 0 has nothing in common. Deterministic; order of the texts is kept."""

    def __call__(self, chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]: ...


@runtime_checkable
class Task(Protocol):
    """Prompts with answers, in splits that share none."""

    @property
    def name(self) -> str: ...

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]: ...

    def grade(self, prompt: Prompt, response: str) -> bool: ...


def is_writable(text: str) -> bool:
    """Whether a text can be written as UTF-8: files, requests and tokenizers hold no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
