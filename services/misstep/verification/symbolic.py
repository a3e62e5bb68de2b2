"""Equality by computer algebra: math-verify, with guards where it is known to be too lenient or too strict.

Only the pool's worker processes import this module: parsing and comparing hostile expressions can take any amount of
time and memory, and nothing here limits them (math-verify's own timeouts are disabled).
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, MatrixBase, Rational

from misstep.terms.verdict import Verdict
from misstep.verification.answer import Answer, read_tidied
from misstep.verification.equivalence import decide, is_region, may_differ_in_brackets, order_of, read_answer
from misstep.verification.exact import is_conversion
from misstep.verification.grammar import is_understood, may_apply_function
from misstep.verification.measured import in_unit_of, without_unit
from misstep.verification.normal import tidy
from misstep.verification.numeric import DIGITS, Outcome, compare_numerically, confirm, is_quantity, is_rounded
from misstep.verification.quantity import parse_exact
from misstep.verification.reading import other_reading, spell_complex, spell_out
from misstep.verification.regions import read_region, same_region

logging.getLogger("math_verify").setLevel(logging.ERROR)

MAX_NESTING = 60
"""Deeper nested brackets exhaust the parser's stack, which math-verify reports as "not equal"."""
_LOGIC = re.compile(r"\\(?:forall|exists|implies|Rightarrow|iff|mod|pmod|equiv)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|[a-zA-Z]|\([^()]*\))\s*\^\s*\\circ\s*")
_SHORT_SCALE = re.compile(r"(-?\s?\d[\d.,]*)\s*([kKMB])")
_SCALES = {"k": 1000, "m": 10**6, "b": 10**9}
_PARAMETERS = (set("klmn"), set("cCkK"))
"""Letters that people use for any integer, and for any constant."""
_SPELLING = replace(LatexExtractionConfig().normalization_config, units=False, boxed="last")
# Only LaTeX: extraction of plain numbers would return the last number of any text that cannot be parsed.
_BOXED = [LatexExtractionConfig(boxed_match_priority=0, normalization_config=_SPELLING)]


def warm_up() -> None:
    """Fill the parser's prediction tables: the first parse of each kind is about twenty times slower than the next."""
    for pred, gold in (
        ("(x+1)^2", "x^2+2x+1"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
        (r"(3, \pi)", r"\left(-\frac{1}{2}, 4\right)"),
        ("y=2x+3", "x < 5"),
        (r"(-\infty, 3]", r"[2, \infty)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\sin^2 x + 3i"),
    ):
        compare(pred, gold)


def parsable(answer: str) -> bool:
    """Return whether the answer is understood: it, or each part of it, parses to an expression or a set."""
    return _is_parsable(read_answer(answer))


def _is_parsable(answer: Answer) -> bool:
    if answer.is_plain():
        return True
    if answer.elements is not None and all(_is_parsable(element) for element in answer.elements):
        return True
    body, _ = without_unit(answer.tidied)
    return _parse(body) is not None or read_region(answer.tidied, _parse) is not None


def compare(pred: str, gold: str) -> Outcome:
    """Compare two final answers; gold first wherever math-verify is asymmetric.

    May raise any error of sympy, which the worker reports as ``unparsable``.
    """
    return _compare_answers(read_answer(pred), read_answer(gold))


def _compare_answers(pred: Answer, gold: Answer) -> Outcome:
    decision = decide(pred, gold)
    if decision is not None:
        return decision
    if is_region(pred) or is_region(gold):
        return _compare_regions(pred, gold)
    return _compare_elements(pred, gold) or _compare_brackets(pred, gold) or _compare_measured(pred, gold)


def _compare_regions(pred: Answer, gold: Answer) -> Outcome:
    """Compare sets of numbers. An answer that cannot be read as one is equal if math-verify says so, and never
    different."""
    a, b = read_region(pred.tidied, _parse), read_region(gold.tidied, _parse)
    if a is not None and b is not None:
        if a.variable and b.variable and a.variable != b.variable:
            return Verdict.UNPARSABLE, "variable"
        same = same_region(a.numbers, b.numbers)
        if same is not None:
            return (Verdict.CORRECT if same else Verdict.WRONG), "region"
    outcome = _compare_elements(pred, gold) or _compare_whole(pred.tidied, gold.tidied)
    return (Verdict.UNPARSABLE, "region") if outcome[0] is Verdict.WRONG else outcome


def _compare_measured(pred: Answer, gold: Answer) -> Outcome:
    r"""Remove units from expressions: ``2\pi cm`` against ``2\pi`` or ``0.02\pi m``."""
    (a, a_unit), (b, b_unit) = without_unit(pred.tidied), without_unit(gold.tidied)
    if a_unit is None and b_unit is None:
        return _compare_named(pred, gold)
    if a_unit is not None and b_unit is not None:
        converted = in_unit_of(b, b_unit, a_unit)
        if converted is None:
            return Verdict.UNPARSABLE, "unit"
        return _compare_whole(a, converted)
    verdict, rule = decide(read_tidied(a), read_tidied(b)) or _compare_whole(a, b)
    if verdict is Verdict.WRONG and _differ_by_conversion(a, b):
        return Verdict.UNPARSABLE, "unit"
    return verdict, rule


def _compare_named(pred: Answer, gold: Answer) -> Outcome:
    """Remove a name (``z = 2-3i``) if the other side is a value without a name."""
    sides = [side.body if side.variable else side.tidied for side in (pred, gold)]
    if (pred.variable != gold.variable) and not (pred.variable and gold.variable) and "=" not in "".join(sides):
        return _compare_whole(*sides)
    return _compare_whole(pred.tidied, gold.tidied)


def _differ_by_conversion(pred: str, gold: str) -> bool:
    a, b = _parse(pred), _parse(gold)
    if a is None or b is None or not (is_quantity(a) and is_quantity(b)):
        return False
    if a.free_symbols or b.free_symbols or not b:
        return False
    quotient = sympy.nsimplify((a / b).evalf(DIGITS), rational=True, tolerance=1e-20)
    return isinstance(quotient, Rational) and is_conversion(Fraction(int(quotient.p), int(quotient.q)), Fraction(1))


def _compare_brackets(pred: Answer, gold: Answer) -> Outcome | None:
    """Compare lists in different brackets: a point, an interval, a set or a vector; None in other cases.

    math-verify reads the point (1,2) as the set of 1 and 2.
    """
    if pred.elements is None or gold.elements is None or order_of(pred, gold) is not None:
        return None
    if len(pred.elements) == 1 or len(gold.elements) == 1:
        return None
    if len(pred.elements) != len(gold.elements):
        return Verdict.UNPARSABLE, "brackets"
    verdicts = [_compare_answers(p, g)[0] for p, g in zip(pred.elements, gold.elements, strict=True)]
    if all(verdict is Verdict.CORRECT for verdict in verdicts):
        alike = may_differ_in_brackets(pred, gold)
        return (Verdict.CORRECT, "list") if alike else (Verdict.UNPARSABLE, "brackets")
    interval = {pred.brackets, gold.brackets} == {"()", "[]"}
    return (Verdict.WRONG if interval and Verdict.WRONG in verdicts else Verdict.UNPARSABLE), "brackets"


def _compare_elements(pred: Answer, gold: Answer) -> Outcome | None:
    """Compare two lists part by part, which parses some fifty times faster than the whole; None if undecided."""
    if pred.elements is None or gold.elements is None or pred.variable != gold.variable:
        return None
    order = order_of(pred, gold)
    if order is None or (order == "ordered" and len(pred.elements) != len(gold.elements)):
        return None
    left, unknown = list(gold.elements), False
    for p in pred.elements:
        candidates = left[:1] if order == "ordered" else left
        verdicts = []
        for g in candidates:
            verdicts.append(_compare_answers(p, g)[0])
            if verdicts[-1] is Verdict.CORRECT:
                break
        if Verdict.CORRECT in verdicts:
            left.pop(len(verdicts) - 1)
        elif all(verdict is Verdict.WRONG for verdict in verdicts):
            return (Verdict.WRONG, "elements") if order == "ordered" else None
        elif order == "ordered":
            unknown = True
            left.pop(0)
        else:
            return None
    if unknown:
        return Verdict.UNPARSABLE, "elements"
    return (Verdict.CORRECT, "elements") if not left else None


def _compare_whole(pred: str, gold: str) -> Outcome:
    pred, gold = spell_complex(pred), spell_complex(gold)
    gold_value = _parse(gold)
    if gold_value is None:
        return Verdict.UNPARSABLE, "gold"
    pred_value = _parse(pred)
    if pred_value is None:
        return Verdict.UNPARSABLE, "symbolic-parse"
    if bool(_LOGIC.search(pred)) != bool(_LOGIC.search(gold)):
        return Verdict.UNPARSABLE, "logic"  # math-verify drops quantifiers
    outcome = _compare_values(gold_value, pred_value)
    if outcome[0] is Verdict.WRONG:
        outcome = _explain_difference(pred, pred_value, gold, gold_value) or outcome
    if outcome[0] is Verdict.WRONG and (may_apply_function(pred) or may_apply_function(gold)):
        return Verdict.UNPARSABLE, "function"
    if outcome[0] is not Verdict.UNPARSABLE and not (is_understood(pred) and is_understood(gold)):
        return Verdict.UNPARSABLE, "not-understood"
    return outcome


def compare_prose(text: str, gold: str) -> Outcome:
    """Look for the gold in free text with math-verify's own extraction.

    The place of the answer in such text is a guess, so this can only confirm: the result is never ``wrong``.
    """
    gold_value = _parse(tidy(gold))
    if gold_value is None:
        return Verdict.UNPARSABLE, "gold"
    found = _first_expression(parse(text, parsing_timeout=None))
    if found is None:
        return Verdict.UNPARSABLE, "no-answer"
    same = _compare_values(gold_value, found)[0] is Verdict.CORRECT
    return (Verdict.CORRECT, "prose") if same else (Verdict.UNPARSABLE, "prose")


def _parse(tidied: str) -> Basic | MatrixBase | None:
    return _parse_latex(spell_out(tidied))


@lru_cache(maxsize=256)
def _parse_latex(latex: str) -> Basic | MatrixBase | None:
    if not latex or _nesting(latex) > MAX_NESTING:
        return None
    return _with_imaginary_unit(_first_expression(parse(f"\\boxed{{{latex}}}", _BOXED, parsing_timeout=None)))


def _with_imaginary_unit(value: Basic | MatrixBase | None) -> Basic | MatrixBase | None:
    """Replace the letter i by the imaginary unit, unless it is the index of a sum or product."""
    if value is None or value.has(sympy.Sum, sympy.Product):
        return value
    return value.subs({symbol: sympy.I for symbol in value.free_symbols if str(symbol) == "i"})


def _first_expression(parsed: list[object]) -> Basic | MatrixBase | None:
    """math-verify returns the expression and its text, or only the text if parsing failed."""
    value = next((item for item in parsed if isinstance(item, Basic | MatrixBase)), None)
    if value is None or (isinstance(value, Basic) and value.has(sympy.nan, sympy.zoo)):
        return None
    return value


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _compare_values(gold: Basic | MatrixBase, pred: Basic | MatrixBase) -> Outcome:
    quick = compare_numerically(gold, pred)
    if quick is not None:
        return quick
    if not _verify(gold, pred):
        return Verdict.WRONG, "symbolic"
    return confirm(gold, pred)


def _verify(gold: Basic | MatrixBase, pred: Basic | MatrixBase) -> bool:
    # An interval may be written as an inequality on either side.
    same: bool = verify([gold], [pred], allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    return same


def _explain_difference(
    pred: str, pred_value: Basic | MatrixBase, gold: str, gold_value: Basic | MatrixBase
) -> Outcome | None:
    """Find notation that may explain a difference: rounding, a vector as a tuple, degrees, the scope of a slash."""
    for text, other in ((pred, gold_value), (gold, pred_value)):
        number = parse_exact(text)
        if number is not None and is_rounded(number, other):
            return Verdict.UNPARSABLE, "rounded"
    if any(_in_thousands(text) == number for text, number in ((pred, gold_value), (gold, pred_value))):
        return Verdict.UNPARSABLE, "scale"
    if _differ_by_parameter(pred_value, gold_value):
        return Verdict.UNPARSABLE, "parameter"
    if isinstance(pred_value, MatrixBase) != isinstance(gold_value, MatrixBase):
        a, b = (sympy.Tuple(*v) if isinstance(v, MatrixBase) else v for v in (gold_value, pred_value))
        if not any(isinstance(v, MatrixBase) and 1 not in v.shape for v in (gold_value, pred_value)) and _verify(a, b):
            return Verdict.UNPARSABLE, "vector"
    if _DEGREES.search(pred) or _DEGREES.search(gold):
        a, b = (_parse(_DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", side)) for side in (gold, pred))
        if a is not None and b is not None and _compare_values(a, b)[0] is Verdict.CORRECT:
            return Verdict.CORRECT, "degrees"
    readings = [other_reading(side) for side in (gold, pred)]
    if any(readings):
        a, b = (_parse_latex(other or spell_out(side)) for other, side in zip(readings, (gold, pred), strict=True))
        if a is not None and b is not None and _compare_values(a, b)[0] is Verdict.CORRECT:
            return Verdict.UNPARSABLE, "slash"
    return None


def _in_thousands(text: str) -> Rational | None:
    """The values of ``12k`` and ``1.2M`` if the letter is not a variable."""
    found = _SHORT_SCALE.fullmatch(text)
    number = parse_exact(found[1]) if found else None
    if found is None or number is None:
        return None
    value = number.value * _SCALES[found[2].lower()]
    return Rational(value.numerator, value.denominator)


def _differ_by_parameter(pred: Basic | MatrixBase, gold: Basic | MatrixBase) -> bool:
    r"""Whether only the name of a parameter differs: ``2k\pi`` and ``2n\pi``, each for any integer."""
    a, b = pred.free_symbols - gold.free_symbols, gold.free_symbols - pred.free_symbols
    if len(a) != 1 or len(b) != 1:
        return False
    (one,), (other,) = a, b
    if not any({str(one), str(other)} <= names for names in _PARAMETERS):
        return False
    return _compare_values(gold, pred.subs({one: other}))[0] is Verdict.CORRECT
