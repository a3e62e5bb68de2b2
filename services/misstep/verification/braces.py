"""Find the end of a bracket group, and the top level of an answer."""

from __future__ import annotations

from collections.abc import Iterator


def closing(text: str, start: int = 0) -> int:
    """Return the position after the closing brace of the group that opens at ``start``, or -1 if it does not close."""
    depth = 0
    for position in range(start, len(text)):
        character = text[position]
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position + 1
    return -1


def is_one_group(text: str) -> bool:
    """Whether the first bracket closes only at the end: ``(1,2)`` but not ``(1,2),(3,4)``."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return position == len(text) - 1
    return False


def top_level(text: str) -> Iterator[tuple[int, str]]:
    """Yield the characters outside of all brackets, with their positions."""
    depth = 0
    for position, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0:
            yield position, character


def split_top(text: str, separator: str) -> list[str]:
    """Split at a character outside of all brackets; each part is stripped."""
    parts, start = [], 0
    for position, character in top_level(text):
        if character == separator:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts
