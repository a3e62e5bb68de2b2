"""Seeds: one 64-bit stream per sample, and the order in which a seed takes training problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def sample_seed(seed: int, *parts: str | int) -> int:
    """Derive a sample's own 64-bit seed from the stage's seed and the sample's identity (problem, index, ...)."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def permutation(problem_ids: Iterable[str], seed: int) -> list[str]:
    """Order problems by a keyed hash: D problems are a prefix of 2D, and each seed has another order."""
    return sorted(problem_ids, key=lambda i: hashlib.blake2b(f"{seed}\x1f{i}".encode(), digest_size=16).digest())
