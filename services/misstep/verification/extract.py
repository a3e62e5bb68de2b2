r"""Find the final answer of a response.

Strict where the format is clear, and the same in one respect everywhere: text that stops before its answer has
none. Everything runs in time linear in the response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from misstep.verification.characters import WIDE
from misstep.verification.exact import parse_exact
from misstep.verification.normal import MAX_ANSWER_CHARS, tidy, unwrap, without_special_tokens
from misstep.verification.statement import (
    BOLD,
    MATH,
    NUMBER,
    RETRACTION,
    is_answer,
    last_number,
    numbers_in,
    read_statement,
)


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
        sign: the sign of dollars that stood before the answer.
    """

    answer: str | None
    rule: str
    others: tuple[str, ...] = ()
    prose: str = ""
    sign: str = ""


_TAIL_CHARS = 2000
_MAX_BOXES = 16
_MAX_LINES = 64

_AMOUNT = r"[-\u2212+]?\s?(?:\\?\$|[€£¥₹])?\s?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_NUMBER_LINE = re.compile(
    rf"{_AMOUNT}(?:\s*/\s*\d[\d,]*|e[+-]?\d+)?\s?\\?%?(?:\.|\s?[A-Za-z\u00b0\\^][^\d\n=+*]{{0,40}}\d?\}}?)?"
)
_PLAIN_NUMBER = re.compile(r"-?\d+(?:,\d{3})*")
_STARTING_NUMBER = re.compile(_AMOUNT)
_HEADING = re.compile(r"(?:step|part|case|stage|solution|question|problem)\b|\d+[.)]\s+[A-Za-z]", re.IGNORECASE)
_LABEL = re.compile(r"[*_\s]*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*[:=]?[*_\s]*", re.IGNORECASE)
_CONNECTOR = re.compile(r"[\s$.,;]*(?:\\text\s*\{)?[\s,]*(?:and|or|,|;|&)[\s,]*\}?[\s$]*(?:[a-zA-Z]\s*=\s*)?[\s$]*")
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[,:]?\s+[A-Za-z]{2,}")
_RECKONS = re.compile(r"\b(?:times|plus|minus|multiplied|divided|or|to|more|less|fewer|than|not)\b", re.IGNORECASE)
_BARE_BOX = re.compile(r"\s+([^\s{}$\\]+)")
_THOUGHTS = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad")
_THOUGHT_TAG = re.compile(rf"<(/?)(?:{'|'.join(_THOUGHTS)})>", re.IGNORECASE)
_TAGGED = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE)


def extract_answer(response: str, answer_format: AnswerFormat) -> Extraction:
    """Find the final answer of a response in the given format."""
    text = without_special_tokens(without_thoughts(response))
    if answer_format is AnswerFormat.HASH:
        return _from_hash(text, strict=True) or Extraction(None, "no-answer")
    if answer_format is AnswerFormat.BOXED:
        return _from_box(text) or Extraction(None, "no-answer")
    return _from_hash(text, strict=False) or _from_box(text) or _from_tag(text) or _from_prose(text)


def without_thoughts(text: str) -> str:
    """Remove what a model thinks before it answers: all up to the last ``</think>``, and a block never closed."""
    if "<" not in text or ("think" not in text and _THOUGHT_TAG.search(text) is None):
        return text
    tags = list(_THOUGHT_TAG.finditer(text))
    closing = [tag for tag in tags if tag[1]]
    start = closing[-1].end() if closing else 0
    opening = next((tag.start() for tag in tags if not tag[1] and tag.start() >= start), len(text))
    return text[start:opening]


def _from_hash(text: str, strict: bool) -> Extraction | None:
    """The first ``####`` line, as GSM8K's own grader takes it: what follows is past the answer.

    The last one, where the text between takes the first back. A chat model uses the same mark for headings, so unless
    strict only a line that is a number counts, or one that ends the text.
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
    while chosen + 1 < len(found) and RETRACTION.search(text[found[chosen][3] : found[chosen + 1][2]][:_TAIL_CHARS]):
        chosen += 1
    answer, raw = found[chosen][:2]
    others = tuple(item[0] for item in found[chosen + 1 :])
    return Extraction(answer, "hash", others, sign=_sign(raw, answer))


def _from_short_hash(text: str) -> Extraction | None:
    """A number behind fewer marks on the last line: ``### 15``."""
    line = text[text.rfind("\n", 0, len(text.rstrip())) + 1 :].strip()
    if not line.startswith("#"):
        return None
    content = unwrap(line.lstrip("#"))
    return Extraction(content, "hash", sign=_sign(line, content)) if _NUMBER_LINE.fullmatch(content) else None


def _sign(raw: str, answer: str) -> str:
    """The dollars that stood before an answer and are not the opening of mathematics."""
    if "$" not in raw or not answer[:1].isdigit():
        return ""
    place = raw.find(f"${answer}")
    return r"\$" if place >= 0 and raw[place + 1 + len(answer) :][:1] != "$" else ""


def _hash_content(content: str, strict: bool, closed: bool, last: bool) -> str:
    """The answer on one ``####`` line, empty if there is none."""
    if _PLAIN_NUMBER.fullmatch(content):
        return content
    if len(content) > MAX_ANSWER_CHARS or (not closed and re.search(r"\d,$", content)):
        return ""  # the second: cut inside a number such as 1,250
    content = unwrap(content)
    if strict or last:
        content = unwrap(content[label.end() :] if (label := _LABEL.match(content)) else content)
        box = _last_box(content, len(content))
        content = box.content.strip() if box else content
    if _NUMBER_LINE.fullmatch(content):
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
    starting = _STARTING_NUMBER.match(content)
    if starting and re.match(r"\s+[A-Za-z(]", content[starting.end() :]):
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
    r"\b(?:answer|correct (?:choice|option|letter)|right (?:choice|option))\b[*_\s]*(?:to\s+(?:the|this)\s+[^.:=\n]{1,40}?\s*)?"
    r"(?:\b(?:is|are|was|must be|should be|would be|will be|equals|comes to)\b|[:=])(?:\s*[:=])?[*_]*"
    r"|答案\s*(?:是|为|[:：])[:：]?|(?:la réponse|la respuesta|la risposta|a resposta|die antwort)\s*(?:est|es|è|é|ist|:)\s*:?",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s*]|$)|\n|\u3002")
_ABBREVIATED = re.compile(r"(?:\b(?:Rs|approx|Mr|Mrs|Ms|Dr|St|a\.m|p\.m|i\.e|e\.g|vs|sq|cu|ft|in|oz|lb)|^[\s*(]*[A-J])$", re.IGNORECASE)
_CONTINUED = re.compile(r"\s*[-+*/=<>)]")
_SUPPOSED = re.compile(
    r"\b(?:thought|(?:might|may|could|would) (?:think|say|guess)|supposed?|assum\w+|claims?|if)\s+(?:that\s+)?(?:the\s+)?(?:final\s+|correct\s+)?$",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(rf"{RETRACTION.pattern}|\b(?:actually|in reality)\b|\bit (?:should|must) be\b", re.IGNORECASE)
_FINISHED = re.compile(r"(?:[.!?`\"\u201d\u3002]|\S\*\*|\\[\])])$")
_MAX_WHOLE = 80


def _from_tag(text: str) -> Extraction | None:
    """The content of the last ``<answer>`` element."""
    found = list(_TAGGED.finditer(text[-_TAIL_CHARS:]))
    if not found:
        return None
    content = unwrap(found[-1][1])
    if not content:
        return Extraction(None, "unfinished")
    if is_answer(content):
        return Extraction(content, "tag", sign=_sign(found[-1][1], content))
    return _from_prose(content)


def _from_prose(text: str) -> Extraction:
    """The closing statement of a free text: after "the answer is", in bold, or the number that it ends on."""
    tail = text[-_TAIL_CHARS:].rstrip()
    if not tail.isascii():
        tail = tail.translate(WIDE)
    paragraphs = [part for part in re.split(r"\n\s*\n", tail) if part.strip()]
    if not paragraphs:
        return Extraction(None, "no-answer")
    closing = paragraphs[-1]
    statements = list(_STATEMENT.finditer(tail))
    if statements:
        if _SUPPOSED.search(tail[: statements[-1].start()]):
            return Extraction(None, "unclear")
        return _stated(tail, tail[statements[-1].end() :].lstrip(" \t:"), closing)
    whole = unwrap(text.strip().lstrip("> ")) if len(text) <= 2 * _MAX_WHOLE else ""
    if whole and len(whole) <= _MAX_WHOLE and "\n" not in whole and is_answer(whole, words=False):
        return Extraction(whole, "whole", sign=_sign(text.strip(), whole))
    return _from_closing(tail, closing)


def _from_closing(tail: str, closing: str) -> Extraction:
    """The last paragraph of a text that does not say which is its answer."""
    numbers = numbers_in(closing)
    retracted = RETRACTION.search(closing) is not None
    bold = [unwrap(match[1] or match[2]) for match in BOLD.finditer(closing)]
    bold = [part for part in bold if _NUMBER_LINE.fullmatch(part)]
    if bold and not retracted:
        return Extraction(bold[-1], "bold", numbers, tail, sign=_sign(closing, bold[-1]))
    ends_on_answer = re.search(r"(?:[=:]|^)\s*\S*\d\S*$", closing.rsplit("\n", 1)[-1]) is not None
    closes_math = tail.endswith("$") and closing.count("$") % 2 == 0
    if not (_FINISHED.search(tail) or closes_math or ends_on_answer):
        return Extraction(None, "unfinished")
    if retracted:
        return Extraction(None, "retracted")
    if "\\" in closing or not numbers:
        return Extraction(None, "no-answer", (), tail)
    sentence = _last_sentence(closing)
    number = last_number(sentence)
    if number is None:
        return Extraction(None, "unclear")
    others = tuple(other for other in numbers if other != number)
    return Extraction(number, "last-number", others, tail, sign=_sign(sentence, number))


def _last_sentence(paragraph: str) -> str:
    """The last sentence that holds a number."""
    found, rest = "", paragraph
    while rest:
        end = _end_of_sentence(rest)
        sentence, rest = rest[:end], rest[end:].lstrip(".!?\n\u3002 \t*")
        if NUMBER.search(sentence):
            found = sentence
    return found


def _end_of_sentence(text: str) -> int:
    """Where the first sentence ends; behind at least one character."""
    position = 1
    while found := _SENTENCE_END.search(text, position):
        factorial = found[0] == "!" and _CONTINUED.match(text, found.end())
        if not factorial and (found[0] != "." or not _ABBREVIATED.search(text[: found.start()])):
            return found.start()
        position = found.end()
    return max(len(text), 1)


def _stated(tail: str, rest: str, closing: str) -> Extraction:
    """Read what follows "the answer is"."""
    while rest.startswith("\n"):
        rest = rest.lstrip()  # the answer stands on the next line
    if not unwrap(rest):
        return Extraction(None, "unfinished")
    opened = MATH.match(rest.lstrip("*_ "))
    inside = len(rest) - len(rest.lstrip("*_ ")) + opened.end() if opened else 0
    end = inside + _end_of_sentence(rest[inside:]) if rest[inside:] else len(rest)
    sentence, after = rest[:end], rest[end:]
    if _TAKEN_BACK.search(after[:400]) or after.startswith("?"):
        return Extraction(None, "retracted")
    statement = read_statement(sentence)
    others = (*statement.others, *numbers_in(rest[:400]), *numbers_in(closing))
    if statement.answer is None:
        return Extraction(None, "unclear")
    return Extraction(statement.answer, "stated", others, tail, sign=_sign(sentence, statement.answer))
