"""A tokenizer's chat template: the text that it adds around messages, and checks whether it can be used.

The template is rendered once with marked messages, before anything is computed. The result decides whether sampling and
training see the same text.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misstep.errors import BadInput
from misstep.generation.ends import first_end, special_ids

Message = Mapping[str, str]
DATE = "strftime_now"
"""The function with which templates get the date; a declared argument of this name fixes it (YYYY-MM-DD)."""
_ANSWER = "misstep answers here"
_OTHER_ANSWER = (
    "42 is another answer:\n  6 * 7 = <<6*7=42>>42, \"so\" $40 < x & x > 'a'$\n\n#### \\frac{84}{2} {{ 42 }}"
)
_AGAIN = 12
"""How often a template is rendered to detect randomness: a coin shows the same side each time with probability
1/4,096."""
_MOMENTS = (datetime.datetime(2001, 2, 3, 4, 5, 6), datetime.datetime(2049, 11, 30, 17, 28, 39))
"""The dates differ in every part, including the day of the week; one is in the past, one in the future."""
_THINKING = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reason|scratchpad)"
_OPENS = re.compile(
    rf"<\|?{_THINKING}\|?>|\[{_THINKING}\]|◁think▷|<\|?(?:begin|start)(?:_of)?_{_THINKING}\|?>", re.IGNORECASE
)
_CLOSES = re.compile(
    rf"</\|?{_THINKING}\|?>|<\|/{_THINKING}\|>|\[/{_THINKING}\]|◁/think▷|<\|?end(?:_of)?_{_THINKING}\|?>", re.IGNORECASE
)
_HOW_TO_AVOID_THINKING = (
    "Misstep credits steps of the answer, and a think block that the prompt opens would be sampled but "
    "never trained. "
    "If the template has an argument for it, declare it: templateArguments: {enable_thinking: false}; "
    "otherwise use a "
    "model that answers at once, or style plain"
)


@dataclass(frozen=True)
class Layout:
    """The text that a chat template adds around an answer."""

    prompt_block: str
    """Text between the generation prompt and an answer, if it is more than white space, such as an empty think block.
    It is part of the prompt."""
    space: str
    """White space between the prompt and an answer. It is part of the response."""
    end_id: int | None
    """The end token directly after an answer; None if the template writes nothing there."""


class ChatTemplate:
    """The chat template of a tokenizer with the arguments that an Experiment declares.

    Args:
        tokenizer: a Hugging Face tokenizer.
        arguments: further variables of the template, such as ``enable_thinking``.
        ends: token ids that end a response, in addition to the tokenizer's special ones.
        field: the field that errors name.

    Raises:
        BadInput: there is no chat template, or a declared date is not a date.
    """

    def __init__(
        self,
        tokenizer: Any,
        arguments: Mapping[str, Any] | None = None,
        ends: frozenset[int] = frozenset(),
        field: str = "spec.policy.prompt",
    ) -> None:
        self._field = field
        if not tokenizer.chat_template:
            raise BadInput(
                f"{field}.style",
                "chat",
                "The model's tokenizer has no chat template: write plain, or use a model made for chat.",
            )
        self._tokenizer, self._ends = tokenizer, ends
        self._arguments = dict(arguments or {})
        if DATE in self._arguments:
            self._arguments[DATE] = _clock(_date(field, self._arguments[DATE]))

    def text(self, messages: Sequence[Message], *, answer_follows: bool, **more: Any) -> str:
        """Render messages; ``answer_follows`` adds the text before an answer.

        The template writes special tokens as text, including the beginning-of-sequence token.

        Raises:
            BadInput: the template fails, for whatever reason.
        """
        try:
            rendered = self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=answer_follows, tokenize=False, **(self._arguments | more)
            )
        # A template is a program by the model's author: it may raise anything.
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            roles = ", ".join(message["role"] for message in messages)
            raise BadInput(
                self._field,
                f"messages {roles}",
                f"The model's chat template refuses these turns: {reason} ({type(error).__name__}). Leave out what it "
                "does not take (system, examples), or correct templateArguments.",
            ) from error
        if not isinstance(rendered, str) or not rendered:
            raise BadInput(self._field, "chat", "The model's chat template writes nothing for these turns.")
        return rendered

    def layout(self, messages: Sequence[Message]) -> Layout:
        """Check the template with these messages, of which the last is the question, and return the text that it adds
        around an answer.

        Raises:
            BadInput: the text depends on the date or on chance; a message is missing or misplaced; no answer can
                follow; a think block is left open; the text after an answer does not end it.
        """
        prompt = self.text(messages, answer_follows=True)
        self._same_each_time(messages, prompt)
        _all_there(self._field, messages, prompt)
        before, behind = self._around(messages, prompt, _ANSWER)
        if before.strip() and self.text(messages, answer_follows=False) == prompt:
            raise BadInput(
                self._field,
                "chat",
                "The chat template ignores add_generation_prompt: a model would have to write the start of its own "
                f"turn, {before!r}. Use style plain, or a tokenizer whose template has it.",
            )
        again, _ = self._around(messages, prompt, _OTHER_ANSWER)
        if again != before:
            raise BadInput(
                self._field,
                f"{before!r} before one answer, {again!r} before another",
                "The chat template writes text between prompt and answer that depends on the answer, so it cannot be "
                "part of the prompt. Use style plain, or a model with another template.",
            )
        block, space = ("", before) if not before.strip() else (before, "")
        _no_open_thought(self._field, prompt + block, messages)
        return Layout(block, space, self._end(behind))

    def _same_each_time(self, messages: Sequence[Message], prompt: str) -> None:
        if any(self.text(messages, answer_follows=True) != prompt for _ in range(_AGAIN)):
            raise BadInput(
                self._field,
                "chat",
                "The chat template writes a different text each time. Use style plain, or a model with another "
                "template.",
            )
        if DATE not in self._arguments:
            texts = [self.text(messages, answer_follows=True, **{DATE: _clock(moment)}) for moment in _MOMENTS]
            if texts[0] != texts[1]:
                at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
                line = prompt[prompt.rfind("\n", 0, at) + 1 :].partition("\n")[0]
                raise BadInput(
                    f"{self._field}.templateArguments",
                    repr(line),
                    "The chat template writes the date into the prompt, so a run would differ tomorrow. "
                    f"Fix it: templateArguments: {{{self._date_argument()}}}.",
                )

    def _date_argument(self) -> str:
        """Return the argument that fixes this template's date: one of its own, else its clock function."""
        found = re.search(r"\b(date_string|current_date|today)\b", str(self._tokenizer.chat_template))
        return f'{found[1]}: "26 Jul 2024"' if found else f'{DATE}: "2024-07-26"'

    def _around(self, messages: Sequence[Message], prompt: str, answer: str) -> tuple[str, str]:
        """Return the text that the template writes between the prompt and an answer, and after the answer."""
        whole = self.text([*messages, _answer(answer)], answer_follows=False)
        if not whole.startswith(prompt):
            _no_open_thought(self._field, prompt, messages)
            at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
            near = slice(max(0, at - 40), at + 40)
            raise BadInput(
                self._field,
                f"{prompt[near]!r} before an answer, {whole[near]!r} with one",
                "The chat template's prompt is not the beginning of the conversation, so training would differ from "
                "sampling. Use style plain, or declare the template's argument that makes them the same.",
            )
        before, found, behind = whole[len(prompt) :].partition(answer)
        if not found:
            raise BadInput(
                self._field, "chat", f"The chat template leaves out the answer: it writes {before[:80]!r} instead."
            )
        return before, behind

    def _end(self, behind: str) -> int | None:
        """Return the end token after an answer; None if there is none."""
        if not behind.strip():
            return None
        end = first_end(self._tokenizer, behind, self._ends | special_ids(self._tokenizer))
        if end is not None:
            return end
        raise BadInput(
            self._field,
            f"{behind[:60]!r} after an answer",
            "The chat template's end of a turn is not an end token: it is neither a special token of the "
            "tokenizer nor in "
            "eos_token_id of generation_config.json, so sampling would not stop where training ends. Add its id "
            "there, "
            "or use style plain.",
        )


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _all_there(field: str, messages: Sequence[Message], prompt: str) -> None:
    """Refuse a prompt in which a message is missing or misplaced."""
    names = {"system": "system text", "user": "question", "assistant": "solution of an example"}
    at = 0
    for message in messages:
        content = message["content"].strip()
        found = prompt.find(content, at)
        if found < 0:
            what = "misplaced in" if content in prompt else "not in"
            raise BadInput(
                field,
                f"{content[:80]!r}, the {names.get(message['role'], message['role'])}",
                f"It is {what} the prompt that the chat template writes: {_shown(prompt)!r}. Leave it out, move it "
                "into "
                "the template's question, or use style plain.",
            )
        at = found + len(content)


def _no_open_thought(field: str, prompt: str, messages: Sequence[Message]) -> None:
    """Refuse a template that opens a think block before the answer and does not close it."""
    own = prompt[prompt.rfind(question := messages[-1]["content"].strip()) + len(question) :]
    opened = [match.end() for match in _OPENS.finditer(own)]
    if opened and not _CLOSES.search(own, opened[-1]):
        raise BadInput(
            field,
            repr(own[-60:]),
            f"The chat template opens a think block before the answer and leaves it open. {_HOW_TO_AVOID_THINKING}.",
        )


def _shown(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def _date(field: str, text: Any) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(text))
    except ValueError as error:
        raise BadInput(f"{field}.templateArguments.{DATE}", text, "Write a date as YYYY-MM-DD.") from error


def _clock(day: datetime.date) -> Callable[[str], str]:
    return day.strftime
