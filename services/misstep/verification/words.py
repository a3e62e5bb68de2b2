"""Answers in plain words: names, yes and no, "no solution", lists of names."""

from __future__ import annotations

import re

from misstep.verification.exact import Match

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z'.-]*(?:[ ,]+[A-Za-z0-9][A-Za-z0-9'.-]*)*")
_LETTER = re.compile(r"\(\s*([A-Z])\s*\)")
_ARTICLES = frozenset({"a", "an", "the"})
_MIN_LETTERS = 4
_SHORT_NAME = re.compile(r"[A-Z][a-z]{1,2}")
_NAME = re.compile(r"[A-Z][a-z]{2,}")

EMPTY = "empty set"
REALS = "all reals"
_SAME = {
    phrase: meaning
    for meaning, phrases in {
        "no solution": """no solution|no solutions|there is no solution|there are no solutions|no solution exists|
            no solutions exist|has no solution|has no solutions|no answer exists|it has no solution|
            the equation has no solution|the equation has no solutions|the system has no solution""",
        "no real solution": "no real solution|no real solutions|there are no real solutions",
        EMPTY: "empty set|empty|the empty set|null set",
        REALS: """all real numbers|all reals|all real|real numbers|the real numbers|the set of all real numbers|
            set of all real numbers|all real numbers x|any real number|all real values|every real number""",
        "does not exist": "does not exist|dne|doesn't exist|do not exist",
        "infinitely many": "infinitely many|infinitely many solutions|infinite solutions|infinite number of solutions",
        "yes": "yes",
        "no": "no",
        "true": "true",
        "false": "false",
    }.items()
    for phrase in (" ".join(part.split()) for part in phrases.split("|"))
}
_KINDS = [
    frozenset(group.split())
    for group in (
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may june july august september october november december",
        "yes no",
        "true false",
        "odd even neither",
        "positive negative zero",
        "north south east west northeast northwest southeast southwest",
        "red blue green yellow orange purple black white brown pink gray",
        "increasing decreasing constant",
        "convergent divergent", "converges diverges", "convergent diverges", "divergent converges",
        "circle ellipse parabola hyperbola line",
        "acute obtuse right", "scalene isosceles equilateral",
        "left right", "clockwise counterclockwise", "heads tails", "morning afternoon evening night",
        "spring summer autumn winter", "prime composite", "rational irrational", "linear quadratic cubic",
        "mean median mode",
        "first second third fourth fifth sixth seventh eighth ninth tenth",
    )
]  # fmt: skip
_NEGATIONS = frozenset({"not", "no", "never", "neither", "non", "cannot"})


def read_words(body: str) -> tuple[str, ...] | None:
    """Return the words of a plain text answer, as written. Bare letters need at least four: ``xy`` may be a product."""
    text, marked = _TEXT.subn(r" \1 ", body)
    text = " ".join(_LETTER.sub(r"\1", text).split()).strip(" .!")
    letter = _LETTER.fullmatch(body.strip()) is not None
    if not _PLAIN.fullmatch(text):
        return None
    short = _SHORT_NAME.fullmatch(text) or text.lower() in _SAME
    if not (marked or letter or short or sum(map(str.isalpha, text)) >= _MIN_LETTERS):
        return None
    return tuple(word.strip(".'") for word in text.replace(" ,", ",").replace(",", " , ").split())


def meaning(words: tuple[str, ...]) -> str:
    """Return the fixed phrase that the words form, such as "no solution"; empty if they form none."""
    return _SAME.get(" ".join(words).lower(), "")


def compare_words(pred: tuple[str, ...], gold: tuple[str, ...]) -> Match:
    """Compare two texts.

    EQUAL ignores capitals, articles and plurals, and the order of names joined by "and". DIFFERENT is returned only if
    both are of one known kind (days, colours, yes and no), are two single letters, or are two different names: anything
    else may be two words for one thing.
    """
    a, b = _folded(pred), _folded(gold)
    if "".join(a) == "".join(b) or [_singular(word) for word in a] == [_singular(word) for word in b]:
        return Match.EQUAL
    meanings = meaning(pred), meaning(gold)
    if meanings[0] and meanings[0] == meanings[1]:
        return Match.EQUAL
    if set(meanings) == {"no solution", EMPTY}:
        return Match.EQUAL
    lists = _members(pred), _members(gold)
    if lists[0] and lists[1] and len(lists[0]) > 1 and sorted(lists[0]) == sorted(lists[1]):
        return Match.EQUAL
    if len(a) == len(b) == 1:
        return _compare_single(pred, gold, a[0], b[0])
    return Match.UNKNOWN


def _compare_single(pred: tuple[str, ...], gold: tuple[str, ...], a: str, b: str) -> Match:
    kinds = [kind for kind in _KINDS if _singular(a) in kind or a in kind]
    if any(b in kind or _singular(b) in kind for kind in kinds):
        return Match.DIFFERENT
    if len(a) == 1 and len(b) == 1:
        return Match.DIFFERENT
    names = pred[-1], gold[-1]
    if all(_NAME.fullmatch(name) for name in names) and not (a.startswith(b[:3]) or b.startswith(a[:3])):
        return Match.DIFFERENT if not _is_common(a, b) else Match.UNKNOWN
    return Match.UNKNOWN


def _is_common(a: str, b: str) -> bool:
    """Whether one of two capitalised words is a common word, which may mean the same as the other."""
    common = {word for kind in _KINDS for word in kind} | {"None", "both", "all", "none", "infinite", "undefined"}
    return a in common or b in common or meaning((a,)) != "" or meaning((b,)) != ""


def _folded(words: tuple[str, ...]) -> list[str]:
    lowered = [word.lower() for word in words if word != ","]
    if len(lowered) == 1:
        return lowered
    return [word for word in lowered if word not in _ARTICLES] or lowered


def _members(words: tuple[str, ...]) -> list[str]:
    """The names of a list, in lower case; empty if a word shows that it is a sentence."""
    lowered = [word.lower() for word in words]
    if _NEGATIONS & set(lowered):
        return []
    return [part.strip() for part in re.split(r"\s,\s(?:and\s)?|\sand\s", " ".join(lowered))]


def _singular(word: str) -> str:
    return word[:-1] if len(word) >= _MIN_LETTERS and word.endswith("s") and not word.endswith("ss") else word
