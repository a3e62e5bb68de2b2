"""Tokenise a file's text once, problem and response apart, and check that the tokens decode to the text.

A response that a model sampled has the token ids that were sampled. A text has none. The tokenizer's own ids of it may
differ from what the model would have sampled, and a prefix that ends at a step may end where the model would have had
a token that goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.credit.pieces import TokenPieces
from misstep.credit.steps import StepCutter, Steps
from misstep.generation.text import decode_continuation, shown_difference

if TYPE_CHECKING:
    from misstep.generation.prompts import PromptBuilder
    from misstep.plan.params import CreditParams, PromptParams
    from misstep.standalone.rows import Given

CHANGED, TOO_LONG = "changed-by-tokenizer", "too-long"
QUESTION_CHANGED = "question-changed-by-tokenizer"


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one response, and its steps; or why it cannot be credited."""

    token_ids: tuple[int, ...] = ()
    """Its end token included."""
    text: str = ""
    steps: Steps = field(default_factory=lambda: Steps((), ()))
    given: tuple[int, ...] | None = None
    """For each given step the number of the step that it is in, from 1."""
    problem: str | None = None
    """The reason."""
    difference: str = ""
    """For changed text, the first place that differs."""


class Encoder:
    """Tokenises for one model.

    Args:
        builder: the model's prompts.
        ends: the tokens at which its sampling stops.
        context: tokens of prompt and response that it supports.
        credit: the settings of credit.
    """

    def __init__(self, builder: PromptBuilder, ends: frozenset[int], context: int, credit: CreditParams) -> None:
        self._builder, self._context = builder, context
        self.ends = ends
        self._most = credit.decoding.max_new_tokens
        stop = credit.decoding.stop
        self._cutter = StepCutter(TokenPieces(builder.tokenizer, ends), credit.step_rule, credit.max_steps, stop)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._builder.tokenizer

    def prompt(self, question: str) -> tuple[tuple[int, ...], str]:
        """Return a problem's prompt, and how it differs from the text if it does; empty if it does not."""
        ids = self._builder.prompt_ids(question)
        became = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return tuple(ids), "" if question in became else f"{question[:60]!r} is not in {became[-120:]!r}"

    def response(self, given: Given, prompt_ids: tuple[int, ...]) -> Encoded:
        """Tokenise a response and cut it into steps."""
        space = self._builder.space
        added = "" if given.text.startswith(space) else space
        text = added + given.text
        ids = tuple(self._builder.continuation_ids(text))
        became = decode_continuation(self.tokenizer, ids[:-1])
        if became != text:
            return Encoded(problem=CHANGED, difference=shown_difference(text, became))
        if len(ids) > self._most or len(prompt_ids) + len(ids) >= self._context:
            return Encoded(problem=TOO_LONG)
        if given.step_ends is None:
            return Encoded(ids, text, self._cutter.cut(ids))
        steps, numbers = self._cutter.cut_at(ids, [end + len(added) for end in given.step_ends])
        return Encoded(ids, text, steps, numbers)


def open_encoder(folder: Path, prompt: PromptParams | None, credit: CreditParams) -> tuple[Encoder, PromptParams]:
    """Load the tokenizer of a model folder; no weights are read.

    Args:
        prompt: None takes the usual prompt of such a model.

    Returns:
        The encoder, and the prompt that it uses.

    Raises:
        BadInput: the model's tokenizer or chat template cannot be used, or its samples would not end.
    """
    from misstep.generation.ends import end_ids
    from misstep.generation.loading import (
        check_end_token,
        context_length_of,
        load_config,
        load_generation_config,
    )
    from misstep.generation.prompts import PromptBuilder, check_taught_end, usual_prompt
    from misstep.generation.tokenizers import load_tokenizer

    config, tokenizer = load_config(folder), load_tokenizer(folder)
    check_end_token(tokenizer)
    ends = end_ids(tokenizer, load_generation_config(folder))
    params = prompt or usual_prompt(tokenizer)
    builder = PromptBuilder(tokenizer, params, ends)
    check_taught_end(builder, ends)
    return Encoder(builder, ends, context_length_of(config, tokenizer), credit), params
