"""Pairs and credited steps as rows of text that TRL reads: preference rows and rows of stepwise supervision.

TRL tokenises text itself. A prompt is the decoded prompt of the pair, so that prompt and chosen side join to exactly
what the tokens decode to. A beginning-of-text token that the tokenizer adds by itself is left out: TRL has it added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from misstep.generation.text import encode

SEPARATOR = "\n"
"""What TRL's trainer of process reward models writes after each step by default."""


def preference_row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """Return a row with ``prompt``, ``chosen`` and ``rejected``."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def stepwise_row(prompt: str, steps: Sequence[str], pit: int | None) -> dict[str, Any]:
    """Return a row with ``prompt``, ``completions`` and ``labels``.

    The steps before the pit are True: the policy still found a right answer after each. The pit is False, and the row
    ends with it, because credit does not say of later steps whether they are right in themselves. Without a pit all are
    True: this is a right response, which shows by itself that a right answer follows each of its steps.

    Each completion loses one newline at its end: the trainer adds that as its separator.

    Args:
        steps: the texts of all steps.
        pit: from 1.
    """
    kept = list(steps if pit is None else steps[:pit])
    labels = [number != pit for number in range(1, len(kept) + 1)]
    return {"prompt": prompt, "completions": [step.removesuffix(SEPARATOR) for step in kept], "labels": labels}


def refuted(token_ids: Sequence[int], end: int, right: Iterable[Sequence[int]]) -> bool:
    """Return whether a right response begins with a wrong one's tokens through its pit: the pit is none then, because a
    right answer follows it.

    Args:
        token_ids: of the wrong response.
        end: where the pit ends.
        right: token ids of right responses to the problem.
    """
    through = list(token_ids[:end])
    return any(list(ids[:end]) == through for ids in right)


class PromptText:
    """The text of prompts' token ids, as TRL needs it.

    Args:
        tokenizer: the Hugging Face tokenizer that made the ids.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        bos, ids = tokenizer.bos_token_id, tokenizer("a")["input_ids"]
        self._added = bos if bos is not None and ids[:1] == [bos] else None

    def of(self, prompt_ids: Sequence[int]) -> str:
        """Decode a prompt; special tokens, such as those of a chat template, are written out."""
        ids = list(prompt_ids)
        if self._added is not None and ids[:1] == [self._added]:
            ids = ids[1:]
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def same(self, prompt_ids: Sequence[int], text: str, more_ids: Sequence[int], more: str) -> bool:
        """Return whether TRL's tokens of a prompt and the text behind it are the given ids: text that was sampled token
        by token may be tokenised otherwise.

        Args:
            more_ids: of the text behind the prompt, without an end token.
        """
        added = [] if self._added is None or list(prompt_ids[:1]) != [self._added] else [self._added]
        return added + encode(self._tokenizer, text + more) == [*prompt_ids, *more_ids]
