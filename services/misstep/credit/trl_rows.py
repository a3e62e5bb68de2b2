"""Pairs, credited steps and samples as rows of text that TRL reads: preference, stepwise supervision, and unpaired
preference.

TRL tokenises text itself. A prompt is the decoded prompt of the pair, so that prompt and chosen side join to exactly
what the tokens decode to. A beginning-of-text token that the tokenizer adds by itself is left out: TRL has it added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from misstep.generation.stops import before_stop
from misstep.generation.text import encode

SEPARATOR = "\n"
"""What TRL's trainer of process reward models writes after each step by default."""


def preference_row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """Return a row with ``prompt``, ``chosen`` and ``rejected``."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def step_labels(steps: int, pit: int | None, correct: bool, refuted: bool = False) -> list[bool | None] | None:
    """Label the steps of a response as Math-Shepherd does: does a correct answer follow?

    True before the pit: the policy still found a correct answer after each. False at the pit. None behind it: credit
    does not say of later steps whether they are right in themselves. A correct response without a pit is True
    throughout, because it shows by itself that a correct answer follows each of its steps. A lucky step of a correct
    response counts as its pit: that response itself does not count, because it was picked for its success.

    Args:
        pit: from 1.
        refuted: whether another correct response passes through the pit (`misstep.credit.refuted`), so that it is none.

    Returns:
        One label a step; None where nothing is known of a wrong response.
    """
    if pit is not None and not refuted:
        return [*([True] * (pit - 1)), False, *([None] * (steps - pit))]
    return [True] * steps if correct else None


def stepwise_row(prompt: str, steps: Sequence[str], labels: Sequence[bool | None]) -> dict[str, Any]:
    """Return a row with ``prompt``, ``completions`` and ``labels``, of the steps that have a label.

    Each completion loses one newline at its end: the trainer adds that as its separator.
    """
    known = [(step, label) for step, label in zip(steps, labels, strict=True) if label is not None]
    return {
        "prompt": prompt,
        "completions": [step.removesuffix(SEPARATOR) for step, _ in known],
        "labels": [label for _, label in known],
    }


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


class TrlRows:
    """Makes rows of all kinds. A row comes with whether TRL's tokens of its text are those that were sampled.

    Args:
        tokenizer: the Hugging Face tokenizer that made the ids.
        ends: the tokens at which sampling stops.
        stop: the stop strings; a text ends before the first one.
    """

    def __init__(self, tokenizer: Any, ends: Collection[int], stop: Sequence[str] = ()) -> None:
        self._text, self._ends, self._stop = PromptText(tokenizer), ends, tuple(stop)

    def preference(self, pair: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return the row of a pair, a row of the table ``pairs``, and whether prompt and chosen side keep their
        tokens."""
        prompt = self._text.of(pair["prompt_ids"])
        chosen, rejected = (before_stop(pair[f"{side}_text"], self._stop) for side in ("chosen", "rejected"))
        same = self._text.same(pair["prompt_ids"], prompt, self._body(pair["chosen_ids"]), chosen)
        return preference_row(prompt, chosen, rejected), same

    def stepwise(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], steps: Sequence[str], labels: Sequence[bool | None]
    ) -> tuple[dict[str, Any], bool]:
        """Return the row of a response, and whether prompt and response keep their tokens."""
        prompt = self._text.of(prompt_ids)
        texts = [before_stop(step, self._stop) for step in steps]
        same = self._text.same(prompt_ids, prompt, self._body(token_ids), "".join(texts))
        return stepwise_row(prompt, texts, labels), same

    def unpaired(self, sample: Mapping[str, Any], label: bool) -> tuple[dict[str, Any], bool]:
        """Return the row of a sample, a row of the table ``samples``, and whether prompt and response keep their
        tokens."""
        prompt, text = self._text.of(sample["prompt_ids"]), before_stop(sample["text"], self._stop)
        same = self._text.same(sample["prompt_ids"], prompt, self._body(sample["token_ids"]), text)
        return {"prompt": prompt, "completion": text, "label": label}, same

    def _body(self, token_ids: Sequence[int]) -> list[int]:
        ids = list(token_ids)
        return ids[:-1] if ids and ids[-1] in self._ends else ids
