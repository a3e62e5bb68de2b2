"""Read one cell of a row as text: dotted paths, numbers, lists of one, chat messages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Role = Literal["question", "answer", "solution", "id"]

_TURNS = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatbot": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
_BLANK = "\ufeff\u200b\u2060 \t\r\n\f\v\xa0\u3000"
_NO_TEXT = frozenset(("nan", "none", "null", "<na>", "n/a", "nat"))
_WHY_LEFT_OUT = "spec.policy.prompt says how questions are put"
_CHAT_TEXT = re.compile(r"""\[\s*\{\s*["'](?:role|from|content|value)["']\s*:""")
_LONGEST_TEXT = 1_000_000
_DIGITS = 40
"""A number with more digits than this before or after its point is left unchanged."""


class _Absent:
    """A column that a row does not have."""


ABSENT = _Absent()


class CellError(Exception):
    """A cell that is not text.

    Attributes:
        seen: its contents.
        fix: what to do about it.
    """

    def __init__(self, seen: str, fix: str) -> None:
        super().__init__(f"{seen}. {fix}")
        self.seen, self.fix = seen, fix


@dataclass(frozen=True, slots=True)
class Cell:
    """The text of a cell.

    Attributes:
        text: without white space at its ends; empty for null, NaN and missing cells.
        remarks: descriptions of what was left out, to be counted.
    """

    text: str
    remarks: tuple[str, ...] = ()


def find(values: Any, path: str) -> Any:
    """Return what a row holds at a path, or ABSENT.

    A column with exactly that name takes precedence, even if it contains dots. Otherwise the parts of the path are
    names in objects and positions in lists (``reward_model.ground_truth``, ``answers.0``).
    """
    if isinstance(values, str):
        values = _parsed(values)
    if isinstance(values, Mapping):
        if path in values:
            return values[path]
        for dot in reversed([place for place, sign in enumerate(path) if sign == "."]):
            if path[:dot] in values:
                if values[path[:dot]] is None:
                    return None
                found = find(values[path[:dot]], path[dot + 1 :])
                if found is not ABSENT:
                    return found
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        head, _, rest = path.partition(".")
        if re.fullmatch(r"-?\d{1,6}", head) and -len(values) <= int(head) < len(values):
            return find(values[int(head)], rest) if rest else values[int(head)]
    return ABSENT


def paths(values: Mapping[str, Any], deep: int = 3) -> Iterator[str]:
    """Yield the paths of a row's texts and numbers, in order, including those inside objects; a chat counts as one."""
    for name, value in values.items():
        if isinstance(value, Mapping) and deep > 1:
            yield from (f"{name}.{inner}" for inner in paths(value, deep - 1))
        else:
            yield name


def cell(value: Any, path: str, role: Role) -> Cell:
    """Return a cell's text.

    Args:
        path: the column, for messages.
        role: of chat messages, a question takes the user turn, anything else the assistant turn.

    Raises:
        CellError: it is not text, or is more than one text.
    """
    if value is None or value is ABSENT:
        return Cell("")
    if isinstance(value, bytes):  # some programs write text to Parquet in this way
        with suppress(UnicodeDecodeError):
            value = value.decode()
    if isinstance(value, str):
        text = value.strip(_BLANK)
        inside = _parsed(text) if role != "id" and _CHAT_TEXT.match(text) else None
        if isinstance(inside, list) and all(isinstance(item, Mapping) and _turn(item) is not None for item in inside):
            return _from_chat(inside, path, role)
        return Cell("" if role in ("question", "solution") and text.casefold() in _NO_TEXT else text)
    if isinstance(value, bool):
        raise CellError(
            f"{str(value).lower()}, which is not text",
            "Name another column; for problems with the answer yes or no, write the word as text.",
        )
    if isinstance(value, int | float | Decimal):
        return Cell(number_text(value))
    if isinstance(value, Mapping):
        if _turn(value) is not None:
            return _from_chat([value], path, role)
        inner = [f"{path}.{name}" for name in paths(value)]
        raise CellError(
            f"an object with {_listed([str(name) for name in value])}",
            f"Name what is inside it by a dotted path, for example {inner[0]}." if inner else "Name another column.",
        )
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        if value and all(isinstance(item, Mapping) and _turn(item) is not None for item in value):
            return _from_chat(value, path, role)
        return _from_list(value, path, role)
    raise CellError(f"a {type(value).__name__}, which is not text", "Name a column that holds text or numbers.")


def _parsed(text: str) -> Any:
    """The object or list that a text spells out, in JSON or in Python's notation; None otherwise."""
    if not text.lstrip().startswith(("{", "[")) or len(text) > _LONGEST_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return None


def number_text(value: float | Decimal) -> str:
    """Write a number as people do: 4.0 as 4, 1e3 as 1000, and 0.30 unchanged. Empty for NaN and infinity."""
    if isinstance(value, int):
        return str(value)
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not exact.is_finite():
        return ""
    if abs(exact.adjusted()) > _DIGITS:
        return str(value)
    return str(int(exact)) if exact == exact.to_integral_value() else format(exact, "f")


def _from_list(value: Sequence[Any], path: str, role: Role) -> Cell:
    cells = [cell(item, f"{path}.{place}", role) for place, item in enumerate(value)]
    texts = [found.text for found in cells]
    if not texts:
        return Cell("")
    if len(set(texts)) > 1:
        shown = _listed([repr(text[:30]) for text in texts])
        raise CellError(
            f"a list of {len(texts)} different values ({shown})",
            f"{path}.0 takes the first of each list and {path}.-1 the last; or write one value per row.",
        )
    return cells[0]


def _from_chat(messages: Sequence[Mapping[str, Any]], path: str, role: Role) -> Cell:
    wanted = "user" if role == "question" else "assistant"
    turns = [turn for message in messages if (turn := _turn(message)) is not None]
    taken = [text for who, text in turns if who == wanted]
    if len(taken) != 1:
        seen = _listed([who for who, _ in turns])
        place = next((place for place, (who, _) in enumerate(turns) if who == wanted), 0)
        inside = "value" if "value" in messages[0] else "content"
        what = "of the user" if wanted == "user" else "of the assistant"
        raise CellError(
            f"a chat with {len(taken) or 'no'} turn{'s' if len(taken) > 1 else ''} {what} ({seen})",
            f"Exactly one is needed. Name one by its position, for example {path}.{place}.{inside}, or leave the "
            "others out.",
        )
    dropped = dict.fromkeys(who for who, text in turns if text and who not in (wanted, "assistant"))
    remarks = tuple(f"the {who} turn of the question is left out ({_WHY_LEFT_OUT})" for who in dropped)
    return Cell(taken[0], remarks if role == "question" else ())


def _turn(message: Mapping[str, Any]) -> tuple[str, str] | None:
    """The role and the text of a chat message; None if it is not a chat message."""
    for who, what in (("role", "content"), ("from", "value")):
        if isinstance(message.get(who), str) and what in message:
            text = _content(message[what])
            return None if text is None else (_TURNS.get(message[who].lower(), message[who]), text)
    return None


def _content(value: Any) -> str | None:
    """A message's text; of several parts, all that are text. None if it is not text (a picture)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip(_BLANK)
    if isinstance(value, Sequence) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in value
    ):
        return "".join(part["text"] for part in value).strip(_BLANK)
    return None


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "nothing in it"
