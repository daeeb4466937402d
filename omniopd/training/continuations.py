"""Cross-entropy of the student on the teacher's continuations, each after its own prefix (states of the student).

The texts of a rollout share its prompt and the response up to their forks, so they are read as one tree: rollout
first, texts behind it, and a mask by which each text sees its own prefix and itself. Where a model takes no such mask
(sliding windows, recurrent states, flash attention) every text is a row of its own, prefix and all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from omniopd.models.architecture.backbone import head_of, sequence_hidden
from omniopd.models.architecture.tree_attention import supports_trees, tree_mask
from omniopd.models.batching import sequences
from omniopd.models.token_stats import weighted_head_loss

ROWS_AT_ONCE = 64  # of one forward
TREE_TOKENS = 1024  # of texts behind one rollout; the rest goes behind another copy of it

_HiddenOf = Callable[[nn.Module, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    """The texts of a micro-batch that have a weight, in the order of their rollouts.

    `row` is the rollout of each, `start` its fork (response token), `tree` the row of a forward that it belongs to
    (ascending), `offset` how many tokens of other texts are before it there.
    """

    row: Int[Tensor, " text"]
    start: Int[Tensor, " text"]
    length: Int[Tensor, " text"]
    ids: Int[Tensor, "text longest"]
    weight: Float[Tensor, " text"]
    tree: Int[Tensor, " text"]
    offset: Int[Tensor, " text"]

    def of(self, chosen: Tensor) -> _Texts:
        return _Texts(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class _Prefixes:
    """Prompts and responses of a micro-batch; the response begins at column `prompt`."""

    ids: Int[Tensor, "batch length"]
    attention: Int[Tensor, "batch length"]
    prompt: int


def continuation_parts(student: nn.Module, inputs: Mapping[str, Tensor], rows_at_once: int = ROWS_AT_ONCE) -> int:
    """How many forwards this micro-batch's continuations take."""
    return len(_parts(_texts(inputs, supports_trees(student)), rows_at_once))


def continuation_loss(
    student: nn.Module,
    inputs: Mapping[str, Tensor],
    normaliser: float,
    temperature: float = 1.0,
    rows_at_once: int = ROWS_AT_ONCE,
    forwards: int | None = None,
    trees: bool | None = None,
) -> Float[Tensor, ""]:
    """Σ over texts of weight · −log π(text | its prefix), over `normaliser`.

    With sharded weights every process must make as many forwards as the one with the most: `forwards` is that number,
    and those without texts count for nothing. Where there are several, their inner states are made again in the
    backward, so that those of one are in memory at a time. `trees` False takes a row for each text, which costs a
    forward of its whole prefix; by default that is done only where the model takes no tree.
    """
    trees = supports_trees(student) if trees is None else trees
    ids, attention, _ = sequences(inputs)
    prefixes, texts = _Prefixes(ids, attention, inputs["prompt_ids"].shape[1]), _texts(inputs, trees)
    parts = _parts(texts, rows_at_once)
    forwards = max(len(parts), forwards or 0)
    hidden_of = _recomputed if forwards > 1 else sequence_hidden
    total = texts.weight.new_zeros(())
    for part in parts:
        chosen = texts.of(part)
        states = (_of_trees if trees else _of_rows)(hidden_of, student, prefixes, chosen)
        token = torch.arange(chosen.ids.shape[1], device=part.device) < chosen.length[:, None]
        weights = (chosen.weight / normaliser)[:, None].expand_as(token)[token]
        found = weighted_head_loss(
            states[token], head_of(student), chosen.ids[token], weights, temperature=temperature
        )
        total = total + found.total
    for _ in range(forwards - len(parts)):
        total = total + 0.0 * hidden_of(student, prefixes.ids[:1], prefixes.attention[:1], None).sum()
    return total


def _texts(inputs: Mapping[str, Tensor], trees: bool) -> _Texts:
    weights = inputs["continuation_weights"]
    row, text = (weights > 0).nonzero(as_tuple=True)
    length = inputs["continuation_lengths"][row, text]
    tree, offset = _planted(row, length - 1) if trees else (torch.arange(len(row), device=row.device), row * 0)
    return _Texts(
        row, inputs["continuation_starts"][row, text], length, inputs["continuation_ids"][row, text],
        weights[row, text], tree, offset,
    )  # fmt: skip


def _planted(row: Int[Tensor, " text"], tokens: Int[Tensor, " text"]) -> tuple[Tensor, Tensor]:
    """The tree of each text, and the tokens before it there. Nothing follows a text's last token, never an input."""
    before = tokens.cumsum(0) - tokens
    before = before - before[torch.searchsorted(row, row)]
    share = before // TREE_TOKENS
    _, tree = torch.stack([row, share]).unique_consecutive(dim=1, return_inverse=True)
    return tree, before - before[torch.searchsorted(tree, tree)]


def _parts(texts: _Texts, rows_at_once: int) -> list[Tensor]:
    """The texts of each forward."""
    forward = texts.tree // rows_at_once
    return [(forward == i).nonzero().flatten() for i in forward.unique()]


def _of_trees(
    hidden_of: _HiddenOf, student: nn.Module, prefixes: _Prefixes, texts: _Texts
) -> Float[Tensor, "text longest hidden"]:
    """The states that say each token of each text; those behind its end say nothing."""
    prompt, trunk = prefixes.prompt, prefixes.prompt + int(texts.start.max())
    line = texts.tree - texts.tree[0]
    first = torch.searchsorted(line, torch.arange(int(line[-1]) + 1, device=line.device))
    row = texts.row[first]
    # Columns: the rollout up to its last fork, then all tokens of the texts but their last ones.
    place = torch.arange(texts.ids.shape[1], device=line.device)
    column = trunk + texts.offset[:, None] + place
    inner = place < texts.length[:, None] - 1
    text = inner.nonzero()[:, 0]
    at = line[text], column[inner]
    length = int(column[inner].max()) + 1 if len(text) else trunk

    attended = torch.nn.functional.pad(prefixes.attention[row, :trunk].bool(), (0, length - trunk))
    ids = torch.nn.functional.pad(prefixes.ids[row, :trunk], (0, length - trunk))
    positions = (attended.cumsum(-1) - 1).clamp(min=0)
    says_first = prompt + texts.start - 1
    ids[at] = texts.ids[inner]
    positions[at] = (positions[line, says_first][:, None] + 1 + place)[inner]

    columns = torch.arange(length, device=line.device)
    reach = columns.repeat(len(row), 1)  # the last column of the rollout that each column sees
    reach[at] = says_first[text]
    owner = torch.full_like(ids, -1)  # the text that each column belongs to
    owner[at] = text
    same = (owner[:, :, None] == owner[:, None, :]) & (columns <= columns[:, None])
    sees = (attended[:, None, :] & (columns <= reach[:, :, None])) | (same & (owner[:, :, None] >= 0))
    sees |= torch.eye(length, dtype=torch.bool, device=line.device)  # padding too: a softmax over nothing is NaN
    hidden = hidden_of(student, ids, tree_mask(student, sees[:, None]), positions)
    said_by = torch.where(place == 0, says_first[:, None], column - 1).clamp(max=length - 1)
    return hidden[line[:, None], said_by]


def _of_rows(
    hidden_of: _HiddenOf, student: nn.Module, prefixes: _Prefixes, texts: _Texts
) -> Float[Tensor, "text longest hidden"]:
    """The same states from a row for each text: prompt, response up to the fork, text; `_of_trees` says which."""
    longest = texts.ids.shape[1]
    prefix = prefixes.prompt + texts.start
    # Shifted so that all texts begin at one column, right behind their prefixes.
    widest = int(prefix.max())
    columns = torch.arange(widest + longest, device=prefix.device)
    source = columns - (widest - prefix)[:, None]
    before = source.clamp(0, prefixes.ids.shape[1] - 1)
    behind = columns - widest
    in_text = (behind >= 0) & (behind < texts.length[:, None])
    in_prefix = (source >= 0) & (source < prefix[:, None]) & prefixes.attention[texts.row].gather(1, before).bool()
    ids = prefixes.ids[texts.row].gather(1, before)
    ids[:, widest:] = texts.ids
    hidden = hidden_of(student, ids, (in_text | in_prefix).long(), None)
    return hidden[:, widest - 1 : -1]


def _recomputed(student: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor | None) -> Tensor:
    """`sequence_hidden`, whose inner states are made again in the backward."""
    made: Tensor = checkpoint(sequence_hidden, student, ids, attention, positions, use_reentrant=False)
    return made
