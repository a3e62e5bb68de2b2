"""The value of the Kubernetes label that identifies a stage's Job and pods. Pure."""

from __future__ import annotations

import hashlib

MOST_CHARACTERS = 63
"""The limit of a label's value, and of a host name (RFC 1123)."""
_HASH = 8


def stage_label(name: str) -> str:
    """Return a stage's name if a label can hold it, else its beginning and a hash of the whole name.

    Equal names give equal labels, and different names in one plan give different labels.
    """
    if len(name) <= MOST_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: MOST_CHARACTERS - _HASH - 1].rstrip('-')}-{digest}"
