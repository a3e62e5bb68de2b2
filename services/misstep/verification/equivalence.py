"""Compare two final answers without a computer algebra system, and report if one is needed.

The verdict is ``correct`` only if both are understood and equal, and ``wrong`` only if both are understood and differ.
Anything else is ``unparsable`` (evidence of neither): if a right answer were judged wrong, the policy would learn to
avoid it, and if a wrong one were accepted, it would learn the mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from misstep.terms.verdict import Verdict
from misstep.verification.answer import PLAIN_VARIABLE, Answer, read_answer, read_tidied
from misstep.verification.choice import Choice
from misstep.verification.exact import Match, compare_exact
from misstep.verification.moments import compare_clocks, compare_dates, compare_ratio
from misstep.verification.quantity import parse_exact
from misstep.verification.words import EMPTY, REALS, compare_words, meaning

__all__ = ["Answer", "Decision", "decide", "is_region", "read_answer"]

Decision = tuple[Verdict, str]

_ELLIPSIS = re.compile(r"\\[lcv]?dots(?![a-zA-Z])|\.\.\.")
_REGION = re.compile(
    r"[<>]|\\(?:le|ge|ne|lt|gt|cup|cap|setminus|infty|mathbb|mid|emptyset|in)(?![a-zA-Z])|\\not(?![a-zA-Z])"
)
_EMPTY = r"\emptyset"
_REAL_LINES = frozenset({r"\mathbb{R}", r"(-\infty,\infty)", r"(-\infty,+\infty)", r"x\in\mathbb{R}"})
_BARE = ("", "\\{\\}")
_OPTIONS = re.compile(r"[A-J]{2,6}")
_INTERVALS = {"()", "[]", "(]", "[)"}


def is_region(answer: Answer) -> bool:
    """Whether an answer is written as a set of numbers: an inequality, an interval to infinity, a union."""
    return _REGION.search(answer.tidied) is not None


def decide(pred: Answer, gold: Answer) -> Decision | None:
    """Compare two answers by the rules that need no algebra; None if these cannot decide."""
    if not pred.key or not gold.key:
        return Verdict.UNPARSABLE, "empty"
    if pred.key == gold.key and not _in_other_currency(pred, gold):
        return Verdict.CORRECT, "string"
    if pred.number is not None and gold.number is not None:
        return _decide_numbers(pred, gold)
    if any(side.number is None and _ELLIPSIS.search(side.tidied) for side in (pred, gold)):
        return Verdict.UNPARSABLE, "ellipsis"
    if pred.choice is not None or gold.choice is not None:
        decision = _decide_choices(pred, gold)
        if decision is not None:
            return decision
    if pred.date is not None or gold.date is not None:
        match = compare_dates(pred.date, gold.date) if pred.date and gold.date else Match.UNKNOWN
        return _verdict(match), "date"
    if pred.clock is not None or gold.clock is not None:
        return _decide_clocks(pred, gold), "clock"
    if pred.words is not None or gold.words is not None:
        return _decide_words(pred, gold), "words"
    if is_region(pred) or is_region(gold):
        return None
    return _decide_shapes(pred, gold)


def _verdict(match: Match) -> Verdict:
    return {Match.EQUAL: Verdict.CORRECT, Match.DIFFERENT: Verdict.WRONG, Match.UNKNOWN: Verdict.UNPARSABLE}[match]


def _in_other_currency(pred: Answer, gold: Answer) -> bool:
    """Whether equal digits had different currency signs, which are not part of the key."""
    a, b = pred.number, gold.number
    return a is not None and b is not None and a.unit != b.unit and a.unit is not None and b.unit is not None


def _decide_numbers(pred: Answer, gold: Answer) -> Decision | None:
    assert pred.number is not None
    assert gold.number is not None
    if pred.variable and gold.variable and pred.variable != gold.variable:
        plain = PLAIN_VARIABLE.fullmatch(pred.variable) and PLAIN_VARIABLE.fullmatch(gold.variable)
        match = compare_exact(pred.number, gold.number)
        return (Verdict.WRONG if plain or match is Match.DIFFERENT else Verdict.UNPARSABLE), "variable"
    if pred.number.joined and gold.number.joined:
        return None  # "3s" and "3t" are more likely variables than units
    match = compare_exact(pred.number, gold.number)
    if match is not Match.EQUAL and (pred.listed or gold.listed):
        # "100,200" can be a number or a list: two of them are equal if either reading is.
        lists = _decide_lists(pred.listed or pred, gold.listed or gold) if pred.listed and gold.listed else None
        if lists is not None and lists[0] is Verdict.CORRECT:
            return lists
    return _verdict(match), "exact"


def _decide_choices(pred: Answer, gold: Answer) -> Decision | None:
    a, b = pred.choice, gold.choice
    if a is not None and b is not None:
        return _compare_choices(a, b), "choice"
    chosen, other = (a, gold) if a is not None else (b, pred)
    assert chosen is not None
    if chosen.content:
        # Compare the option's text with an answer that names no option.
        if other.words is not None and len(other.words) == 1 and len(other.words[0]) == 1:
            return Verdict.UNPARSABLE, "choice"
        content = read_tidied(chosen.content)
        return (decide(content, other) if a is not None else decide(other, content)) or (Verdict.UNPARSABLE, "choice")
    plain = other.number is not None or other.words is not None or other.clock is not None or other.elements is not None
    return (Verdict.UNPARSABLE, "choice") if chosen.sure or plain else None


def _compare_choices(pred: Choice, gold: Choice) -> Verdict:
    same_content: Verdict | None = None
    if pred.content and gold.content:
        decision = decide(read_tidied(pred.content), read_tidied(gold.content))
        same_content = decision[0] if decision else Verdict.UNPARSABLE
    if pred.letter == gold.letter:
        return Verdict.CORRECT if same_content in (None, Verdict.CORRECT) else Verdict.UNPARSABLE
    return Verdict.UNPARSABLE if same_content is Verdict.CORRECT else Verdict.WRONG


def _decide_clocks(pred: Answer, gold: Answer) -> Verdict:
    if pred.clock is not None and gold.clock is not None:
        return _verdict(compare_clocks(pred.clock, gold.clock))
    clock, other = (pred.clock, gold) if pred.clock is not None else (gold.clock, pred)
    assert clock is not None
    number = other.number
    if number is None:
        return Verdict.UNPARSABLE
    if clock.half and clock.parts[0] == number.value and not any(clock.parts[1:]) and number.unit is None:
        return Verdict.CORRECT  # "7" and "7 PM"
    return _verdict(compare_ratio(clock, number.value, whole=number.value.denominator == 1))


def _decide_words(pred: Answer, gold: Answer) -> Verdict:
    p, g = pred.words, gold.words
    if p is not None and g is not None:
        return _verdict(compare_words(p, g))
    words, other = (p, gold) if p is not None else (g, pred)
    assert words is not None
    said = meaning(words)
    if (said in (EMPTY, "no solution") and other.key == _EMPTY) or (said == REALS and other.key in _REAL_LINES):
        return Verdict.CORRECT
    if other.elements is not None and _decide_word_lists(words, other.elements):
        return Verdict.CORRECT
    # The other may still have the same letters as a product of variables.
    letters = [re.sub(r"\\text|[^a-zA-Z]", "", side.key).lower() for side in (pred, gold)]
    bare = [re.fullmatch(r"[a-zA-Z\s.]+", side.tidied) is not None for side in (pred, gold)]
    same = letters[0] == letters[1] != "" and (p is not None or bare[0]) and (g is not None or bare[1])
    return Verdict.CORRECT if same else Verdict.UNPARSABLE


def _decide_word_lists(words: tuple[str, ...], elements: tuple[Answer, ...]) -> bool:
    """Whether ``Ann and Bo`` names the parts of a list, in any order."""
    parts = [part.split() for part in re.split(r"\s+and\s+|\s*,\s*(?:and\s+)?", " ".join(words).lower())]
    others = [[word.lower() for word in element.words or (element.key,)] for element in elements]
    return len(parts) > 1 and sorted(parts) == sorted(others)


def _decide_shapes(pred: Answer, gold: Answer) -> Decision | None:
    """Compare lists, matrices, and a list with a number."""
    if pred.elements is not None and gold.elements is not None:
        return _decide_lists(pred, gold)
    if options := _decide_options(pred, gold):
        return options
    if pred.listed is not None and gold.elements is not None:
        return _decide_lists(pred.listed, gold) if gold.brackets in _BARE else None
    if gold.listed is not None and pred.elements is not None:
        return _decide_lists(pred, gold.listed) if pred.brackets in _BARE else None
    if pred.elements is not None and gold.number is not None:
        return _decide_kinds(pred.elements, pred, gold)
    if gold.elements is not None and pred.number is not None:
        return _decide_kinds(gold.elements, gold, pred)
    return None


def _decide_options(pred: Answer, gold: Answer) -> Decision | None:
    """Compare ``AC`` with ``A, C``: several options of one question, or a product of two letters."""
    for run, several in ((pred, gold), (gold, pred)):
        if several.elements is None or several.brackets not in _BARE or not _OPTIONS.fullmatch(run.key):
            continue
        choices = [element.choice for element in several.elements]
        letters = [choice.letter for choice in choices if choice is not None and not choice.content]
        if len(letters) == len(choices):
            same = sorted(letters) == sorted(run.key)
            return (Verdict.CORRECT if same else Verdict.UNPARSABLE), "choice"
    return None


def order_of(pred: Answer, gold: Answer) -> str | None:
    """Return how the parts of two lists correspond: ``ordered``, ``unordered``, or None if that is not known."""
    a, b = pred.brackets, gold.brackets
    if a in _BARE and b in _BARE:
        return "unordered"
    if a == b or {a, b} == {"<>", "()"}:
        return "ordered"
    if "<>" in (a, b) and any(side == f"matrix {len(pred.elements or ())}x1" for side in (a, b)):
        return "ordered"
    return None


def _decide_lists(pred: Answer, gold: Answer) -> Decision | None:
    assert pred.elements is not None
    assert gold.elements is not None
    if pred.variable and gold.variable and pred.variable != gold.variable:
        return None
    p, g = pred.elements, gold.elements
    order = order_of(pred, gold)
    if named := _by_name(pred, gold):
        p, g, order = *named, "ordered"
    if order is None:
        return _decide_brackets(pred, gold)
    if len(p) != len(g):
        settled = all(element.is_plain() and not element.variable for element in (*p, *g))
        alike = len({element.elements is None for element in (*p, *g)}) == 1
        return (Verdict.WRONG, "list") if settled and alike and len(set(_keys(p))) == len(p) else None
    if order == "unordered":
        if Counter(_keys(p)) == Counter(_keys(g)):
            return Verdict.CORRECT, "list"
        if any(element.number is None or element.variable for element in (*p, *g)):
            return _decide_unordered(p, g)
        p, g = (tuple(sorted(side, key=_value_of)) for side in (p, g))
    return _decide_pairs(p, g)


def _keys(elements: tuple[Answer, ...]) -> list[str]:
    return [element.key for element in elements]


def _by_name(pred: Answer, gold: Answer) -> tuple[tuple[Answer, ...], tuple[Answer, ...]] | None:
    """Pair ``x=1, y=2`` with ``y=2, x=1`` and with ``(1,2)``: the parts in the order of their names."""
    assert pred.elements is not None
    assert gold.elements is not None
    sides = []
    for side in (pred, gold):
        elements = side.elements or ()
        names = [element.variable for element in elements]
        if all(names) and len(set(names)) == len(names) and side.brackets in (*_BARE, "()"):
            sides.append((tuple(names), sorted(elements, key=lambda element: element.variable)))
        elif side.brackets == "()" and not any(names):
            sides.append(((), list(elements)))
        else:
            return None
    (a, p), (b, g) = sides
    if not (a or b) or (a and b and set(a) != set(b)) or len(p) != len(g):
        return None
    bodies = [tuple(read_tidied(element.body) if element.variable else element for element in s) for s in (p, g)]
    return bodies[0], bodies[1]


def _decide_pairs(p: tuple[Answer, ...], g: tuple[Answer, ...]) -> Decision | None:
    """Compare parts in order: one difference decides, else all must be equal."""
    decisions = [decide(a, b) for a, b in zip(p, g, strict=True)]
    verdicts = {decision[0] if decision else None for decision in decisions}
    if Verdict.WRONG in verdicts:
        return Verdict.WRONG, "list"
    if None in verdicts:
        return None
    return (Verdict.UNPARSABLE if Verdict.UNPARSABLE in verdicts else Verdict.CORRECT), "list"


def _decide_unordered(p: tuple[Answer, ...], g: tuple[Answer, ...]) -> Decision | None:
    """Pair each part with an equal one of the other list; ``wrong`` if one differs from all of them."""
    left = list(g)
    unknown = False
    for a in p:
        decisions = [decide(a, b) for b in left]
        verdicts = [decision[0] if decision else None for decision in decisions]
        if Verdict.CORRECT in verdicts:
            left.pop(verdicts.index(Verdict.CORRECT))
        elif None in verdicts:
            return None
        elif all(verdict is Verdict.WRONG for verdict in verdicts):
            return Verdict.WRONG, "list"
        else:
            unknown = True
    return (Verdict.UNPARSABLE if unknown or left else Verdict.CORRECT), "list"


def _decide_brackets(pred: Answer, gold: Answer) -> Decision | None:
    """Compare lists in different brackets: a square bracket may belong to a list, an interval, or a point."""
    assert pred.elements is not None
    assert gold.elements is not None
    a, b = pred.brackets, gold.brackets
    if len(pred.elements) == 1 or len(gold.elements) == 1:
        return None
    if "matrix" in a and "matrix" in b:
        same = sorted(_keys(pred.elements)) == sorted(_keys(gold.elements))
        return (Verdict.UNPARSABLE if same else Verdict.WRONG), "matrix"
    if len(pred.elements) == len(gold.elements) == 2 and {a, b} & {"(]", "[)"} and {a, b} <= _INTERVALS:
        return Verdict.WRONG, "brackets"  # an interval with and without an end point
    return None


def may_differ_in_brackets(pred: Answer, gold: Answer) -> bool:
    """Whether two lists of equal parts are equal despite their brackets: ``1,2`` for ``(1,2)``, ``[1,2,3]``."""
    a, b = pred.brackets, gold.brackets
    if {a, b} == {"()", ""}:
        return True
    return "[]" in (a, b) and (a in _BARE or b in _BARE or len(pred.elements or ()) > 2)


def _decide_kinds(elements: tuple[Answer, ...], answer: Answer, number: Answer) -> Decision | None:
    """A list of several different things is not a number, but ``3,5`` may be a decimal."""
    assert number.number is not None
    if len(elements) == 1 and answer.brackets in ("[]", "\\{\\}"):
        return decide(elements[0], number)
    if len(set(_keys(elements))) < 2:
        return None
    if answer.brackets == "" and all(_verdict_of(decide(element, number)) is Verdict.CORRECT for element in elements):
        return Verdict.CORRECT, "kind"  # one number in two spellings: "3/4 or 75%"
    if any(element.words is not None for element in elements):
        return Verdict.UNPARSABLE, "kind"  # "12 cats and dogs"
    if any(element.variable for element in elements) and number.number.value in _values(elements):
        return Verdict.UNPARSABLE, "kind"
    written = answer.tidied.replace(",", "")
    readings = [parse_exact(answer.tidied.replace(",", ".", 1)), parse_exact(written)]
    if any(reading is not None and reading.value == number.number.value for reading in readings):
        return Verdict.UNPARSABLE, "kind"
    return Verdict.WRONG, "kind"


def _verdict_of(decision: Decision | None) -> Verdict | None:
    return decision[0] if decision else None


def _values(elements: tuple[Answer, ...]) -> list[Fraction]:
    return [element.number.value for element in elements if element.number is not None]


def _value_of(answer: Answer) -> tuple[Fraction, str]:
    assert answer.number is not None
    return answer.number.value, answer.key
