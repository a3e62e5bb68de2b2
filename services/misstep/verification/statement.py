r"""Read the answer from a sentence: "The answer is 5 times 12, which is 60." says 60, not 5.

A sentence states its answer if it is only an answer (with a unit, a reason, a remark in brackets), or if it concludes
("so 72", "which equals 42", "= 7"). Anything else does not state one with certainty: a bound, a denial, a calculation
without its result, two answers for two people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from misstep.verification.choice import read_choice
from misstep.verification.moments import read_clock, read_date
from misstep.verification.normal import tidy, unwrap
from misstep.verification.numerals import NUMBER_WORDS, number_in_words
from misstep.verification.phrases import (
    CONCLUSION,
    CONDITION,
    DENIED,
    FILLER,
    OTHER_CASE,
    REASON,
    RETRACTION,
    THAT_CLAUSE,
    UNSURE,
)
from misstep.verification.quantity import parse_exact
from misstep.verification.units import read_unit


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement of a sentence.

    Attributes:
        answer: None if no answer is stated with certainty.
        others: further readings of the same sentence.
    """

    answer: str | None
    others: tuple[str, ...] = ()


NUMBER = re.compile(
    r"(?<![\w.,/:^])(?:(?<![)\]}])[-\u2212])?(?:(?:\\?\$|[€£¥₹])\s?-?)?"
    r"(?:\d{1,4}(?::\d{1,4})+(?:\s?[ap]\.?m\b\.?)?|\d{1,2}\s?[ap]\.?m\b\.?|\d+(?:[.,]\d+)*"
    r"|\.\d+)(?![A-Za-z]\w*\d)(?:/\d+(?![\d/]))?(?:\s?\\?%)?(?!\s*\^)",
    re.IGNORECASE,
)
MATH = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$|(?<![\\$\w])\$(?P<b>(?![\s$])(?:[^$\\]|\\.)*?(?<![\s\\]))\$(?!\d)|\\\((?P<c>.+?)\\\)"
    r"|\\\[(?P<d>.+?)\\\]",
    re.DOTALL,
)
BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*|__([^_\n]{1,80})__")
_WHICH = re.compile(r",\s+which\b", re.IGNORECASE)
_REMARK = re.compile(r"\s+\([^()]*\)\s*$|\s+\[[^\[\]]*\]\s*$")
_NEGATIVE = re.compile(r"^(?:minus|negative)\s+", re.IGNORECASE)
_NUMBERS_ALONE = re.compile(r"-?\d+(?:\.\d+)?(?:,\s+-?\d+(?:\.\d+)?)*,?\s+(?:and|or)\s+-?\d+(?:\.\d+)?")
_RECKONING = re.compile(r"[-+*/^()!.,\d\s\u00d7\u00f7\u2212$]+|[^=]*\\(?:times|cdot|frac|div)[^=A-Za-z]*")
_EXPRESSION = re.compile(r"[-+*/^()\[\].,=<>\u2264\u2265\u2260\d\sA-Za-z\u2212√π²³{}|!%°]*")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NAME = re.compile(r"(?:the\s+|an?\s+)?[A-Za-z][\w'-]*(?:\s+[A-Za-z][\w'-]*){0,2}", re.IGNORECASE)
_MULTIPLE = re.compile(r"(?<![<>!=])=")
_MAX_SENTENCE = 400


def read_statement(sentence: str, *, labelled: bool = False) -> Statement:
    """Read the text after "the answer is", up to the end of the sentence.

    Args:
        sentence: the rest of it.
        labelled: whether a label is before it ("Answer: The largest n is 34."), not a verb.
    """
    text = sentence.strip()[:_MAX_SENTENCE]
    others = numbers_in(text)
    if math := MATH.match(text.lstrip("*_ ")):
        rest = text.lstrip("*_ ")[math.end() :]
        return _stated_math(next(part for part in math.groups() if part), rest, others)
    plain = unwrap(unformatted(text))
    if not plain:
        return Statement(None)
    for read in (whole_answer, _answer_with_reason, _concluded, _clause, _worked_out):
        answer = read(plain)
        if answer is not None:
            return Statement(answer or None, (plain, *others))
    return Statement(_clause(f"that {plain}") if labelled else None, (plain, *others))


def is_answer(text: str, *, words: bool = True) -> bool:
    """Whether a short text is an answer by itself: a number, an option, mathematics, or, with ``words``, a name."""
    if _NAME.fullmatch(text) and not (_is_choice(text) or parse_exact(tidy(text))):
        return words and len(text.split()) == 1
    return MATH.fullmatch(text) is not None or whole_answer(text) is not None


def is_unsure(text: str) -> bool:
    """Whether a text bounds, denies or calculates with a number instead of giving it."""
    return UNSURE.search(text) is not None


def before_reason(text: str) -> str:
    """The text before a reason, without a denial of another answer."""
    return DENIED.sub("", REASON.split(text, maxsplit=1)[0])


def unformatted(text: str) -> str:
    """The sentence without marks of bold type and mathematics, so that numbers in them are read like others."""
    text = BOLD.sub(lambda mark: mark[1] or mark[2], text)
    return MATH.sub(lambda found: next(part for part in found.groups() if part), text)


def numbers_in(text: str) -> tuple[str, ...]:
    """The numbers of a text, as written."""
    return tuple(unwrap(number) for number in NUMBER.findall(text)[-32:])


def _stated_math(content: str, rest: str, others: tuple[str, ...]) -> Statement:
    """An answer in mathematics at the start of the sentence; the rest must not retract it."""
    last = content if _is_several(content) else content.rsplit("=", 1)[-1].strip()
    concluded = _concluded(unformatted(rest)) if NUMBER.search(rest) else None
    if concluded is not None and concluded != last:
        return Statement(concluded if not REASON.match(rest) else last, (content, last, *others))
    if OTHER_CASE.match(unformatted(rest)):
        return Statement(None, (content, last, *others))
    before = REASON.split(rest, maxsplit=1)[0]
    doubtful = UNSURE.search(DENIED.sub("", _REMARK.sub("", before))) or re.match(r"\s*[-+*/^=<>]", rest)
    if doubtful or (NUMBER.search(DENIED.sub("", _REMARK.sub("", before)))):
        return Statement(None, (content, last, *others))
    behind = before.strip(" .,*_")
    unit = read_unit(f" {behind}") if behind and len(behind) < 40 else None
    if unit is not None and unit.dimensions:
        last = rf"{last} \text{{ {behind}}}" if behind.isascii() and not set(behind) & set("\\{}$") else last
    return Statement(last, (content, *others))


def _is_several(content: str) -> bool:
    """Whether mathematics gives several unknowns: ``x=1, y=2``."""
    return len(_MULTIPLE.findall(content)) > 1 and "," in content


def whole_answer(text: str) -> str | None:
    """The text if it is only an answer; filler words and the unit may be removed."""
    text = unwrap(FILLER.sub("", text, count=1) if FILLER.match(text) else text)
    if not text or len(text) > 200:
        return None
    tidied = tidy(text)
    if _is_choice(text):
        return text
    if read_clock(tidied) or read_date(tidied) or number_in_words(text.strip()) is not None:
        return text
    number = NUMBER.match(text)
    if number and not _NUMBERS_ALONE.fullmatch(text):
        return _number_with_unit(text, number.end(), tidied)
    if parse_exact(tidied) is not None and not UNSURE.search(_NEGATIVE.sub("", text)):
        return text
    if _NUMBERS_ALONE.fullmatch(text):
        return text
    if UNSURE.search(text) or RETRACTION.search(text):
        return None
    if not NUMBER.search(text) and _NAME.fullmatch(text) and not set(text.lower().split()) & NUMBER_WORDS:
        return text
    return text if _is_expression(text) else None


def _is_choice(text: str) -> bool:
    return read_choice(tidy(text)) is not None


def _number_with_unit(text: str, end: int, tidied: str) -> str | None:
    """A number and what it counts, without further calculation."""
    number, behind = text[:end], text[end:]
    if not behind.strip(" .*_"):
        return text
    if parse_exact(tidied) is not None and not UNSURE.search(behind):
        return text
    behind = DENIED.sub("", _REMARK.sub("", behind))
    words = behind.strip(" .,*_")
    if not words:
        return number
    if NUMBER.search(behind) or re.search(r"\d", behind):
        return text if "=" not in text and _is_expression(text) and not _WORD.search(text) else None
    if UNSURE.search(behind) or set(words.lower().split()) & (
        NUMBER_WORDS - {"second", "seconds", "quarters", "quarter"}
    ):
        return None
    if re.fullmatch(r"[,\s]*(?:[A-Za-z][A-Za-z'-]*[.,]?\s*){1,8}", behind) and behind[:1] in " ,-":
        unit = read_unit(" " + words.partition(",")[0])
        return f"{number} {words.partition(',')[0].strip()}" if unit and unit.dimensions else number
    return text if _is_expression(text) else None


def _is_expression(text: str) -> bool:
    """Whether a text is mathematics without words: ``2x + 1``, ``(3, 4)``."""
    if "\\" in text:
        return _WORD.search(re.sub(r"\\[a-zA-Z]+|\{[^{}]*\}", " ", text)) is None
    if re.search(r"\d\s+\d", text) or not _EXPRESSION.fullmatch(text) or len(_MULTIPLE.findall(text)) > 1:
        return False
    return all(len(word) <= 3 and word.lower() not in _SHORT_WORDS for word in _WORD.findall(text))


_SHORT_WORDS = frozenset(
    re.findall(
        r"\w+",
        """is are the and for has had was per of in by to it he she his her not or we as at on an be so""",
    )
)


def _answer_with_reason(text: str) -> str | None:
    """The answer before a reason, a remark or a denial of another: ``18 because 30 - 12 = 18``, ``12, not 15``.

    Empty if two answers are given and either may be meant.
    """
    if which := _WHICH.search(text):
        head, told = whole_answer(text[: which.start()]), _concluded(text[which.start() :])
        if head is not None:
            return head if told in (None, head) else ""
    for cut in (REASON, _REMARK, DENIED):
        found = cut.search(text)
        if found is not None and found.start() > 0:
            head = whole_answer(text[: found.start()])
            if head is not None:
                return "" if OTHER_CASE.match(text, found.start()) else head
            remarkless = text[: found.start()] if cut is _REMARK else ""
            if remarkless and (concluded := _concluded(remarkless)):
                return concluded
    return None


def _concluded(text: str) -> str | None:
    """The answer after the last word that concludes: "so", "which is", an equals sign."""
    if _is_several(text):
        return text if "=" in text and not re.search(r"[a-z]{3}", text) else None
    markers = list(CONCLUSION.finditer(text))
    if not markers:
        return None
    if CONDITION.search(text[: markers[-1].start()]):
        return None
    after = text[markers[-1].end() :]
    if markers[-1].start() == 0 and len(markers) == 1 and "=" not in markers[-1][0]:
        return whole_answer(after)
    return whole_answer(after) or _answer_with_reason(after)


def _worked_out(text: str) -> str | None:
    """The number before its calculation: ``21 = 3 * 7``."""
    number, _, reckoning = text.partition("=")
    if parse_exact(tidy(number)) is None or "=" in reckoning or not _RECKONING.fullmatch(reckoning):
        return None
    return unwrap(number)


def _clause(text: str) -> str | None:
    """``that Ann has 40 stamps``: one number that the clause is about."""
    found = THAT_CLAUSE.fullmatch(text)
    if found is None or UNSURE.search(text) or numbers_in(text[: found.start("rest")]):
        return None
    return whole_answer(found["rest"]) if len(numbers_in(found["rest"])) == 1 or "\\" in found["rest"] else None
