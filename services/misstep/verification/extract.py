r"""Find the final answer of a response.

Strict where the format is clear, and the same in one respect everywhere: text that stops before its answer has
none. Everything runs in time linear in the response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from misstep.verification.normal import MAX_ANSWER_CHARS, unwrap, without_special_tokens


class AnswerFormat(StrEnum):
    r"""How a response states its final answer.

    ``hash``: GSM8K's line ``#### 18``. ``boxed``: MATH's ``\boxed{18}``. ``auto``: the first of these two that is
    there, else the closing statement of free text (``The answer is **18**.``).
    """

    HASH = "hash"
    BOXED = "boxed"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a response gives as its answer.

    Attributes:
        answer: the final answer as written, None where there is none.
        rule: the form it was found in, or why there is none.
        others: further readings of the same response (all boxes of a list, the other numbers of the closing
            sentence). A response is not ``wrong`` while one of them equals the gold.
        prose: the end of a free text whose closing statement needs a parser, empty otherwise.
    """

    answer: str | None
    rule: str
    others: tuple[str, ...] = ()
    prose: str = ""


_TAIL_CHARS = 2000
_MAX_BOXES = 16
_MAX_OTHERS = 32
_MAX_LINES = 64

_AMOUNT = r"[-\u2212+]?\s?(?:\\?\$|[€£¥])?\s?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER_LINE = re.compile(
    rf"{_AMOUNT}(?:\s*/\s*\d[\d,]*|e[+-]?\d+)?\s?\\?%?(?:\.|\s?[A-Za-z\u00b0\\^][^\d\n=+*]{{0,40}}\d?\}}?)?"
)
_STARTING_NUMBER = re.compile(_AMOUNT)
_HEADING = re.compile(r"(?:step|part|case|stage|solution|question|problem)\b|\d+[.)]\s+[A-Za-z]", re.IGNORECASE)
_LABEL = re.compile(r"[*_\s]*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*[:=]?[*_\s]*", re.IGNORECASE)
_CONNECTOR = re.compile(r"[\s$.,;]*(?:\\text\s*\{)?[\s,]*(?:and|or|,|;|&)[\s,]*\}?[\s$]*(?:[a-zA-Z]\s*=\s*)?[\s$]*")
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[,:]?\s+[A-Za-z]{2,}")
_BARE_BOX = re.compile(r"\s+([^\s{}$\\]+)")


def extract_answer(response: str, answer_format: AnswerFormat) -> Extraction:
    """Find the final answer of a response in the given format."""
    text = without_special_tokens(response)
    if answer_format is AnswerFormat.HASH:
        return _from_hash(text, strict=True) or Extraction(None, "no-answer")
    if answer_format is AnswerFormat.BOXED:
        return _from_box(text) or Extraction(None, "no-answer")
    return _from_hash(text, strict=False) or _from_box(text) or _from_prose(text)


def _from_hash(text: str, strict: bool) -> Extraction | None:
    """The first ``####`` line, as GSM8K's own grader takes it: what follows is past the answer.

    A chat model uses the same mark for headings, so unless strict only a line that is a number counts.
    """
    found: list[str] = []
    position = text.find("####")
    seen = position >= 0
    for _ in range(_MAX_LINES):
        if position < 0:
            break
        end = text.find("\n", position)
        line = text[position : end if end >= 0 else len(text)]
        answer = _hash_content(line.lstrip("#").strip(), strict, closed=end >= 0)
        if answer:
            found.append(answer)
        position = text.find("####", position + len(line))
    if found:
        return Extraction(found[0], "hash", tuple(found[1:]))
    return Extraction(None, "unfinished") if strict and seen else None


def _hash_content(content: str, strict: bool, closed: bool) -> str:
    """The answer on one ``####`` line, empty if there is none."""
    if len(content) > MAX_ANSWER_CHARS or (not closed and re.search(r"\d,$", content)):
        return ""  # the second: cut inside a number such as 1,250
    content = unwrap(content)
    if strict:
        content = unwrap(content[label.end() :] if (label := _LABEL.match(content)) else content)
        box = _last_box(content, len(content))
        content = box.content.strip() if box else content
    if _NUMBER_LINE.fullmatch(content):
        return content
    if not strict or not any(map(str.isalnum, content)) or _HEADING.match(content):
        return ""
    starting = _STARTING_NUMBER.match(content)
    if starting and re.match(r"\s+[A-Za-z(]", content[starting.end() :]):
        return starting[0]  # "18 eggs, 3 of them brown"
    if _SENTENCE.search(content) and (numbers := _numbers(content)):
        return numbers[0] if len(numbers) == 1 else ""
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
    return Extraction(contents[-1], "boxed", others)


def _last_box(text: str, before: int) -> _Box | None:
    r"""The last box that starts before a position; its end is -1 where the braces never close."""
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


_STATEMENT = re.compile(
    r"\banswer\b[*_\s]*(?:to\s+(?:the|this)\s+(?:question|problem)\s*)?(?:\bis\b|[:=])(?:\s*[:=])?[*_]*",
    re.IGNORECASE,
)
_MATH = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*|__([^_\n]{1,80})__")
_NUMBERS = re.compile(
    r"(?<![\w.,])(?:(?<![)\]}])[-\u2212])?(?:(?:\\?\$|[€£¥])\s?-?)?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+(?![\d/]))?(?:\s?\\?%)?|(?<![\w.])\.\d+"
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s*]|$)|\n")
_FINISHED = re.compile(r"(?:[.!?`\"\u201d]|\S\*\*|\\[\])])$")


def _from_prose(text: str) -> Extraction:
    """The closing statement of a free text: after "the answer is", in bold, or the last number."""
    tail = text[-_TAIL_CHARS:].rstrip()
    paragraphs = [part for part in re.split(r"\n\s*\n", tail) if part.strip()]
    if not paragraphs:
        return Extraction(None, "no-answer")
    closing = paragraphs[-1]
    statements = list(_STATEMENT.finditer(tail))
    if statements:
        return _stated(tail, tail[statements[-1].end() :].lstrip(" \t:"), closing)
    numbers = _numbers(closing)
    bold = [unwrap(match[1] or match[2]) for match in _BOLD.finditer(closing)]
    bold = [part for part in bold if _NUMBER_LINE.fullmatch(part)]
    if bold:
        return Extraction(bold[-1], "bold", numbers, tail)
    ends_on_answer = re.search(r"(?:[=:]|^)\s*\S*\d\S*$", closing.rsplit("\n", 1)[-1]) is not None
    closes_math = tail.endswith("$") and closing.count("$") % 2 == 0
    if not (_FINISHED.search(tail) or closes_math or ends_on_answer):
        return Extraction(None, "unfinished")
    if "\\" in closing or not numbers:
        return Extraction(None, "no-answer", (), tail)
    return Extraction(numbers[-1], "last-number", numbers[:-1], tail)


def _stated(tail: str, rest: str, closing: str) -> Extraction:
    """Read what follows "the answer is"."""
    while rest.startswith("\n"):
        rest = rest.lstrip()  # the answer stands on the next line
    if not unwrap(rest):
        return Extraction(None, "unfinished")
    end = _SENTENCE_END.search(rest, 1)
    sentence = rest[: end.start()] if end else rest
    others = _numbers(rest[:400]) + _numbers(closing)
    math = _MATH.match(rest.lstrip("*"))
    bold = _BOLD.match(rest)
    if math:
        content = next(part for part in math.groups() if part)
        return Extraction(content.rsplit("=", 1)[-1].strip(), "stated", (content, *others), tail)
    if bold and _NUMBER_LINE.fullmatch(unwrap(bold[1] or bold[2])):
        return Extraction(unwrap(bold[1] or bold[2]), "stated", others, tail)
    answer = unwrap(sentence.rsplit("=", 1)[-1])
    if _NUMBER_LINE.fullmatch(answer) or not _SENTENCE.search(answer):
        return Extraction(answer, "stated", (unwrap(sentence), *others), tail)
    numbers = _numbers(sentence)
    if numbers:
        return Extraction(numbers[0], "stated", others, tail)
    return Extraction(answer or None, "stated", others, tail)


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(unwrap(number) for number in _NUMBERS.findall(text)[-_MAX_OTHERS:])
