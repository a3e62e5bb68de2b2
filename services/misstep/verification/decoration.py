r"""Commands that change only the look of an answer: fonts, colours, sizes, boxes, marks at the end."""

from __future__ import annotations

import re

from misstep.verification.braces import closing

_FONTS = re.compile(
    r"\\(text|textbf|textit|textrm|textsf|texttt|textnormal|textup|mbox|hbox|emph|mathrm|mathbf|mathit|mathsf|mathtt|"
    r"mathnormal|operatorname\*?|mathop|boldsymbol|bm|pmb|underline|ensuremath|textcolor\s*\{[^{}]*\}|colorbox\s*\{[^{}]*\}|vec|hat|"
    r"fbox|boxed|enclose\s*\{box\})(?![a-zA-Z])\s*(?=\{)"
)
_WORDS = (
    "text",
    "mbox",
    "hbox",
    "emph",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathnormal",
    "operatorname",
)
_LETTER_FONTS = ("mathbf", "mathit", "mathsf", "mathtt", "mathnormal")
_REMOVED = re.compile(
    r"\\[hv]space\*?\s*\{[^{}]*\}|\\(?:color|colour)\s*(?:\[[^\[\]]*\])?\s*\{[^{}]*\}"
    r"|\\(?:displaystyle|textstyle|scriptstyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|rm|it|sf|tt|"
    r"bfseries|limits|nolimits|strut|null|relax|centering|checkmark|blacksquare|qed)(?![a-zA-Z])"
    r"|\\(?:square|Box)\s*$|\\#"
)
_HATTED_LETTER = re.compile(r"\s*\\?([ijk])(?:math)?\s*")
_LETTERS = re.compile(r"[A-Za-z]")
_MATH = re.compile(r"[\\^_+=<>/*]")
_MATH_IN_ROMAN = re.compile(r"[\\_+=<>*]|^\s*[ei]\s*\^")
_ROMAN = ("mathrm", "operatorname")
_ONE_TOKEN = re.compile(r"\s*(?:[A-Za-z]|\d[\d.,]*)\s*")
_NEEDS_BRACES = re.compile(r"(?:[\^_]|\\(?:[dtc]?frac|sqrt|binom)\s*(?:\{[^{}]*\})?|\d)\s*$")
_COMMAND_BEFORE = re.compile(r"\\[a-zA-Z]+$")
_MAX_FONTS = 60


def without_decoration(text: str) -> str:
    r"""Remove decoration; letters in a text font stay as ``\text{...}``, because they may be words or units.

    The unit vectors ``\mathbf{i}``, ``\vec{i}`` and ``\hat{\imath}`` become ``\vec{i}``, which is not the imaginary
    unit; ``\mathrm{e}`` and ``\mathrm{i}`` are the numbers.
    """
    if "\\" not in text:
        return text
    text = _REMOVED.sub(" ", text)
    position = 0
    for _ in range(_MAX_FONTS):
        found = _FONTS.search(text, position)
        if found is None:
            break
        end = closing(text, found.end())
        if end < 0:
            break
        written, inner = _written(found[1], text[found.end() + 1 : end - 1], text[: found.start()])
        text = text[: found.start()] + written + text[end:]
        position = found.start() + (0 if inner else len(written))
    return text


def _written(command: str, content: str, before: str) -> tuple[str, bool]:
    """Return the replacement of a command and its content, and whether commands inside must still be processed."""
    letter = _HATTED_LETTER.fullmatch(content)
    if letter and command in ("mathbf", "vec", "hat"):
        return rf"\vec{{{letter[1]}}}", False
    if command in ("vec", "hat"):
        return rf"\{command}{{{content}}}", False
    inner = content.strip()
    if not command.startswith(_WORDS) or not _LETTERS.search(inner) or inner in ("e", "i"):
        return _bare(content, before), True
    if command.startswith(("math", "operatorname")):
        marks = _MATH_IN_ROMAN if command.startswith(_ROMAN) else _MATH
        if marks.search(inner) or (len(inner) == 1 and command in _LETTER_FONTS):
            return _bare(content, before), True
    if "\\" in inner and not _LETTERS.match(inner.lstrip("( ")):
        return _bare(content, before), True
    return rf"\text{{{content}}}", False


def _bare(content: str, before: str) -> str:
    """Return the content alone, in braces if TeX or a reader needs them."""
    if not content.strip(" .,;:"):
        return " "
    if _ONE_TOKEN.fullmatch(content) and not _NEEDS_BRACES.search(before):
        return f" {content}" if _COMMAND_BEFORE.search(before) else content
    return f"{{{content}}}" if before.strip() or _MATH.search(content) else content
