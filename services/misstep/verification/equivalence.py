"""Compare two final answers without a computer algebra system; say so where one is needed.

In this order: one spelling, exact numbers, clock times and ratios, plain words, lists of exact numbers. The
first that can decide does. Where two answers differ in a way that notation may explain, the outcome is
``unparsable`` (evidence of neither), because a right answer judged wrong would teach the policy against it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from misstep.verification.exact import Exact, Match, compare_exact, parse_exact
from misstep.verification.normal import MAX_ANSWER_CHARS, compact, tidy
from misstep.verification.verdict import Verdict

Decision = tuple[Verdict, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer and what could be read from it without algebra.

    Attributes:
        tidied: the answer in plain LaTeX of one spelling.
        key: spelling without spaces; equal keys are equal answers.
        number: the answer as one number, its variable (``x = 4``) taken off.
        variable: the name left of the equals sign (or of the signs for "about" and "in"), empty without one.
        clock: the parts of ``12:00`` or ``3:1``.
        words: lower-case words of an answer that is plain text.
        brackets: opening and closing bracket around a list, empty for a bare list.
        elements: the parts of a list, None where the answer is not one.
    """

    tidied: str
    key: str
    number: Exact | None
    variable: str
    clock: tuple[int, ...] | None
    words: tuple[str, ...] | None
    brackets: str
    elements: tuple[Answer, ...] | None

    def is_plain(self) -> bool:
        """Say whether no algebra is needed to understand this answer."""
        if self.elements is not None:
            return all(element.is_plain() for element in self.elements)
        return self.number is not None or self.words is not None or self.clock is not None


_INTEGER = re.compile(r"-?[0-9]{1,18}")
_ASSIGNMENT = re.compile(
    r"([A-Za-z](?:\s*_\s*(?:\w|\{\w+\}))?(?:\s*\([a-zA-Z0-9]\))?|)\s*(?:=|\\approx|\\in(?![a-zA-Z]))\s*(?=[^=\s])"
)
_CLOCK = re.compile(r"(\d{1,9}(?:\s*:\s*\d{1,9}){1,5})(\s*(?:\\text\s*\{\s*)?[ap]\.?\s?m\.?\s*\}?)?", re.IGNORECASE)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PLAIN_WORDS = re.compile(r"[A-Za-z][A-Za-z'.-]*(?:[ ,]+[A-Za-z0-9][A-Za-z0-9'.-]*)*")
_LETTER = re.compile(r"\(\s*([A-Z])\s*\)")
_CONJUNCTION = re.compile(r",?\s*\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}\s*|,?\s+(?:and|or)\s+|\s*;\s*")
_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}"}
_ELLIPSIS = re.compile(r"\\[lc]?dots(?![a-zA-Z])|\.\.\.")


@lru_cache(maxsize=8192)
def read_answer(answer: str) -> Answer:
    """Read an extracted or gold answer; at most ``MAX_ANSWER_CHARS`` characters of it are looked at."""
    if _INTEGER.fullmatch(answer):
        return Answer(answer, answer, Exact(Fraction(int(answer))), "", None, None, "", None)
    return _read(tidy(answer[:MAX_ANSWER_CHARS]))


def decide(pred: Answer, gold: Answer) -> Decision | None:
    """Compare two answers by the rules that need no algebra; None where they cannot tell."""
    if not pred.key or not gold.key:
        return Verdict.UNPARSABLE, "empty"
    if pred.key == gold.key:
        return Verdict.CORRECT, "string"
    if _ELLIPSIS.search(pred.tidied) or _ELLIPSIS.search(gold.tidied):
        return Verdict.UNPARSABLE, "ellipsis"
    if pred.number is not None and gold.number is not None and _same_variable(pred, gold):
        return _verdict(compare_exact(pred.number, gold.number)), "exact"
    if pred.clock is not None or gold.clock is not None:
        return _decide_clock(pred, gold), "clock"
    if pred.words is not None or gold.words is not None:
        return _decide_words(pred, gold), "words"
    if pred.elements is not None and gold.elements is not None and _same_variable(pred, gold):
        return _decide_lists(pred, gold)
    if pred.elements is not None and gold.number is not None:
        return _decide_kinds(pred.elements, pred, gold.number)
    if gold.elements is not None and pred.number is not None:
        return _decide_kinds(gold.elements, gold, pred.number)
    return None


def _verdict(match: Match) -> Verdict:
    return {Match.EQUAL: Verdict.CORRECT, Match.DIFFERENT: Verdict.WRONG, Match.UNKNOWN: Verdict.UNPARSABLE}[match]


def _same_variable(pred: Answer, gold: Answer) -> bool:
    return not pred.variable or not gold.variable or pred.variable == gold.variable


def _read(tidied: str, nested: bool = False) -> Answer:
    assigned = _ASSIGNMENT.match(tidied)
    variable = compact(assigned[1]) if assigned else ""
    body = tidied[assigned.end() :] if assigned else tidied
    while body.startswith("{") and body.endswith("}") and _closes_at_end(body):
        body = body[1:-1].strip()
    only_text = _TEXT.fullmatch(body)
    number = parse_exact(only_text[1].strip() if only_text else body)
    clock = None if number is not None else _read_clock(body)
    words = None if number is not None or clock is not None or assigned else _read_words(body)
    brackets, elements = "", None
    if number is None and clock is None and words is None and not nested:
        brackets, parts = _split(body)
        if parts is not None:
            elements = tuple(_read(part, nested=True) for part in parts)
    return Answer(tidied, compact(tidied), number, variable, clock, words, brackets, elements)


def _closes_at_end(body: str) -> bool:
    depth = 0
    for position, character in enumerate(body):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return position == len(body) - 1
    return False


def _read_clock(body: str) -> tuple[int, ...] | None:
    found = _CLOCK.fullmatch(body)
    return tuple(int(part) for part in found[1].split(":")) if found else None


def _read_words(body: str) -> tuple[str, ...] | None:
    """The words of a plain text answer. Bare letters count from four on: ``xy`` may be a product."""
    text, marked = _TEXT.subn(r" \1 ", body)
    text = " ".join(_LETTER.sub(r"\1", text).split()).strip(" .")
    letter = _LETTER.fullmatch(body.strip()) is not None
    if not _PLAIN_WORDS.fullmatch(text) or not (marked or letter or sum(map(str.isalpha, text)) >= 4):
        return None
    return tuple(word.strip(".'").lower() for word in text.replace(",", " ").split())


def _split(body: str) -> tuple[str, list[str] | None]:
    """Take a list apart: its brackets and its parts, None where there is only one."""
    brackets = ""
    for opening, closing in (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"), ("\\{", "\\}")):
        if body.startswith(opening) and body.endswith(closing) and _one_group(body):
            brackets, body = opening + closing, body[len(opening) : -len(closing)]
            break
    if r"\begin" in body:
        return brackets, None
    parts, depth, start = [], 0, 0
    body = _CONJUNCTION.sub(",", body)
    for position, character in enumerate(body):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(body[start:position].strip())
            start = position + 1
    parts.append(body[start:].strip())
    if (len(parts) < 2 and brackets != "\\{\\}") or not all(parts):
        return brackets, None
    return brackets, parts


def _one_group(body: str) -> bool:
    """Whether the first bracket closes only at the end: ``(1,2)`` but not ``(1,2),(3,4)``."""
    depth = 0
    for position, character in enumerate(body):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return position == len(body) - 1
    return False


def _decide_clock(pred: Answer, gold: Answer) -> Verdict:
    """Times and ratios: the same parts, or not; what only has an equal quotient is not decided."""
    if pred.clock is None or gold.clock is None:
        return Verdict.UNPARSABLE
    if pred.clock == gold.clock:
        return Verdict.CORRECT
    if ("m" in pred.key.lower()) != ("m" in gold.key.lower()):
        return Verdict.UNPARSABLE  # 8:34 p.m. is 20:34
    if len(pred.clock) == len(gold.clock) and _proportional(pred.clock, gold.clock):
        return Verdict.UNPARSABLE
    return Verdict.WRONG


def _proportional(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all((*a, *b)) and all(x * b[0] == y * a[0] for x, y in zip(a, b, strict=True))


def _decide_words(pred: Answer, gold: Answer) -> Verdict:
    p, g = pred.words, gold.words
    if p is None or g is None:
        # One side is text: the other may still spell the same letters as a product of variables.
        letters = [re.sub(r"\\text|[^a-zA-Z]", "", side.key).lower() for side in (pred, gold)]
        bare = [re.fullmatch(r"[a-zA-Z\s.]+", side.tidied) is not None for side in (pred, gold)]
        same = letters[0] == letters[1] != "" and (p is not None or bare[0]) and (g is not None or bare[1])
        return Verdict.CORRECT if same else Verdict.UNPARSABLE
    if "".join(p) == "".join(g):
        return Verdict.CORRECT
    if set(p) <= set(g) or set(g) <= set(p):
        return Verdict.UNPARSABLE  # "even" and "the function is even"
    return Verdict.WRONG


def _decide_lists(pred: Answer, gold: Answer) -> Decision | None:
    assert pred.elements is not None and gold.elements is not None
    unordered = pred.brackets in ("", "\\{\\}") and gold.brackets in ("", "\\{\\}")
    if not unordered and pred.brackets != gold.brackets:
        return None
    p, g = pred.elements, gold.elements
    if any(element.number is None or element.variable for element in (*p, *g)):
        if [element.key for element in p] == [element.key for element in g]:
            return Verdict.CORRECT, "list"
        if unordered and Counter(element.key for element in p) == Counter(element.key for element in g):
            return Verdict.CORRECT, "list"
        pairs = [(a.number, b.number) for a, b in zip(p, g, strict=False) if a.number and b.number]
        if not unordered and len(p) == len(g) and Match.DIFFERENT in (compare_exact(a, b) for a, b in pairs):
            return Verdict.WRONG, "list"
        return None
    if len(p) != len(g):
        return Verdict.WRONG, "list"
    if unordered:
        p, g = (tuple(sorted(side, key=_value_of)) for side in (p, g))
    matches = {compare_exact(a.number, b.number) for a, b in zip(p, g, strict=True) if a.number and b.number}
    for match in (Match.DIFFERENT, Match.UNKNOWN):
        if match in matches:
            return _verdict(match), "list"
    return Verdict.CORRECT, "list"


def _decide_kinds(elements: tuple[Answer, ...], answer: Answer, number: Exact) -> Decision | None:
    """A list of several different things is not a number, but ``3,5`` may be a decimal."""
    if len({element.key for element in elements}) < 2:
        return None
    as_decimal = parse_exact(answer.tidied.replace(",", ".", 1))
    if as_decimal is not None and as_decimal.value == number.value:
        return Verdict.UNPARSABLE, "kind"
    return Verdict.WRONG, "kind"


def _value_of(answer: Answer) -> Fraction:
    assert answer.number is not None
    return answer.number.value
