"""Named prompts for GSM8K and MATH: template, worked examples, stop strings.

A stage's key contains the text of a preset, never its name. The examples were written for this purpose; none is a
problem of either data set.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from misstep.plan.params import PromptParams

CUSTOM = "custom"
"""The name of any other prompt."""


@dataclass(frozen=True)
class Preset:
    """A prompt, and the strings that end its responses in addition to the model's end token."""

    prompt: PromptParams
    stop: tuple[str, ...]
    about: str


_GSM8K_EXAMPLES = (
    (
        "A bakery sells rolls in bags of 6. Mara buys 4 bags and eats 5 rolls on the way home. How many rolls does she "
        "have left?",
        "The bags hold 4 * 6 = 24 rolls.\nAfter eating 5, Mara has 24 - 5 = 19 rolls left.\n#### 19",
    ),
    (
        "A pump fills a tank of 180 liters at 12 liters a minute, while a leak loses 3 liters a minute. How many "
        "minutes does it take to fill the empty tank?",
        "Each minute the tank gains 12 - 3 = 9 liters.\nIt takes 180 / 9 = 20 minutes.\n#### 20",
    ),
    (
        "Tickets cost $8 for children and $14 for adults. A group of 3 adults and some children pays $90. How many "
        "children are in the group?",
        "The adults pay 3 * 14 = 42 dollars.\nThe children pay 90 - 42 = 48 dollars together.\n"
        "There are 48 / 8 = 6 children.\n#### 6",
    ),
    (
        "Ivo reads 20 pages on Monday, twice as many on Tuesday, and on Wednesday half of what he read on the two days "
        "together. How many pages does he read in the three days?",
        "On Tuesday he reads 2 * 20 = 40 pages.\nOn the two days together he reads 20 + 40 = 60 pages.\n"
        "On Wednesday he reads 60 / 2 = 30 pages.\nIn the three days he reads 60 + 30 = 90 pages.\n#### 90",
    ),
)
_MATH_EXAMPLES = (
    (
        "Find the sum of all solutions of $x^2 - 7x + 10 = 0$.",
        "The equation factors as $(x - 2)(x - 5) = 0$.\nIts solutions are $2$ and $5$.\n"
        "Their sum is $2 + 5 = \\boxed{7}$.",
    ),
    (
        "Two fair coins are tossed. What is the probability that exactly one of them shows heads? Give a fraction.",
        "There are $2 \\cdot 2 = 4$ equally likely outcomes.\nExactly one head shows in $2$ of them.\n"
        "The probability is $\\frac{2}{4} = \\boxed{\\frac{1}{2}}$.",
    ),
    (
        "The legs of a right triangle are $5$ and $12$. What is its perimeter?",
        "By the Pythagorean theorem the hypotenuse is $\\sqrt{5^2 + 12^2} = \\sqrt{169} = 13$.\n"
        "The perimeter is $5 + 12 + 13 = \\boxed{30}$.",
    ),
    (
        "What is the remainder when $3^{11}$ is divided by $8$?",
        "Since $3^2 = 9$ leaves the remainder $1$, so does $3^{10} = (3^2)^5$.\n"
        "Hence $3^{11} = 3 \\cdot 3^{10}$ leaves the remainder $\\boxed{3}$.",
    ),
)
_QUESTION, _QUESTION_STOP = "Question: {question}\nAnswer:\n", ("\n\nQuestion:", "\nQuestion:")
_PROBLEM, _PROBLEM_STOP = "Problem: {question}\nSolution:\n", ("\n\nProblem:", "\nProblem:")
# A question that follows ends a response; the longer string also takes the empty line before it.

PRESETS: dict[str, Preset] = {
    "gsm8k-base": Preset(
        PromptParams(style="plain", template=_QUESTION),
        _QUESTION_STOP,
        "base models, without examples: the form of GSM8K's own solutions is learned in SFT",
    ),
    "gsm8k-few-shot": Preset(
        PromptParams(style="plain", template=_QUESTION, examples=_GSM8K_EXAMPLES),
        _QUESTION_STOP,
        "base models, after four worked examples that end with `#### ANSWER`",
    ),
    "gsm8k-chat": Preset(
        PromptParams(
            style="chat",
            template="{question}\n\nSolve it step by step, one step to a line. End with a line that holds nothing but "
            "#### and the answer as a number.",
        ),
        (),
        "chat models; the answer is asked for as `#### ANSWER`",
    ),
    "math-base": Preset(
        PromptParams(style="plain", template=_PROBLEM),
        _PROBLEM_STOP,
        "base models, without examples: the form of MATH's own solutions is learned in SFT",
    ),
    "math-few-shot": Preset(
        PromptParams(style="plain", template=_PROBLEM, examples=_MATH_EXAMPLES),
        _PROBLEM_STOP,
        "base models, after four worked examples that end with `\\boxed{ANSWER}`",
    ),
    "math-chat": Preset(
        PromptParams(
            style="chat",
            template="{question}\n\nSolve it step by step, and put the final answer into \\boxed{}.",
        ),
        (),
        "chat models; the answer is asked for as `\\boxed{ANSWER}`",
    ),
}


def prompt_record(prompt: PromptParams) -> dict[str, str]:
    """Return a name for a prompt: the preset with exactly this text, else ``custom``; and a hash of the text."""
    name = next((name for name, preset in PRESETS.items() if preset.prompt == prompt), CUSTOM)
    text = json.dumps(prompt.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}
