"""Many short continuations of the beginnings of one text, without reading that text again for each.

The forks of a rollout share their prefixes, so the longest prefix (the trunk) is read once. All continuations then
grow as one tree beside it: a step is one forward over the tree's newest tokens, each of which sees, through its mask,
the part of the trunk before its fork and its own ancestors. Samples that have drawn the same tokens so far are one
node. Draws are those of `decoding`, so the tokens equal those of every prefix continued alone. Knows no text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omniopd.models.architecture.cache import roomy_cache
from omniopd.models.architecture.probing import accepted_inputs, evaluating
from omniopd.models.architecture.tree_attention import supports_trees, tree_mask
from omniopd.models.batching import packed
from omniopd.models.decoding import Sampling, choose, continue_ids, uniforms

# Tokens at its end in which a prefix may differ from the trunk: a text cut short may be encoded differently there.
_TAIL = 8
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Branch:
    """Continue `prefix` (not empty) once per seed."""

    prefix: tuple[int, ...]
    seeds: tuple[int, ...]
    max_tokens: int


def branch_ids(
    model: nn.Module,
    branches: Sequence[Branch],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    eos_ids: Sequence[int],
    pad_id: int = 0,
    batch_tokens: int = 65536,
) -> Iterator[tuple[int, list[list[int]]]]:
    """(index of a branch, its continuations in the order of its seeds), as the branches get ready.

    A continuation ends with an end token, which is included, or after `max_tokens`. `batch_tokens` bounds the tokens
    that are in memory at once.
    """
    if not supports_trees(model):
        rows = [(index, seed) for index, branch in enumerate(branches) for seed in branch.seeds]
        found = iter(
            continue_ids(
                model, [branches[i].prefix for i, _ in rows], [seed for _, seed in rows],
                [branches[i].max_tokens for i, _ in rows], temperature=temperature, top_p=top_p, eos_ids=eos_ids,
                pad_id=pad_id, batch_tokens=batch_tokens,
            )
        )  # fmt: skip
        yield from ((index, [next(found) for _ in branch.seeds]) for index, branch in enumerate(branches))
        return
    sampling, stops = Sampling(temperature, top_p), np.array(sorted(set(eos_ids)), dtype=np.int64)
    for groups in _batches(_grouped(branches, batch_tokens), batch_tokens):
        with evaluating(model):
            grown = _grow(model, groups, branches, stops, pad_id, sampling)
        yield from grown


@dataclass(slots=True)
class _Group:
    """A trunk, and (branch, tokens of its prefix that are the trunk's, its own remaining tokens)."""

    trunk: tuple[int, ...]
    members: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    new_tokens: int = 0

    @property
    def size(self) -> int:
        return len(self.trunk) + self.new_tokens


@dataclass(frozen=True, slots=True)
class _Level:
    """The newest nodes of all trees. Node n is token column `column[n]` of group `group[n]` in this level's forward.

    It sees the first `depth[n]` tokens of its trunk and the cache slots `path[n]`, its own among them (the last ones
    repeat it).
    """

    group: Ints
    column: Ints
    token: Ints
    position: Ints
    depth: Ints
    path: Ints

    @property
    def width(self) -> int:
        return int(self.column.max()) + 1


def _grow(
    model: nn.Module, groups: Sequence[_Group], branches: Sequence[Branch], stops: Ints, pad_id: int, sampling: Sampling
) -> list[tuple[int, list[list[int]]]]:
    device = next(model.parameters()).device
    trunk_width = max(1, *(len(group.trunk) - 1 for group in groups))
    cache = _read_trunks(model, groups, trunk_width, pad_id, device)
    level, leaf_of = _leaves(groups, trunk_width)
    members = [index for group in groups for index, _, _ in group.members]
    rows = [(index, seed) for index in members for seed in branches[index].seeds]
    drawn: list[list[int]] = [[] for _ in rows]
    seeds = np.array([seed for _, seed in rows], dtype=np.uint64)
    limits = np.array([branches[index].max_tokens for index, _ in rows], dtype=np.int64)
    node = np.array([leaf_of[index] for index, _ in rows], dtype=np.int64)
    alive = np.flatnonzero(limits > 0)
    slots, position = trunk_width, 0
    while alive.size:
        logits, cache = _read_level(model, level, cache, trunk_width, slots, len(groups), pad_id, device)
        slots += level.width
        tokens = _draw(logits, node[alive], uniforms(seeds[alive], position), sampling)
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            drawn[row].append(token)
        position += 1
        going = ~np.isin(tokens, stops) & (limits[alive] > position)
        alive, parents, tokens = alive[going], node[alive][going], tokens[going]
        if alive.size:
            level, node[alive] = _next_level(level, parents, tokens, slots)
    found: dict[int, list[list[int]]] = {index: [] for index in members}
    for (index, _), ids in zip(rows, drawn, strict=True):
        found[index].append(ids)
    return list(found.items())


def _read_trunks(model: nn.Module, groups: Sequence[_Group], width: int, pad_id: int, device: torch.device) -> Any:
    """The cache of all trunks but their last tokens, which are leaves. Padding on the right is never looked at."""
    ids = np.full((len(groups), width), pad_id, dtype=np.int64)
    for line, group in enumerate(groups):
        ids[line, : len(group.trunk) - 1] = group.trunk[:-1]
    inputs: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in accepted_inputs(model) else {}
    inputs["position_ids"] = torch.arange(width, device=device).expand(len(groups), -1)
    out = model(
        input_ids=torch.from_numpy(ids).to(device), past_key_values=roomy_cache(model), use_cache=True, **inputs
    )
    return out.past_key_values


def _read_level(
    model: nn.Module, level: _Level, cache: Any, trunk_width: int, slots: int, groups: int, pad_id: int,
    device: torch.device,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Logits per node of the level, and the cache with the level in it."""
    width = level.width
    ids = np.full((groups, width), pad_id, dtype=np.int64)
    positions = np.zeros((groups, width), dtype=np.int64)
    depth = np.ones(
        (groups, width), dtype=np.int64
    )  # a column without a node sees one token: a softmax over none is NaN
    ids[level.group, level.column] = level.token
    positions[level.group, level.column] = level.position
    depth[level.group, level.column] = level.depth
    sees = np.zeros((groups, 1, width, slots + width), dtype=bool)
    sees[:, 0, :, :trunk_width] = np.arange(trunk_width) < depth[:, :, None]
    sees[level.group[:, None], 0, level.column[:, None], level.path] = True
    out = model(
        input_ids=torch.from_numpy(ids).to(device), position_ids=torch.from_numpy(positions).to(device),
        attention_mask=tree_mask(model, torch.from_numpy(sees).to(device)), past_key_values=cache, use_cache=True,
    )  # fmt: skip
    return out.logits[torch.from_numpy(level.group).to(device), torch.from_numpy(level.column).to(device)], cache


def _draw(logits: Tensor, node: Ints, numbers: NDArray[np.float64], sampling: Sampling) -> Ints:
    """One token per row; the rows of a node share its cumulative distribution."""
    asked, place = np.unique(node, return_inverse=True)
    rank = _rank_within(place)
    table = np.zeros((asked.size, int(rank.max()) + 1))
    table[place, rank] = numbers
    tokens = choose(logits[torch.from_numpy(asked).to(logits.device)], torch.from_numpy(table), sampling)
    found: Ints = tokens.cpu().numpy()[place, rank]
    return found


def _leaves(groups: Sequence[_Group], trunk_width: int) -> tuple[_Level, dict[int, int]]:
    """The first level: the last token of every prefix and what leads there off the trunk; the node of each branch."""
    nodes: dict[tuple[int, int, tuple[int, ...]], int] = {}
    found: list[tuple[int, ...]] = []
    paths: list[list[int]] = []
    leaf_of: dict[int, int] = {}
    for line, group in enumerate(groups):
        column = 0
        for index, depth, tail in group.members:
            path: list[int] = []
            for length in range(1, len(tail) + 1):
                key = (line, depth, tail[:length])
                if key not in nodes:
                    nodes[key] = len(found)
                    found.append((line, column, tail[length - 1], depth + length - 1, depth))
                    paths.append([*path, trunk_width + column])
                    column += 1
                path = paths[nodes[key]]
            leaf_of[index] = nodes[line, depth, tail]
    longest = max(map(len, paths))
    padded = [path + path[-1:] * (longest - len(path)) for path in paths]
    columns: list[Ints] = [*np.array(found, dtype=np.int64).T.copy(), np.array(padded, dtype=np.int64)]
    return _Level(*columns), leaf_of


def _next_level(level: _Level, parents: Ints, tokens: Ints, slots: int) -> tuple[_Level, Ints]:
    """The distinct (parent, token) pairs as nodes, and the node of each pair."""
    pairs, node = np.unique(np.stack([parents, tokens], axis=1), axis=0, return_inverse=True)
    parent = pairs[:, 0]
    group = level.group[parent]
    column = _rank_within(group)
    path = np.concatenate([level.path[parent], (slots + column)[:, None]], axis=1)
    grown = _Level(group, column, pairs[:, 1], level.position[parent] + 1, level.depth[parent], path)
    return grown, node.reshape(-1)


def _rank_within(keys: Ints) -> Ints:
    """For each entry, how many earlier entries are equal to it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    start = np.maximum.accumulate(np.where(first, np.arange(keys.size), 0))
    rank = np.empty(keys.size, dtype=np.int64)
    rank[order] = np.arange(keys.size) - start
    return rank


def _grouped(branches: Sequence[Branch], batch_tokens: int) -> list[_Group]:
    """Branches by trunk: the longest prefixes found trunks, which shorter ones join where they are their beginnings."""
    shortest = min((len(branch.prefix) for branch in branches), default=0)
    families: dict[tuple[int, ...], list[_Group]] = defaultdict(list)
    for index in sorted(range(len(branches)), key=lambda i: (-len(branches[i].prefix), i)):
        prefix = branches[index].prefix
        new_tokens = len(branches[index].seeds) * branches[index].max_tokens
        family = families[prefix[:shortest]]
        for group in family:
            shared = _shared(prefix, group.trunk)
            if shared is not None and group.size + new_tokens <= batch_tokens:
                break
        else:
            group, shared = _Group(prefix), len(prefix) - 1
            family.append(group)
        group.members.append((index, shared, prefix[shared:]))
        group.new_tokens += new_tokens
    return [group for family in families.values() for group in family]


def _shared(prefix: tuple[int, ...], trunk: tuple[int, ...]) -> int | None:
    """How many tokens of the prefix to take from the trunk, never its last one; None for a stranger."""
    for length in range(len(prefix) - 1, max(0, len(prefix) - _TAIL) - 1, -1):
        if prefix[:length] == trunk[:length]:
            return length
    return None


def _batches(groups: Sequence[_Group], batch_tokens: int) -> Iterator[list[_Group]]:
    by_size = sorted(groups, key=lambda g: (g.size, g.trunk))
    return packed(by_size, lambda batch: batch[-1].size * len(batch), batch_tokens)
