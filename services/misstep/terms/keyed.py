"""Random orders and choices that depend only on names, not on the order in which things are met. Pure."""

from __future__ import annotations

import hashlib


def keyed_hash(*names: object) -> bytes:
    """Return 8 bytes that depend only on these names: a sort key for a random order."""
    text = "\x1f".join(map(str, names))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
