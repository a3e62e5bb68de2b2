r"""Detect texts in place of a final answer that are not answers: "proof", "see solution", whole sentences.

A response can never be checked against such a text, and the verifier would treat it as an ordinary word. Real answers
in words (``yes``, ``Tuesday``, ``Evelyn Smith``, ``\text{even}``, ``no solution``, ``C``) are not affected.
"""

from __future__ import annotations

import re
from itertools import pairwise

WORDS = {
    "empty": "empty",
    "placeholder": "a placeholder (such as N/A)",
    "proof": "a proof is asked for",
    "elsewhere": 'points to another text (such as "see solution")',
    "picture": "a picture or a link",
    "parts": "answers of several parts",
    "sentence": "a sentence",
    "marker": "without the mark that columns names",
    "hash": 'without a line "#### ..."',
    "box": r"without \boxed{..}",
    "unreadable": "not readable by the verifier",
}
"""Reason why a problem has no final answer -> its wording."""

_PLACEHOLDER = re.compile(
    r"n\s?/\s?a|n\.\s?a\.?|NA|na|nan|none|null|nil|<na>|unknown|unsure|tbd|tba|todo|missing"
    r"|(?:answer )?not[ _-]?(?:found|available|provided|given|specified|applicable|stated|known|sure)"
    r"|no[ _-]?(?:final )?answer(?: (?:found|given|provided|available))?|without answer|(?:final )?answer|answer here"
    r"|(?:the )?answers? (?:may|will|can) vary|answers vary|open[ -]?ended|various answers|omitted"
    r"|略|无|無|无答案|未知|#n/a|#ref!|#value!|deleted|removed|_+|-+|\?+|\.{2,}|…+",
    re.IGNORECASE,
)
_PROOF = re.compile(
    r"(?:the |a |see )?proofs?(?: (?:is )?(?:omitted|required|needed|only|problem|question|below|above|complete))?"
    r"|proof by \w+|(?:to )?(?:prove|show)(?: that)?|proven|proved|(?:as )?shown|has been proven|hence proved"
    r"|proof-?based|q\.?\s?e\.?\s?d\.?|证明(?:题|略|见解析)?|証明|доказательство|démonstration",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"(?:please )?(?:see|refer to|look at|cf\.?|check)\b.{0,60}"
    r"|(?:as |given |explained |shown |described )?(?:in )?(?:the )?(?:solution|explanation|text)"
    r"|(?:as |as stated |given |explained |shown |described )(?:above|below)"
    r"|(?:见|詳|详|参见)(?:解析|解答|上|下).{0,10}|见解析",
    re.IGNORECASE | re.DOTALL,
)
_PICTURE = re.compile(r"!\[[^\]]*\]\s*\(|<img\b|https?://|^\s*<image>|\\includegraphics", re.IGNORECASE)
_LABELS = re.compile(
    r"(?:^|(?<=[\s;,.:{]))(?:part\s+|\()?([a-e]|[1-5]|i{1,3}|iv)(?:\)|[.:](?=\s))\s*(?=[-$\\\w√(])", re.IGNORECASE
)
_ORDERS = (("a", "b"), ("1", "2"), ("i", "ii"))
_MARKUP = re.compile(r"\\(?:text|textbf|textit|mbox|mathrm)\s*\{([^{}]*)\}|\\\(|\\\)|\\[,;! ]|[*_`~]")
_MATH = re.compile(r"\$[^$]*\$|\\[a-zA-Z]+(?:\{[^{}]*\})*|[=<>^{}\[\]|]")
_WORD = re.compile(r"[^\W\d_][^\W\d_'’-]+|\b[aI]\b")
_ANSWER_IS = re.compile(r"\banswers?\b.{0,30}(?:\bis\b|\bare\b|\bbe\b|:|=)", re.IGNORECASE | re.DOTALL)
_VERB = (
    "is|are|was|were|am|has|have|had|will|would|can|could|should|must|does|did|do|gets?|got|takes?|took|makes?|made|needs?"
    "|needed|spends?|spent|pays?|paid|earns?|earned|costs?|buys?|bought|sells?|sold|eats?|ate|gives?|gave|leaves|equals?"
    "|becomes?|became|remains?|contains?|weighs?|runs?|ran|walks?|drives?|works?|uses?|used|finds?|found"
)
_OPENING = (
    "we|he|she|it|they|you|there|this|that|let|suppose|assume|therefore|thus|hence|because|since|so|then|if|which|when"
)
_CLAUSE = re.compile(rf"\b(?:{_VERB}|{_OPENING}|{'|'.join(word.capitalize() for word in _OPENING.split('|'))})\b")
"""Words that show a clause. Verbs in lower case only: Will, Art and Grant are people."""
_FULL_STOP = re.compile(r"[A-Z](?![ ,.])(?!ll\b|ny\b|very\b|ach\b).*[.!?]", re.DOTALL)
_DENIAL = re.compile(
    r"\b(?:no|not|none|never|cannot|can't|doesn't|impossible|undefined|infinitely|always|diverges|converges)\b",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(r"[.!?。]\s+(?=[A-Z])")
_MANY_WORDS = 12


def why_no_answer(gold: str) -> str | None:
    """Return why a text is not a final answer, as a key of ``WORDS``; None if it may be one."""
    text = gold.strip()
    if not text:
        return "empty"
    if _PICTURE.search(text):
        return "picture"
    bare = _bare(text)
    if not bare or ("\\text" not in text and bare != "Na" and _PLACEHOLDER.fullmatch(bare)):
        return "placeholder"
    if _PROOF.fullmatch(bare):
        return "proof"
    if _ELSEWHERE.fullmatch(bare):
        return "elsewhere"
    if _has_parts(text):
        return "parts"
    return "sentence" if _is_sentence(text, bare) else None


def _bare(text: str) -> str:
    """The text without LaTeX's text commands, emphasis, and surrounding marks."""
    for _ in range(2):
        text = _MARKUP.sub(lambda found: f" {found[1]} " if found[1] is not None else " ", text)
    return " ".join(text.split()).strip(" .,:;!\"'()[]{}<>$")


def _has_parts(text: str) -> bool:
    """Whether the text has labels of parts in order, each followed by something: ``(a) 4 (b) 5``.

    ``1: 2: 3`` is a ratio, and ``1.5, 2.5`` are two numbers.
    """
    labels = [(found[1].lower(), found.start(), found.end()) for found in _LABELS.finditer(text)]
    return any(
        (label, following) in _ORDERS and end < start and any(map(str.isalnum, text[end:start]))
        for (label, _, end), (following, start, _) in pairwise(labels)
    )


def _is_sentence(text: str, bare: str) -> bool:
    if "\\begin{" in text:
        return False  # "1 if n is even" is part of a table of cases
    if _ANSWER_IS.search(bare):
        return True
    plain = _MATH.sub(" ", bare)
    words = len(_WORD.findall(plain))
    if words < 3 or (words <= 8 and _DENIAL.search(plain)):
        return False  # "there is no solution", "it cannot be determined"
    longest = max(len(_WORD.findall(part)) for part in re.split(r"[,;]", plain))
    ends = _BOUNDARY.search(plain) or (longest >= 4 and _FULL_STOP.fullmatch(text))
    return bool(ends or _CLAUSE.search(plain)) or longest >= _MANY_WORDS
