"""``spec.policy`` and ``spec.sampling``: the model to train, its prompt, and how it is sampled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from misstep.spec.fields import Count, Number, SpecModel
from misstep.spec.models import EngineArgument, ModelRef

_OWN_ARGUMENTS = frozenset(
    ("messages", "add_generation_prompt", "continue_final_message", "tokenize", "tools", "documents", "chat_template",
     "conversation", "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs")
)  # fmt: skip
"""Arguments of a chat template that Misstep sets itself, or that would change more than the text."""


def _is_argument(value: object) -> object:
    if not isinstance(value, bool | int | str):
        raise ValueError("Write true or false, a whole number, or text.")
    return value


# One error for each wrong value, instead of one for each possible type.
TemplateArgument = Annotated[bool | int | str, BeforeValidator(_is_argument)]


class Example(SpecModel):
    """A worked example before the question."""

    question: str
    """The text of the problem, without the template."""
    solution: str
    """Its solution, in the form that the model should write."""


class Prompt(SpecModel):
    """How a question becomes a prompt."""

    preset: Literal["gsm8k-base", "gsm8k-few-shot", "gsm8k-chat", "math-base", "math-few-shot", "math-chat"] | None = (
        None
    )
    """A prompt made for a data set: `base` for base models, `few-shot` with four worked examples before the question,
    `chat` for chat models. It sets style, template and examples, and `spec.sampling.stop`; a field that you give
    replaces the preset's."""
    style: Literal["plain", "chat"] = "plain"
    """`plain` for base models; `chat` puts the text into the user turn of the tokenizer's chat template."""
    template: str = Field(default="{question}\n", max_length=100_000)
    """Text with `{question}` in it."""
    system: str | None = None
    """System turn, for `chat`."""
    examples: list[Example] = Field(default=[], max_length=16)
    """Few-shot examples."""
    template_arguments: dict[str, TemplateArgument] = Field(default={}, max_length=32)
    """Further variables of the chat template, for `chat`: `{enable_thinking: false}` for a model that would think
    first; `{date_string: "26 Jul 2024"}` or `{strftime_now: "2024-07-26"}` for a template that writes the date."""

    @model_validator(mode="after")
    def _has_question(self) -> Prompt:
        if "{question}" not in self.template:
            raise ValueError("template must contain {question}")
        taken = sorted(self.template_arguments.keys() & _OWN_ARGUMENTS)
        if taken:
            raise ValueError(f"templateArguments: Misstep sets {taken[0]} itself")
        return self


class Policy(SpecModel):
    """The language model to train."""

    model: ModelRef
    prompt: Prompt = Prompt()


class Sampling(SpecModel):
    """How the SFT policy is sampled on its training problems."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """The inference engine: `transformers` runs on any machine; `vllm` is made for GPUs and long responses."""
    vllm_args: list[EngineArgument] = Field(default=[], max_length=32)
    """Further arguments of vLLM's engine, with vLLM's names. They enter the stage's key, because some of them change
    results."""
    samples: Count = 16
    """Responses per training problem."""
    temperature: Number = 0.7
    """0 is greedy decoding."""
    top_p: Number = Field(default=1.0, gt=0, le=1)
    """Nucleus: sample from the most likely tokens that make up this much probability."""
    max_new_tokens: Count = 512
    """Token limit of a response; a response that reaches it counts as neither correct nor wrong."""
    stop: list[str] = Field(default=[], max_length=8)
    """Texts that end a response, in addition to the model's end token; by default those of the prompt's preset."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and arithmetic."""
