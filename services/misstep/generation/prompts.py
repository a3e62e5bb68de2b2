"""From a question to prompt token ids, and from a solution to response token ids, as the model would see them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from misstep.errors import BadInput
from misstep.generation.stops import end_of_turn_id
from misstep.plan.params import PromptParams

QUESTION = "{question}"
_ANY = "What is 1 + 1?"
"""Stands for a question where only what comes after it matters."""
_MARK = "misstep solves this"


class PromptBuilder:
    """Builds prompts for one tokenizer.

    ``plain`` puts the question into the template, after worked examples if there are any; ``chat`` makes it the user's
    turn of the tokenizer's chat template. A beginning-of-sequence token stands once where the tokenizer wants one.

    Args:
        tokenizer: a Hugging Face tokenizer.

    Raises:
        BadInput: style ``chat`` without a chat template or with a system turn that the template refuses, a prompt
            template without its placeholder, or a tokenizer without an end token.
    """

    def __init__(self, tokenizer: Any, params: PromptParams) -> None:
        self.tokenizer, self.params = tokenizer, params
        if QUESTION not in params.template:
            raise BadInput("spec.policy.prompt.template", params.template, f"Write {QUESTION} where the question goes.")
        if tokenizer.eos_token_id is None:
            raise BadInput("tokenizer", "no end token", "Use a model whose tokenizer names its eos_token.")
        if params.style == "chat":
            if not tokenizer.chat_template:
                raise BadInput(
                    "spec.policy.prompt.style",
                    "chat",
                    "The model's tokenizer has no chat template: write plain, or use a model made for chat.",
                )
            from jinja2 import TemplateError

            try:
                self._chat_text(self._turns(_ANY), add_generation_prompt=True)
            except TemplateError as error:
                raise BadInput(
                    "spec.policy.prompt", params.style, f"The model's chat template refuses these turns: {error}"
                ) from error

    def prompt_ids(self, question: str) -> list[int]:
        """Return the token ids that stand before a response to this question."""
        if self.params.style == "chat":
            return self._encode(self._chat_text(self._turns(question), add_generation_prompt=True))
        ids = self._encode(self._plain(question))
        return ids if ids[:1] == self._beginning else self._beginning + ids

    def response_ids(self, solution: str) -> list[int]:
        """Return a solution's token ids, as they would be generated after a prompt, with the end token."""
        before, between = self._around
        text = between + solution
        ids = self._behind(before, text)
        return [*(self._encode(text) if ids is None else ids), self.end_id]

    @cached_property
    def end_id(self) -> int:
        """The token that ends a response: the end of turn in a chat, else the end of text."""
        end_of_turn = end_of_turn_id(self.tokenizer) if self.params.style == "chat" else None
        return int(self.tokenizer.eos_token_id) if end_of_turn is None else end_of_turn

    @cached_property
    def _around(self) -> tuple[str, str]:
        """The text before a response, and the space that a chat template puts between that and the response."""
        if self.params.style == "plain":
            return self._plain(_ANY), ""
        turns = self._turns(_ANY)
        prompt = self._chat_text(turns, add_generation_prompt=True)
        answered = self._chat_text([*turns, {"role": "assistant", "content": _MARK}], add_generation_prompt=False)
        between = answered[len(prompt) :].partition(_MARK)[0] if answered.startswith(prompt) else ""
        return prompt, between if between.isspace() else ""

    @cached_property
    def _beginning(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        ids = self.tokenizer("a")["input_ids"]
        return [bos] if bos is not None and ids and ids[0] == bos else []

    def _turns(self, question: str) -> list[dict[str, str]]:
        turns = [{"role": "system", "content": self.params.system}] if self.params.system is not None else []
        for asked, solution in self.params.examples:
            turns += [{"role": "user", "content": self._fill(asked)}, {"role": "assistant", "content": solution}]
        return [*turns, {"role": "user", "content": self._fill(question)}]

    def _plain(self, question: str) -> str:
        shown = [f"{self._fill(asked)}{solution}\n\n" for asked, solution in self.params.examples]
        return "".join(shown) + self._fill(question)

    def _fill(self, question: str) -> str:
        # Not str.format: problems are full of braces.
        return self.params.template.replace(QUESTION, question)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _behind(self, before: str, text: str) -> list[int] | None:
        """Encode a text behind another, or return None where no token begins at the border between them.

        Some tokenizers mark the start of a text with a space of its own, which a response must not have.
        """
        if not self.tokenizer.is_fast:
            return None
        encoded = self.tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans = list(encoded["input_ids"]), encoded["offset_mapping"]
        first = next((i for i, (_, end) in enumerate(spans) if end > len(before)), len(ids))
        crosses = first < len(ids) and spans[first][0] < len(before)
        return None if crosses or ids[:first] != self._encode(before) else ids[first:]

    def _chat_text(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        # Special tokens, that of the beginning included, are written out by the template.
        text: str = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=add_generation_prompt, tokenize=False
        )
        return text
