"""The answer of a free text: the stated answer, or the number at its end."""

from __future__ import annotations

import re

from misstep.verification.characters import WIDE
from misstep.verification.extraction import NUMBER_LINE, Extraction, sign_of
from misstep.verification.normal import tidy, unwrap
from misstep.verification.phrases import (
    CONCLUDES,
    LEADS_TO_LAST,
    RETRACTION,
    SUPPOSED,
    TAKEN_BACK,
    UNSURE_BEFORE,
)
from misstep.verification.quantity import parse_exact
from misstep.verification.statement import (
    BOLD,
    MATH,
    NUMBER,
    before_reason,
    is_answer,
    is_unsure,
    numbers_in,
    read_statement,
    unformatted,
)

TAIL_CHARS = 2000
"""The number of characters at the end of a free text that are read."""
_STATEMENT = re.compile(
    r"\b(?:answer|correct (?:choice|option|letter)|right (?:choice|option))\b[*_\s]*(?:to\s+(?:the"
    r"|this)\s+[^.:=\n]{1,40}?\s*)?"
    r"(?:\b(?:is|are|was|must be|should be|would be|will be|equals|comes to)\b|[:=])(?:\s*[:=])?[*_]*"
    r"|答案\s*(?:是|为|[:：])[:：]?|(?:la réponse|la respuesta|la risposta|a resposta|die antwort)\s*(?:est|es|è|é|ist"
    r"|:)\s*:?",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"\s*(?:[*_]*(?:so|thus|hence|therefore|then|only|this means(?: that)?|we conclude that)\b[,:]?\s*)?"
    r"[*_]*(?:the\s+)?(?:(?:option|choice|answer|letter)\s+[*_]*\(?((?-i:[A-J]))\)?|\(((?-i:[A-J]))\))[*_]*"
    r"\s+is\s+(?:therefore\s+|thus\s+)?(?:the\s+)?(?:correct|right)\b",
    re.IGNORECASE,
)
"""``Option C is correct``, ``(C) is the right answer``."""
_SENTENCE_END = re.compile(r"[.!?](?=[\s*]|$)|\n|\u3002")
_ABBREVIATED = re.compile(
    r"(?:\b(?:Rs|approx|Mr|Mrs|Ms|Dr|St|a\.m|p\.m|i\.e|e\.g|vs|sq|cu)|^[\s*(]*[A-J])$", re.IGNORECASE
)
_CONTINUED = re.compile(r"\s*[-+*/=<>)]")
_FINISHED = re.compile(r"(?:[.!?`\"\u201d\u3002]|\S\*\*|\\[\])])$")
_MAX_WHOLE = 80
_TAGGED = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE)
_BEHIND = re.compile(r"\s*(?:[a-z][a-z'-]*\.?(?:[ -]+|$)){1,6}", re.IGNORECASE)


def from_tag(text: str) -> Extraction | None:
    """The content of the last ``<answer>`` element."""
    found = list(_TAGGED.finditer(text[-TAIL_CHARS:]))
    if not found:
        return None
    content = unwrap(found[-1][1])
    if not content:
        return Extraction(None, "unfinished")
    if is_answer(content):
        return Extraction(content, "tag", sign=sign_of(found[-1][1], content))
    return from_prose(content)


def from_prose(text: str) -> Extraction:
    """The closing statement of a free text: after "the answer is", in bold, or the number at its end."""
    tail = text[-TAIL_CHARS:].rstrip()
    if not tail.isascii():
        tail = tail.translate(WIDE)
    paragraphs = [part for part in re.split(r"\n\s*\n", tail) if part.strip()]
    if not paragraphs:
        return Extraction(None, "no-answer")
    closing = paragraphs[-1]
    statements = list(_STATEMENT.finditer(tail))
    if statements:
        if SUPPOSED.search(tail[: statements[-1].start()]):
            return Extraction(None, "unclear")
        return _stated(tail, statements[-1], closing)
    if chosen := _chosen(closing):
        return Extraction(chosen, "stated", numbers_in(closing))
    whole = unwrap(text.strip().lstrip("> ")) if len(text) <= 2 * _MAX_WHOLE else ""
    if whole and len(whole) <= _MAX_WHOLE and "\n" not in whole and is_answer(whole, words=False):
        answer = read_statement(whole).answer or whole
        return Extraction(answer, "whole", sign=sign_of(text.strip(), answer))
    return _from_closing(tail, closing)


def _chosen(closing: str) -> str:
    """The option that the last sentence calls correct; empty if there is none."""
    sentence = _sentences(closing)[-1]
    found = _CHOSEN.match(sentence)
    if found is None or is_unsure(before_reason(sentence)) or RETRACTION.search(sentence):
        return ""
    return found[1] or found[2]


def stated_in(text: str) -> Extraction | None:
    """The answer that the end of a text states explicitly; None if there is none."""
    tail = text[-TAIL_CHARS:].rstrip()
    statements = list(_STATEMENT.finditer(tail))
    if not statements or SUPPOSED.search(tail[: statements[-1].start()]):
        return None
    return _stated(tail, statements[-1], "")


def _from_closing(tail: str, closing: str) -> Extraction:
    """The last paragraph of a text that does not state its answer."""
    numbers = numbers_in(closing)
    retracted = RETRACTION.search(closing) is not None
    bold = [match for match in BOLD.finditer(closing) if NUMBER_LINE.fullmatch(unwrap(match[1] or match[2]))]
    if bold and not retracted:
        return _from_bold(closing, bold, numbers, tail)
    ends_on_answer = re.search(r"(?:[=:]|^)\s*\S*\d\S*$", closing.rsplit("\n", 1)[-1]) is not None
    closes_math = tail.endswith("$") and closing.count("$") % 2 == 0
    if not (_FINISHED.search(tail) or closes_math or ends_on_answer):
        return Extraction(None, "unfinished")
    if retracted:
        return Extraction(None, "retracted")
    if "\\" in closing or not numbers:
        unsure = is_unsure(MATH.sub(" ", _sentences(closing)[-1]))
        return Extraction(None, "unclear") if unsure else Extraction(None, "no-answer", (), tail)
    sentence = _last_sentence(closing)
    asked = closing[closing.rfind(sentence) + len(sentence) :].startswith("?")
    number = None if asked else _last_number(sentence)
    if number is None:
        return Extraction(None, "unclear")
    others = tuple(other for other in numbers if other != number)
    return Extraction(number, "last-number", others, tail, sign=sign_of(sentence, number))


def _from_bold(closing: str, bold: list[re.Match[str]], numbers: tuple[str, ...], tail: str) -> Extraction:
    """The last number in bold, unless it is denied or one of two adjacent ones."""
    last, earlier = bold[-1], bold[:-1]
    answer = unwrap(last[1] or last[2])
    beside = [other for other in earlier if not re.search(r"[.!?]\s|\n", closing[other.end() : last.start()])]
    if UNSURE_BEFORE.search(closing[: last.start()]):
        return Extraction(None, "unclear")
    if beside and beside[-1][0] != last[0] and not CONCLUDES.search(closing[beside[-1].end() : last.start()]):
        return Extraction(None, "unclear")
    return Extraction(answer, "bold", numbers, tail, sign=sign_of(closing, answer))


def _sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; at least one."""
    found, rest = [], paragraph
    while rest:
        end = _end_of_sentence(rest)
        found.append(rest[:end])
        rest = rest[end:].lstrip(".!?\n\u3002 \t*")
    return found or [""]


def _last_sentence(paragraph: str) -> str:
    """The last sentence with a number."""
    return next((sentence for sentence in reversed(_sentences(paragraph)) if NUMBER.search(sentence)), "")


def _end_of_sentence(text: str) -> int:
    """The end of the first sentence; it has at least one character."""
    position = 1
    while found := _SENTENCE_END.search(text, position):
        factorial = found[0] == "!" and _CONTINUED.match(text, found.end())
        if not factorial and (found[0] != "." or not _ABBREVIATED.search(text[: found.start()])):
            return found.start()
        position = found.end()
    return max(len(text), 1)


def _stated(tail: str, found: re.Match[str], closing: str) -> Extraction:
    """Read the text after "the answer is", or after the label "Answer:"."""
    labelled = found[0].rstrip("*_ ").endswith(":")
    rest = tail[found.end() :].lstrip(" \t:")
    while rest.startswith("\n"):
        rest = rest.lstrip()  # the answer is on the next line
    if not unwrap(rest):
        return Extraction(None, "unfinished")
    opened = MATH.match(rest.lstrip("*_ "))
    inside = len(rest) - len(rest.lstrip("*_ ")) + opened.end() if opened else 0
    end = inside + _end_of_sentence(rest[inside:]) if rest[inside:] else len(rest)
    sentence, after = rest[:end], rest[end:]
    if TAKEN_BACK.search(after[:400]) or after.startswith("?"):
        return Extraction(None, "retracted")
    statement = read_statement(sentence, labelled=labelled)
    others = (*statement.others, *numbers_in(rest[:400]), *numbers_in(closing))
    if statement.answer is None:
        return Extraction(None, "unclear")
    return Extraction(statement.answer, "stated", others, tail, sign=sign_of(sentence, statement.answer))


def _last_number(sentence: str) -> str | None:
    """The number at the end of the last sentence of a free text; None if it may be another of its numbers."""
    text = unwrap(unformatted(sentence))
    numbers = list(NUMBER.finditer(text))
    if not numbers or RETRACTION.search(text):
        return None
    last = numbers[-1]
    if len(set(_UNKNOWN.findall(text))) > 1:
        return None
    before, behind = text[: last.start()], text[last.end() :]
    if _SUBJECT.match(behind) and not _IS_ANSWER.match(behind):
        return None
    if UNSURE_BEFORE.search(before) or is_unsure(before_reason(behind)):
        return None
    if len({unwrap(number[0]) for number in numbers}) == 1:
        return _with_measure(unwrap(last[0]), behind)
    concludes = [found for found in LEADS_TO_LAST.finditer(text) if found.end() <= last.start() + 1]
    if not concludes or concludes[-1].end() < last.start() - 1 or len(behind.split()) > 6:
        return None
    if re.search(r"\band\b", before[numbers[0].end() :]) and not CONCLUDES.search(before[numbers[0].end() :]):
        return None
    return _with_measure(unwrap(last[0]), behind)


_NO_UNITS = ("in", "a", "m", "s", "g", "h")


def _with_measure(number: str, behind: str) -> str:
    """The number with the known unit after it, so that cents are not taken for dollars."""
    found = _BEHIND.match(behind)
    words = found[0].strip() if found and not behind[:1].isalnum() else ""
    for count in range(min(len(words.split()), 4), 0, -1):
        phrase = " ".join(words.split()[:count]).strip(" .")
        read = parse_exact(tidy(f"{number} {phrase}")) if phrase not in _NO_UNITS else None
        if read is not None and (read.unit is None or read.unit.dimensions):
            return f"{number} {phrase}"
    return number


_UNKNOWN = re.compile(r"\b([A-Za-z])\s*=")
_SUBJECT = re.compile(r"\s*(?:is|are|was|were|does|do|did|has|have|had|must|would|will|can|could|should|may|might)\b")
_IS_ANSWER = re.compile(
    r"\s*(?:is|are|was|were)\s+(?:the|our|her|his|its|my|your)\s+(?:\w+\s+)?(?:answer|total|sum|result)\b"
)
