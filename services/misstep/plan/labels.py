"""The value of a Kubernetes label by which a stage's Job and pods are found. Pure."""

from __future__ import annotations

import hashlib

MOST_CHARACTERS = 63
"""Of a label's value, and of a host's name (RFC 1123)."""
_HASH = 8


def stage_label(name: str) -> str:
    """Return a stage's name where a label can hold it, else its beginning and a hash of the whole.

    The same name gives the same label, and different names of one plan different ones.
    """
    if len(name) <= MOST_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: MOST_CHARACTERS - _HASH - 1].rstrip('-')}-{digest}"
