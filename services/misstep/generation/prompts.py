"""From a question to prompt token ids, and from a solution to response token ids, as the model would see them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from misstep.errors import BadInput
from misstep.plan.params import PromptParams

QUESTION = "{question}"


class PromptBuilder:
    """Builds prompts for one tokenizer.

    ``plain`` puts the question into the template, after worked examples if there are any; ``chat`` makes it the user's
    turn of the tokenizer's chat template. A beginning-of-sequence token stands once where the tokenizer wants one.

    Args:
        tokenizer: a Hugging Face tokenizer.

    Raises:
        BadInput: style ``chat`` without a chat template, or a tokenizer without an end token.
    """

    def __init__(self, tokenizer: Any, params: PromptParams) -> None:
        self.tokenizer, self.params = tokenizer, params
        if params.style == "chat" and not tokenizer.chat_template:
            raise BadInput(
                "spec.policy.prompt.style",
                "chat",
                "The model's tokenizer has no chat template: write plain, or use a model made for chat.",
            )
        if tokenizer.eos_token_id is None:
            raise BadInput("tokenizer", "no end token", "Use a model whose tokenizer names its eos_token.")

    def prompt_ids(self, question: str) -> list[int]:
        """Return the token ids that stand before a response to this question."""
        if self.params.style == "chat":
            return self._chat(self._turns(question), add_generation_prompt=True)
        return self._beginning + self._encode(self._plain(question))

    def response_ids(self, solution: str) -> list[int]:
        """Return a solution's token ids, as they would be generated after a prompt, with the end token."""
        # Encoded after the prompt's last character: some tokenizers mark the start of a text with a space of its own.
        before = self._plain("")[-1:] if self.params.style == "plain" else "\n"
        head = self._encode(before)
        both = self._encode(before + solution)
        ids = both[len(head) :] if both[: len(head)] == head else self._encode(solution)
        return [*ids, self.end_id]

    @cached_property
    def end_id(self) -> int:
        """The token that ends a response: the end of turn in a chat, else the end of text."""
        end = int(self.tokenizer.eos_token_id)
        if self.params.style == "plain":
            return end
        turns = [{"role": "user", "content": "a"}]
        prompt = self._chat(turns, add_generation_prompt=True)
        whole = self._chat([*turns, {"role": "assistant", "content": "b"}], add_generation_prompt=False)
        special = set(self.tokenizer.all_special_ids)
        return next((i for i in whole[len(prompt) :] if i in special), end)

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
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _chat(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
        encoded = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=True
        )
        return list(encoded["input_ids"])
