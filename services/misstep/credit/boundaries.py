"""Find where a response's text may be split into steps: after lines, and for MATH also after sentences.

Offsets are in characters. This module handles text only; `steps` maps the offsets to tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_right

_NEWLINES = re.compile(r"\n(?:[^\S\n]*\n)*")
_MATH = re.compile(
    r"""
    (?<!\\) \$\$ .+? (?<!\\) \$\$
    | (?<![\\$]) \$ (?![\s$]) (?: \\. | [^$\\] )*? (?<!\s) \$ (?![\d$])
    | \\\[ .+? \\\]
    | \\\( .+? \\\)
    | \\begin\{ (?P<env> [a-zA-Z]+\*? ) \} .+? \\end\{ (?P=env) \}
    """,
    re.VERBOSE | re.DOTALL,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]”’]*(?=[^\S\n]+(?:\*\*|[^\sa-z=+\-*/^<>,;:.!?)\]}%&|]))")
_NO_SENTENCE_END = re.compile(
    r"""
    (?: ^ | \n ) [^\S\n]* \(? \d+ \. $           # the number of a list item
    | \.\. \. $                                  # an ellipsis
    | (?<! [^\W\d_] ) (?: e\.g | i\.e | cf | etc | vs | viz | approx | resp | w\.r\.t | a\.m | p\.m
        | fig | eq | eqs | no | nos | dr | mr | mrs | ms | st | prof | thm | lem | prop | sec | ch ) \. $
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LOOK_BACK = 32  # characters: more than the longest abbreviation or list number


def line_ends(text: str) -> list[int]:
    """Return the offsets after each run of newlines; lines with only white space belong to the run."""
    return [match.end() for match in _NEWLINES.finditer(text)]


def sentence_ends(text: str) -> list[int]:
    """Return the offsets after each line and each sentence, sorted, none of them inside mathematics.

    Mathematics is the text between ``$``, ``$$``, ``\\[ \\]``, ``\\( \\)`` or in an environment, on one
    line or several; a delimiter that is never closed is ignored, and a ``$`` before an amount of money does not close.
    A sentence ends with ``.``, ``!`` or ``?`` before white space, unless a small letter or an operator follows (``5! =
    120``). Abbreviations, list numbers and ellipses do not end a sentence; neither does a decimal point, which has no
    space after it.
    """
    regions = [match.span() for match in _MATH.finditer(text) if "\n\n" not in match.group()]
    starts = [start for start, _ in regions]

    def in_math(offset: int) -> bool:
        before = bisect_right(starts, offset - 1) - 1
        return before >= 0 and offset < regions[before][1]

    sentences = (
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not _NO_SENTENCE_END.search(text[max(0, match.start() - _LOOK_BACK) : match.start()])
    )
    return sorted({offset for offset in (*line_ends(text), *sentences) if not in_math(offset)})
