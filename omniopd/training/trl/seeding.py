"""Randomness of a step, by counters: it depends on (run seed, purpose, step, rank) and never on what ran before.

Trainers and `generate` draw from torch's global generator. Its state after a resume differs from an uninterrupted run,
so it is set anew wherever a step draws.
"""

from __future__ import annotations

import torch

from omniopd.models.decoding import row_seed


def seed_for(purpose: str, seed: int, step: int, rank: int = 0) -> int:
    """A 63-bit seed."""
    return row_seed(seed, purpose, step, rank) & (2**63 - 1)


def seed_global_generators(purpose: str, seed: int, step: int, rank: int = 0) -> None:
    """Set torch's global generators (CPU and GPUs) for what comes next."""
    torch.manual_seed(seed_for(purpose, seed, step, rank))


def generator_for(purpose: str, seed: int, step: int) -> torch.Generator:
    """A generator of its own, on the CPU."""
    return torch.Generator().manual_seed(seed_for(purpose, seed, step))
