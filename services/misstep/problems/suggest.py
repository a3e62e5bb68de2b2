"""Guess a file's format and columns from its first rows, as a snippet of YAML to paste."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from misstep.datafiles.cells import CellError, Role, cell, find, paths
from misstep.problems.golds import mark_in
from misstep.problems.non_answers import why_no_answer

DEFAULT_COLUMNS: dict[str, dict[str, str]] = {
    "gsm8k": {"question": "question", "answer": "answer"},
    "math": {"question": "problem", "solution": "solution"},
    "table": {"question": "question", "answer": "answer"},
}
"""The columns that a format reads by default."""
_NAMES: dict[Role, tuple[str, ...]] = {
    "question": (
        "question", "problem", "query", "prompt", "instruction", "input", "questiontext", "problemtext",
        "problemstatement", "originalquestion", "originalproblem", "messages", "conversations", "text", "q",
    ),
    "answer": (
        "finalanswer", "expectedanswer", "groundtruth", "goldanswer", "gold", "referenceanswer", "correctanswer",
        "extractedanswer", "answer", "answers", "target", "label", "solution", "result", "output", "a",
    ),
    "solution": (
        "solution", "generatedsolution", "response", "rationale", "explanation", "reasoning", "chainofthought", "cot",
        "completion", "output", "answer", "messages", "conversations", "s",
    ),
}  # fmt: skip
_ROLES = ("question", "answer", "solution", "id")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_YAML_WORDS = frozenset(("yes", "no", "on", "off", "true", "false", "null", "y", "n"))
_SHORT = 60
_ROWS = 50


def columns_in(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the paths of all columns of some rows, in order."""
    return list(dict.fromkeys(path for row in rows[:_ROWS] for path in paths(row)))


def suggest(rows: Sequence[Mapping[str, Any]]) -> str | None:
    r"""Return fields of a source that would read these rows: ``format: table, columns: {question: problem, ...}``.

    A column whose texts contain GSM8K's ``####`` lines, a ``\boxed{..}`` or "The answer is" has the answers; the names
    of columns decide the rest. None if nothing looks like a question with an answer.
    """
    found = columns_in(rows)
    texts = {role: {path: _texts(rows, path, role) for path in found} for role in _NAMES}
    question = _question(found, texts["question"], texts["answer"])
    if question is None:
        return None
    rest = [path for path in found if path != question or any(texts["solution"][path])]
    said = {path: texts["answer"][path] for path in rest if path != question or _is_chat(rows, path)}
    hashed = _longest(said, lambda text: re.search(r"^#### *\S", text, re.MULTILINE) is not None)
    boxed = _longest(said, lambda text: "\\boxed" in text)
    marked = _longest(said, _ends_in_marked_answer)
    answer = _named(
        "answer", {path: said[path] for path in said if path not in (hashed, boxed) and _are_answers(said[path])}
    )
    if hashed is not None:
        return snippet("gsm8k", {"question": question, "answer": hashed})
    if answer is not None:
        longer = {path: said[path] for path in said if path != answer and not _are_answers(said[path])}
        solution = boxed or marked or _named("solution", longer)
        columns = {"question": question, "answer": answer} | ({"solution": solution} if solution else {})
        return snippet("table", columns)
    if boxed is not None:
        return snippet("math", {"question": question, "solution": boxed})
    if marked is not None:
        mark = Counter(known for text in said[marked] if (known := mark_in(text))).most_common(1)[0][0]
        marks = {"answer_after": mark} | ({"answer_before": "</answer>"} if mark == "<answer>" else {})
        return snippet("table", {"question": question, "answer": marked, "solution": marked}, marks)
    return None


def _ends_in_marked_answer(text: str) -> bool:
    """Whether a known mark is in a text, with something before it: ``Answer: 4`` alone needs no mark."""
    mark = mark_in(text)
    return mark is not None and (mark == "<answer>" or not text.casefold().startswith(mark.casefold()))


def _texts(rows: Sequence[Mapping[str, Any]], path: str, role: Role) -> list[str]:
    texts = []
    for row in rows[:_ROWS]:
        try:
            texts.append(cell(find(row, path), path, role).text)
        except CellError:
            texts.append("")
    return texts


def _question(found: Sequence[str], texts: Mapping[str, list[str]], others: Mapping[str, list[str]]) -> str | None:
    by_name = _named("question", {path: texts[path] for path in found})
    if by_name is not None:
        return by_name
    plain = [path for path in found if not any("####" in text or "\\boxed" in text for text in others[path])]
    asked = [path for path in plain if sum("?" in text for text in texts[path]) * 2 > len(texts[path])]
    long = [path for path in plain if sum(map(len, texts[path])) > _SHORT * len(texts[path])]
    return next(iter(asked or long), None)


def _named(role: Role, texts: Mapping[str, list[str]]) -> str | None:
    """The column with texts whose name fits a role best."""
    names = {path: re.sub(r"[^a-z]", "", path.rpartition(".")[2].lower()) for path in texts if any(texts[path])}
    return next((path for wanted in _NAMES[role] for path, name in names.items() if name == wanted), None)


def _longest(texts: Mapping[str, list[str]], test: Any) -> str | None:
    """The column in which at least half of the texts pass a test; of several, the one with the longest texts."""
    passing = []
    for path, said in texts.items():
        present = [text for text in said if text]
        if present and sum(map(test, present)) * 2 >= len(present):
            passing.append(path)
    return max(passing, key=lambda path: sum(map(len, texts[path])), default=None)


def _are_answers(texts: Sequence[str]) -> bool:
    """Whether most of a column's texts may be bare final answers."""
    present = [text for text in texts if text]
    bare = [
        text for text in present if len(text) <= _SHORT and why_no_answer(text) not in ("sentence", "parts", "picture")
    ]
    return bool(present) and len(bare) * 2 > len(present)


def _is_chat(rows: Sequence[Mapping[str, Any]], path: str) -> bool:
    return any(isinstance(find(row, path), list) for row in rows[:_ROWS])


def snippet(kind: str, columns: Mapping[str, str], marks: Mapping[str, str] | None = None) -> str:
    """Return a source's fields as YAML, without columns that are the format's defaults; a table names all columns."""
    marks = marks or {}
    own = DEFAULT_COLUMNS[kind] if kind != "table" else {}
    written = {"answer_after": "answerAfter", "answer_before": "answerBefore"}
    named = [(role, columns[role]) for role in _ROLES if role in columns and own.get(role) != columns[role]]
    named += [(written[mark], marks[mark]) for mark in written if mark in marks]
    inside = ", ".join(f"{name}: {_yaml(text)}" for name, text in named)
    return f"format: {kind}, columns: {{{inside}}}" if inside else f"format: {kind}"


def _yaml(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.lower() not in _YAML_WORDS else json.dumps(name, ensure_ascii=False)
