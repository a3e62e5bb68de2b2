"""Times as Kubernetes writes them, and as seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(seconds: float) -> str:
    """Write a time in RFC 3339, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_seconds(value: object) -> float | None:
    """Read a time. None for anything that is not one: anyone may have written it."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.timestamp() if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
