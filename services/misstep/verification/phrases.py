r"""English phrases around an answer: fillers, reasons, conclusions, doubts, denials, retractions."""

from __future__ import annotations

import re


def _any_of(phrases: str) -> str:
    """A regex alternative of phrases separated by bars; a space matches any white space."""
    return "|".join(r"\s+".join(phrase.split()) for phrase in phrases.split("|"))


_FILLERS = _any_of(
    r"""therefore|thus|simply|just|exactly|approximately|approx\.?|about|around|roughly|nearly|then|hence|indeed|clearly
    |actually|obviously|finally|also|only|precisely|equal to|equals|given by|found to be|seen to be|a total of|value of
    |the (?:amount|value) of|(?:the )?(?:number|value|integer|fraction|expression|point)|now|still|definitely|certainly
    |of course|in fact|again|option|choice|\u2248|~|=|:"""
)
FILLER = re.compile(rf"(?:(?:{_FILLERS})\s*,?:?\s+|[=:\u2248~]\s*)+", re.IGNORECASE)
"""Words before an answer that do not change it."""

_PERSON = "s?he|it|they|we|i|you|there|that|this|the|her|his|their|none"
REASON = re.compile(
    rf"[,;]?\s+(?:{_any_of('because|since|given that|due to|when|if|where|after|for a total')}"
    r"|as\s+(?:[a-z]+\s+)?(?=[\w$]+\s*(?:[-+*/=]|\\times))"
    rf"|(?:and|but|so|while|with|meaning|leaving)\s+(?:{_PERSON})\b)",
    re.IGNORECASE,
)
"""Where the reason for an answer begins, or another clause."""

_CONCLUSIONS = _any_of(
    r"""so|thus|hence|therefore|that is|i\.e\.|giving|making|yielding|for a total of|or simply|equals|is equal to|gives
    |makes|yields|resulting in|leaving|and (?:get|obtain)|simplifies to|which simplifies to|which reduces to
    |which (?:is|equals|gives|makes|comes to|means|yields|totals|results in)
    |(?:in order )?to (?:get|give|obtain|make|yield|reach)|(?<![<>!=])="""
)
_SAID_AGAIN = _any_of("that|the answer is|it is|it's|we get|we have|(?:a|the) total (?:is|of)")
CONCLUSION = re.compile(
    rf"(?:,\s*|\s+|^)(?:{_CONCLUSIONS})(?:\s*,)?\s*(?:(?:{_SAID_AGAIN})\s+)?",
    re.IGNORECASE,
)
"""Words after which a sentence gives its result."""

_DOUBTS = _any_of(
    """not|never|cannot|can't|isn't|won't|either|neither|between|range|at least|at most|up to|over|under|above|below
    |no (?:more|less|fewer|greater)|(?:more|less|fewer|greater|smaller|larger|bigger|higher|lower) than|almost|unknown
    |maybe|perhaps|wrong|incorrect|or|to|from|until|less|fewer|times|plus|minus|multiplied|divided|twice|double|triple
    |half of|squared|cubed|factorial|short of|root of|power of|product|difference|quotient|remainder|sum"""
)
UNSURE = re.compile(rf"\b(?:{_DOUBTS})\b|n't\b", re.IGNORECASE)
"""Words that bound, deny, doubt or calculate with a number instead of giving it."""

_DOUBTS_BEFORE = _any_of(
    "not|never|cannot|either|neither|between|at least|at most|up to|(?:more|less|fewer|greater) than|or|maybe|perhaps"
)
UNSURE_BEFORE = re.compile(rf"(?:\b(?:{_DOUBTS_BEFORE})\b|n't\b)[^.]{{0,30}}$", re.IGNORECASE)
"""The same, shortly before the last number of a sentence."""

OTHER_CASE = re.compile(
    r"[,;]?\s+(?:if|when|where|unless)\b.*?(?:(?:[,;]|\b(?:and|or|but))\s+\\?[$€£¥₹]?-?\d|\b(?:otherwise|else)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A condition of an answer, and the answer without it: " if it rains, and 15 if it does not"."""
CONDITION = re.compile(r"\b(?:when|if|unless|where|until|after|before)\b", re.IGNORECASE)
DENIED = re.compile(
    r",?\s+(?:and\s+|but\s+)?(?:not|rather than|instead of|as opposed to)\s+[^,;]{1,60}$", re.IGNORECASE
)
"""Another answer that the sentence rules out: "and not 15"."""

_RETRACTIONS = _any_of(
    r"""wait(?=[,.!:]| no\b| a (?:second|minute|moment)\b| that\b| i\b)|hmm+|oops|sorry|contradict\w*|incorrect|mistaken
    |made an? (?:\w+ )?(?:error|mistake)|my (?:error|mistake)|that(?: is|'s| was) wrong
    |(?:is|was|seems) (?:wrong|impossible|not (?:right|correct|possible|valid))|let me (?:re|check|try)\w*|no such
    |on second thought|scratch that|(?:this|that|it|which) does(?: not|n't) (?:work|fit|satisfy|match)
    |(?:cannot|can't|can not) be"""
)
RETRACTION = re.compile(rf"\b(?:{_RETRACTIONS})\b", re.IGNORECASE)
"""Words that retract a statement."""
TAKEN_BACK = re.compile(rf"\b(?:{_RETRACTIONS}|actually|in\s+reality|it\s+(?:should|must)\s+be)\b", re.IGNORECASE)
"""The same after a stated answer, where weaker words are enough."""
SUPPOSED = re.compile(
    r"\b(?:thought|(?:might|may|could|would) (?:think|say|guess)|supposed?|assum\w+|claims?|if)"
    r"\s+(?:that\s+)?(?:the\s+)?(?:final\s+|correct\s+)?$",
    re.IGNORECASE,
)
"""Words before "answer" that do not state one: "if the answer is", "you might think the answer is"."""

_VERBS = _any_of(
    r"""has|have|had|is|are|was|were|gets?|got|needs?|makes?|made|earns?|earned|spends?|spent|costs?|sold|sells|paid|pays
    |bought|buys|saves?|saved|received?|receives|must \w+|will \w+|can \w+|takes?|took|uses?|used|eats?|ate|weighs?
    |reads?|ran|runs|walks?|walked|drives?|drove|baked?|bakes"""
)
THAT_CLAUSE = re.compile(rf"(?:that\s+)[^\d,;]*?\b(?:{_VERBS})\s+(?P<rest>[^,;]+)$", re.IGNORECASE)
"""``that Ann has 40 stamps``."""

_LEADS = _any_of(
    """is|are|was|were|be|equals?|gives?|makes?|gets?|obtain|totals?|total of|so|thus|therefore|leaves|left with|earns?
    |earned|has|have|had|costs?|spends?|spent|needs?|pays?|paid|saves?|saved|takes?|took|becomes?|comes to|amounts to|of
    |about|approximately|exactly"""
)
LEADS_TO_LAST = re.compile(
    rf"(?:=|:|\b(?:{_LEADS}))\s*(?:\\?\$)?\s*(?:(?:about|approximately|exactly|a\s+total\s+of|only|now)\s+)?"
    r"(?=[-\u2212.\d$€£₹¥])",
    re.IGNORECASE,
)
"""Words before the last number of a sentence that show that the sentence is about this number."""
CONCLUDES = re.compile(
    r"=|\b(?:so|thus|therefore|hence|which|total|altogether|sum|together|giving|leaving)\b", re.IGNORECASE
)
