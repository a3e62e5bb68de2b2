r"""Decide which expressions the parser reads correctly: those in which every letter, word and command is known.

math-verify drops or reinterprets what it does not know (it reads ``12x km`` as ``12*x``), so a comparison is meaningful
only if neither answer has anything unknown.
"""

from __future__ import annotations

import re

_COMMANDS = frozenset(
    re.findall(
        r"\w+",
        """frac sqrt pi alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu
        nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega cdot
        times sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp binom choose infty
        le ge ne lt gt cup cap setminus lfloor rfloor lceil rceil pm mp circ emptyset mathbb in sum prod int
        lim to max min gcd lcm begin end det deg mid lor land forall exists implies iff Rightarrow equiv
        pmod bmod mod dfrac tfrac left right over vec cdots langle rangle lvert rvert approx quad ell""",
    )
)
_NAMES = frozenset(
    re.findall(
        r"\w+",
        """sin cos tan cot sec csc ln log lg exp sqrt pi gcd lcm max min mod arcsin arccos arctan sinh cosh
        tanh pmatrix bmatrix matrix vmatrix cis""",
    )
)
_UNIT_LIKE = frozenset(
    re.findall(
        r"\w+",
        """cm mm km dm kg mg ft yd mi ml hr hrs min sec mph oz lb lbs am pm""",
    )
)
_MAX_VARIABLES = 3
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_LETTERS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*\{[a-zA-Z]*\}|\\mathbb\s*\{[A-Z]\}|\\overline\s*\{\d+\}|\\vec\s*\{[a-z]\}"
)
_STRANGE = re.compile(r"[^\x20-\x7e]|[?@`~$#%\"]|\\text")
_APPLIED = re.compile(
    r"(?:(?<![A-Za-z\\^{])(?![ei]\s*\()[A-Za-z]|\\(?:(?:var)?phi|tau|sigma|mu|omega|Omega|zeta|Lambda))\s*"
    r"\(\s*-?\d+(?:\s*,\s*-?\d+)*\s*\)|\d[A-Za-z]\d"
)
"""Functions of numbers that would be read as products: ``C(5,2)``, ``f(3)``, ``\\phi(10)``, ``5C2``, ``0x1F``."""
_OPERATOR_PAIRS = re.compile(r"[*/^]\s*[*/^]|[-+*/^=]\s*$|\(\s*\)")


def is_understood(tidied: str) -> bool:
    """Whether an answer (normalised by ``normal.tidy``) contains only mathematics that the parser knows."""
    if _STRANGE.search(tidied) or _OPERATOR_PAIRS.search(tidied):
        return False
    text = _ENVIRONMENT.sub(" ", tidied)
    if any(name not in _COMMANDS for name in _COMMAND.findall(text)):
        return False
    words = _LETTERS.findall(_COMMAND.sub(" ", text))
    return all(word in _NAMES or (len(word) <= _MAX_VARIABLES and word not in _UNIT_LIKE) for word in words)


def may_apply_function(tidied: str) -> bool:
    """Whether an answer may contain a function of numbers, as ``C(5,2)``: then a difference to another answer means
    nothing."""
    return _APPLIED.search(tidied) is not None
