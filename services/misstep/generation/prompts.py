"""Convert a question to prompt token ids, and a solution to response token ids."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

from misstep.errors import BadInput
from misstep.generation.chat import ChatTemplate, Layout, Message
from misstep.generation.ends import special_ids
from misstep.generation.literal import LiteralText
from misstep.generation.text import encode
from misstep.plan.params import PromptParams

QUESTION = "{question}"
_ANY = "What is 60418 + 27359?"
"""A placeholder question, for cases where only the text after it matters."""
_HARD = (
    'What is x, if 60418 < x & x > "27359"?\n\n  1. It\'s $\\frac{1}{2}$ of {{ x }} <b>.\n'
    + "Of that a part. " * 40
    + "So?"
)
"""A question that a chat template changes if it trims, escapes or reformats anything."""


class PromptBuilder:
    """Builds prompts for one tokenizer.

    ``plain`` puts the question into the template, after worked examples if there are any; ``chat`` makes it the user
    turn of the tokenizer's chat template. There is one beginning-of-sequence token if the tokenizer uses one.

    A question is encoded as text, even if it contains the spelling of a special token or of one that the chat template
    writes. So is a response, with two exceptions: end tokens, since training drops a row with one inside, and tokens of
    the template that are not marked special, since a model may write a think block.

    Args:
        tokenizer: a Hugging Face tokenizer.
        ends: the tokens at which sampling stops (``ends.end_ids``), in addition to the special ones.

    Raises:
        BadInput: style ``chat`` with a chat template that cannot be used (``chat.ChatTemplate``), style ``plain`` with
            fields that only a chat template uses, a prompt template without its placeholder, or a tokenizer without an
            end token.
    """

    def __init__(self, tokenizer: Any, params: PromptParams, ends: Collection[int] = ()) -> None:
        self.tokenizer, self.params = tokenizer, params
        self._ends = frozenset(ends)
        if QUESTION not in params.template:
            raise BadInput(
                "spec.policy.prompt.template", params.template, f"Write {QUESTION} at the place of the question."
            )
        if tokenizer.eos_token_id is None:
            raise BadInput("tokenizer", "no end token", "Use a model whose tokenizer names its eos_token.")
        if params.style == "plain" and (params.system is not None or params.template_arguments):
            name = "system" if params.system is not None else "templateArguments"
            raise BadInput(
                f"spec.policy.prompt.{name}",
                params.system or params.template_arguments,
                "Only a chat template uses it: write style: chat, or leave it out.",
            )
        self._chat: ChatTemplate | None = None
        self._layout = Layout(prompt_block="", space="", end_id=None)
        if params.style == "chat":
            self._chat = ChatTemplate(tokenizer, params.template_arguments, frozenset(ends))
            self._layout = self._chat.layout(self._turns(_HARD))

    def prompt_text(self, question: str) -> str:
        """Return the text before a response to this question, as rendered by the template."""
        if self._chat is None:
            return self._plain(question)
        return self._chat.text(self._turns(question), answer_follows=True) + self._layout.prompt_block

    def prompt_ids(self, question: str) -> list[int]:
        """Return the token ids of the prompt for this question."""
        if self._literal.concerns(question):
            text = self._literal.respell(self.prompt_text(self._literal.hide(question)))
            ids = encode(self._literal.tokenizer, self._literal.show(text))
        else:
            ids = encode(self.tokenizer, self.prompt_text(question))
        return ids if self._chat is not None or ids[:1] == self._beginning else self._beginning + ids

    def response_ids(self, solution: str) -> list[int]:
        """Return a solution's token ids, as a model would generate them after a prompt, with the end token."""
        return self.continuation_ids(self._layout.space + solution)

    def continuation_ids(self, text: str) -> list[int]:
        """Return the token ids of a text that a model wrote after a prompt, with the end token: like ``response_ids``,
        but without adding the space that a chat template puts before an answer, because the model wrote it itself."""
        literal, meant = self._literal, self._own_tokens
        if literal.concerns(text, but=meant):
            shown = literal.show(literal.respell(literal.hide(text, but=meant)))
            return [*_behind(literal.tokenizer, literal.respell(self._before), shown), self.end_id]
        return [*_behind(self.tokenizer, self._before, text), self.end_id]

    @property
    def end_id(self) -> int:
        """The token that ends a response: the end of turn in a chat, else the end of text."""
        end_of_turn = self._layout.end_id
        return int(self.tokenizer.eos_token_id) if end_of_turn is None else end_of_turn

    @property
    def space(self) -> str:
        """White space before a solution in ``response_ids``."""
        return self._layout.space

    @property
    def prompt_block(self) -> str:
        """Text that a chat template writes before an answer and that belongs to the prompt, such as an empty think
        block."""
        return self._layout.prompt_block

    @cached_property
    def _before(self) -> str:
        return self.prompt_text(_ANY)

    @cached_property
    def _literal(self) -> LiteralText:
        return LiteralText(self.tokenizer, self._own_tokens)

    @cached_property
    def _own_tokens(self) -> frozenset[int]:
        """The end tokens, and tokens of the chat template that are not marked special, such as ``<think>``."""
        written = encode(self.tokenizer, self._before) if self._chat is not None else []
        return self._ends | {self.end_id} | (frozenset(written) - special_ids(self.tokenizer))

    @cached_property
    def _beginning(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        ids = self.tokenizer("a")["input_ids"]
        return [bos] if bos is not None and ids and ids[0] == bos else []

    def _turns(self, question: str) -> list[Message]:
        turns: list[Message] = []
        if self.params.system is not None:
            turns.append({"role": "system", "content": self.params.system})
        for asked, solution in self.params.examples:
            turns += [{"role": "user", "content": self._fill(asked)}, {"role": "assistant", "content": solution}]
        return [*turns, {"role": "user", "content": self._fill(question)}]

    def _plain(self, question: str) -> str:
        shown = [f"{self._fill(asked)}{solution}\n\n" for asked, solution in self.params.examples]
        return "".join(shown) + self._fill(question)

    def _fill(self, question: str) -> str:
        # Not str.format: problems are full of braces.
        return self.params.template.replace(QUESTION, question)


def _behind(tokenizer: Any, before: str, text: str) -> list[int]:
    """Encode a text that follows another. If a token would cross the boundary between them, the text is encoded after a
    newline instead, or alone if that does not help.

    Some tokenizers add a space at the start of a text, which a response must not have.
    """
    if tokenizer.is_fast:
        for other in (before, "\n"):
            encoded = tokenizer(other + text, add_special_tokens=False, return_offsets_mapping=True)
            ids, spans = list(encoded["input_ids"]), encoded["offset_mapping"]
            first = next((i for i, (_, end) in enumerate(spans) if end > len(other)), len(ids))
            crosses = first < len(ids) and spans[first][0] < len(other)
            if not crosses and ids[:first] == encode(tokenizer, other):
                return ids[first:]
    return encode(tokenizer, text)


def usual_prompt(tokenizer: Any) -> PromptParams:
    """Return the usual prompt of a model: its chat template if it has one, else the question and a newline."""
    if tokenizer.chat_template:
        return PromptParams(style="chat", template=QUESTION)
    return PromptParams(style="plain", template=f"{QUESTION}\n")


def check_taught_end(builder: PromptBuilder, ends: Collection[int]) -> None:
    """Refuse a prompt whose training responses end with a token at which sampling does not stop.

    Raises:
        BadInput: this is the case.
    """
    if builder.end_id not in ends:
        token = builder.tokenizer.convert_ids_to_tokens(builder.end_id)
        raise BadInput(
            "spec.policy.prompt",
            f"responses end with {token!r}",
            "Sampling does not stop there: add its id to eos_token_id in the model's generation_config.json.",
        )
