"""Check that text survives encoding and decoding: the probe's texts, and every teacher solution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from misstep.errors import BadInput
from misstep.generation.prompts import PromptBuilder
from misstep.generation.text import decode_continuation, first_loss, is_closed, shown_difference

MOST_LOST_PERCENT = 1
"""The largest share of teacher solutions that a tokenizer may change. A run with more stops."""
_EXAMPLES = 3


@dataclass
class Survival:
    """How many texts decode to themselves, with examples of others."""

    checked: int = 0
    lost: int = 0
    examples: list[str] = field(default_factory=list)
    """The first texts that do not, at the place where they change."""

    def add(self, text: str, became: str) -> None:
        """Count one text."""
        self.checked += 1
        if became != text:
            self.lost += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(shown_difference(text, became))


def check_probe(tokenizer: Any, model_field: str) -> str | None:
    """Check that the probe's texts decode to themselves.

    Returns:
        A sentence if the vocabulary is made for one task, so that only the task's own texts can show it.

    Raises:
        BadInput: a text comes back changed.
    """
    if is_closed(tokenizer):
        return (
            f"the vocabulary of {len(tokenizer)} tokens does not hold all letters and digits: only the problems' own "
            "texts can say whether text survives"
        )
    lost = first_loss(tokenizer)
    if lost is not None:
        raise BadInput(
            model_field,
            f"its tokenizer ({type(tokenizer).__name__}) loses text: {shown_difference(*lost)}",
            "Training and sampling would use changed text. Add the model's own tokenizer.json to its folder (a "
            "sentencepiece or slow tokenizer that normalises text cannot be used), or give another model.",
        )
    return None


def survival(builder: PromptBuilder, problems: Iterable[tuple[str, str]]) -> tuple[Survival, Survival]:
    """Count which (question, solution) pairs survive as prompts and as responses."""
    questions, solutions = Survival(), Survival()
    for question, solution in problems:
        text = builder.space + solution
        solutions.add(text, decode_continuation(builder.tokenizer, builder.response_ids(solution)[:-1]))
        prompt = builder.tokenizer.decode(builder.prompt_ids(question), clean_up_tokenization_spaces=False)
        questions.add(question, question if question in prompt else prompt)
    return questions, solutions


def check_survival(questions: Survival, solutions: Survival, model_field: str) -> None:
    """Refuse a tokenizer that changes more than one in a hundred questions or solutions. Raises BadInput."""
    for name, found in (("teacher solutions", solutions), ("questions", questions)):
        if found.lost * 100 > found.checked * MOST_LOST_PERCENT:
            raise BadInput(
                model_field,
                f"its tokenizer changes {found.lost} of {found.checked} {name}; {found.examples[0]}",
                "Training would use changed text. Use a model whose tokenizer keeps these characters, or "
                "replace them in the data.",
            )
