r"""Find the final answer of a response.

It is strict where the format is clear. In all formats, text that stops before its answer has none. Everything runs in
time linear in the response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from misstep.verification.extraction import AMOUNT, NUMBER_LINE, AnswerFormat, Extraction, sign_of
from misstep.verification.normal import MAX_ANSWER_CHARS, tidy, unwrap, without_special_tokens
from misstep.verification.phrases import FILLER, RETRACTION
from misstep.verification.prose import TAIL_CHARS, from_prose, from_tag, stated_in
from misstep.verification.quantity import parse_exact
from misstep.verification.statement import is_answer, numbers_in, read_statement

__all__ = ["AnswerFormat", "Extraction", "extract_answer", "without_thoughts"]

_MAX_BOXES = 16
_MAX_LINES = 64

_PLAIN_NUMBER = re.compile(r"-?\d+(?:,\d{3})*")
_STARTING_NUMBER = re.compile(AMOUNT)
_HEADING = re.compile(r"(?:step|part|case|stage|solution|question|problem)\b|\d+[.)]\s+[A-Za-z]", re.IGNORECASE)
_LABEL = re.compile(r"[*_\s]*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*[:=]?[*_\s]*", re.IGNORECASE)
_GAP = r"(?:[\s$.,;]|\\q?quad(?![a-zA-Z])|\\[,;: ()\[\]])*"
_CONNECTOR = re.compile(
    rf"{_GAP}(?:\\text\s*\{{)?[\s,]*(?:and|or|,|;|&)[\s,]*\}}?{_GAP}(?:[a-zA-Z](?:_\{{?\w{{1,9}}\}}?)?\s*=\s*)?[\s$]*"
)
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[,:]?\s+[A-Za-z]{2,}")
_ANOTHER = re.compile(rf"\s*(?:(?:out )?of|per|in|and|,|&)\s+{AMOUNT}(?!\s+of\b)")
"""A second number directly after the first: a list, or a part of something."""
_RECKONS = re.compile(r"\b(?:times|plus|minus|multiplied|divided|or|to|more|less|fewer|than|not)\b", re.IGNORECASE)
_BARE_BOX = re.compile(r"\s+([^\s{}$\\]+)")
_THOUGHTS = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad")
_THOUGHT_TAG = re.compile(rf"<(/?)(?:{'|'.join(_THOUGHTS)})>", re.IGNORECASE)


def extract_answer(response: str, answer_format: AnswerFormat) -> Extraction:
    """Find the final answer of a response in the given format."""
    text = without_special_tokens(without_thoughts(response))
    if answer_format is AnswerFormat.HASH:
        return _from_hash(text, strict=True) or Extraction(None, "no-answer")
    if answer_format is AnswerFormat.BOXED:
        return _from_box(text) or Extraction(None, "no-answer")
    return _from_hash(text, strict=False) or _from_box_or_after(text) or from_tag(text) or from_prose(text)


def _from_box_or_after(text: str) -> Extraction | None:
    """The last box; an answer stated explicitly after it takes precedence, because the box may contain a step."""
    found = _from_box(text)
    if found is None or found.answer is None:
        return found
    after = stated_in(text[text.rfind(found.answer) + len(found.answer) :])
    if after is None or after.answer is None or unwrap(after.answer) == unwrap(found.answer):
        return found
    return replace(after, others=(found.answer, *found.others, *after.others))


def without_thoughts(text: str) -> str:
    """Remove a model's thoughts before its answer: everything up to the last ``</think>``, and a block that never
    closes."""
    if "<" not in text or ("think" not in text and _THOUGHT_TAG.search(text) is None):
        return text
    tags = list(_THOUGHT_TAG.finditer(text))
    closing = [tag for tag in tags if tag[1]]
    start = closing[-1].end() if closing else 0
    opening = next((tag.start() for tag in tags if not tag[1] and tag.start() >= start), len(text))
    return text[start:opening]


def _from_hash(text: str, strict: bool) -> Extraction | None:
    """The first ``####`` line, like GSM8K's own grader: text after it is not part of the answer.

    It is the last one if the text between retracts the first. Chat models use the same mark for headings, so unless
    strict, only a line that is a number counts, or one that ends the text.
    """
    position = text.find("####")
    if position < 0:
        return None if strict else _from_short_hash(text)
    found: list[tuple[str, str, int, int]] = []
    for _ in range(_MAX_LINES):
        if position < 0:
            break
        end = text.find("\n", position)
        line = text[position : end if end >= 0 else len(text)]
        raw = line.lstrip("#").strip()
        answer = _hash_content(raw, strict, closed=end >= 0, last=end < 0 or not text[end:].strip())
        if answer:
            found.append((answer, raw, position, position + len(line)))
        position = text.find("####", position + len(line))
    if not found:
        return Extraction(None, "unfinished") if strict else None
    chosen = 0
    while chosen + 1 < len(found) and RETRACTION.search(text[found[chosen][3] : found[chosen + 1][2]][:TAIL_CHARS]):
        chosen += 1
    answer, raw = found[chosen][:2]
    others = tuple(item[0] for item in found[chosen + 1 :])
    return Extraction(answer, "hash", others, sign=sign_of(raw, answer))


def _from_short_hash(text: str) -> Extraction | None:
    """A number after fewer marks on the last line: ``### 15``."""
    line = text[text.rfind("\n", 0, len(text.rstrip())) + 1 :].strip()
    if not line.startswith("#"):
        return None
    content = unwrap(line.lstrip("#"))
    return Extraction(content, "hash", sign=sign_of(line, content)) if NUMBER_LINE.fullmatch(content) else None


def _hash_content(content: str, strict: bool, closed: bool, last: bool) -> str:
    """The answer on one ``####`` line, empty if there is none."""
    if _PLAIN_NUMBER.fullmatch(content):
        return content
    if len(content) > MAX_ANSWER_CHARS or (not closed and re.search(r"\d,$", content)):
        return ""  # the second case: cut inside a number such as 1,250
    content = unwrap(content)
    if strict or last:
        content = unwrap(content[label.end() :] if (label := _LABEL.match(content)) else content)
        box = _last_box(content, len(content))
        content = box.content.strip() if box else content
    if NUMBER_LINE.fullmatch(content):
        return content
    if not any(map(str.isalnum, content)) or _HEADING.match(content):
        return ""
    if parse_exact(tidy(content)) is not None:
        return content
    if not (strict or last):
        return ""
    return _hash_text(content)


def _hash_text(content: str) -> str:
    """The answer on a line that holds more than a number."""
    if (filler := FILLER.match(content)) and NUMBER_LINE.fullmatch(content, filler.end()):
        return content[filler.end() :]  # "about 12"
    starting = _STARTING_NUMBER.match(content)
    if starting and re.match(r"\s+[A-Za-z(]", content[starting.end() :]):
        if _ANOTHER.match(content, starting.end()):
            return content if is_answer(content) else ""
        if not _RECKONS.search(content):
            return starting[0]  # "18 eggs, 3 of them brown"
        return read_statement(content).answer or ""
    if _SENTENCE.search(content) and (numbers := numbers_in(content)):
        return numbers[0] if len(numbers) == 1 and not _RECKONS.search(content) else ""
    return content


@dataclass(frozen=True, slots=True)
class _Box:
    start: int
    end: int
    content: str


def _from_box(text: str) -> Extraction | None:
    r"""The last ``\boxed{...}``; of several in a row (``\boxed{1}`` and ``\boxed{2}``) the whole list is read too."""
    last = _last_box(text, len(text))
    if last is None:
        return None
    if last.end < 0 or not unwrap(last.content):
        return Extraction(None, "unfinished")
    boxes = [last]
    while len(boxes) < _MAX_BOXES:
        previous = _last_box(text, boxes[0].start)
        if previous is None or previous.end < 0 or not 0 <= boxes[0].start - previous.end <= 40:
            break
        if not _CONNECTOR.fullmatch(text, previous.end, boxes[0].start):
            break
        boxes.insert(0, previous)
    contents = [box.content.strip() for box in boxes]
    others = (", ".join(contents), *contents[:-1]) if len(boxes) > 1 else ()
    return Extraction(contents[-1], "boxed", others, all_boxes=_apart(text, boxes))


def _apart(text: str, boxes: list[_Box]) -> str:
    """The boxes of a response that are not in a row: those of its parts, or a step and the answer."""
    contents = [box.content.strip() for box in boxes]
    start = boxes[0].start
    while len(contents) < _MAX_BOXES and (box := _last_box(text, start)) is not None and box.end >= 0:
        contents.insert(0, box.content.strip())
        start = box.start
    distinct = list(dict.fromkeys(contents))
    return ", ".join(distinct) if len(contents) > len(boxes) and len(distinct) > 1 else ""


def _last_box(text: str, before: int) -> _Box | None:
    r"""The last box that starts before a position; its end is -1 if the braces never close."""
    start = max(text.rfind(command, 0, before) for command in (r"\boxed", r"\fbox"))
    if start < 0:
        return None
    opening = start + (len(r"\boxed") if text.startswith(r"\boxed", start) else len(r"\fbox"))
    while opening < len(text) and text[opening].isspace():
        opening += 1
    if text[opening : opening + 1] != "{":
        bare = _BARE_BOX.match(text, start + len(r"\boxed"))
        return _Box(start, bare.end(), bare[1].rstrip(".,")) if bare else _Box(start, -1, "")
    depth, position = 0, opening
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return _Box(start, position + 1, text[opening + 1 : position])
        position += 1
    return _Box(start, -1, "")
