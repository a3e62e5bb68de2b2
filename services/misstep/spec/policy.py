"""``spec.policy`` and ``spec.sampling``: the model that learns, how it is asked, and how it answers its problems."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from misstep.spec.fields import Count, Number, SpecModel
from misstep.spec.models import EngineArgument, ModelRef

_OWN_ARGUMENTS = frozenset(
    ("messages", "add_generation_prompt", "continue_final_message", "tokenize", "tools", "documents", "chat_template",
     "conversation", "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs")
)  # fmt: skip
"""What Misstep tells a tokenizer when it renders a chat, or what would change more than the text."""


def _is_argument(value: object) -> object:
    if not isinstance(value, bool | int | str):
        raise ValueError("Write true or false, a whole number, or text.")
    return value


# One complaint for each wrong value, and not one for each type that it could have had.
TemplateArgument = Annotated[bool | int | str, BeforeValidator(_is_argument)]


class Example(SpecModel):
    """A worked example put before the question."""

    question: str
    """The problem, without the template."""
    solution: str
    """Its solution, as the model should write it."""


class Prompt(SpecModel):
    """How a question becomes a prompt."""

    preset: Literal["gsm8k-base", "gsm8k-few-shot", "gsm8k-chat", "math-base", "math-few-shot", "math-chat"] | None = (
        None
    )
    """A prompt made for a data set: `base` for base models, `few-shot` with four worked examples before the question,
    `chat` for chat models. It sets style, template and examples, and `spec.sampling.stop`; each of these that is
    written out replaces the preset's."""
    style: Literal["plain", "chat"] = "plain"
    """`plain` for base models; `chat` puts the text into the user's turn of the tokenizer's chat template."""
    template: str = Field(default="{question}\n", max_length=100_000)
    """Text with `{question}` in it."""
    system: str | None = None
    """System turn, for `chat`."""
    examples: list[Example] = Field(default=[], max_length=16)
    """Few-shot examples."""
    template_arguments: dict[str, TemplateArgument] = Field(default={}, max_length=32)
    """Further variables of the chat template, for `chat`: `{enable_thinking: false}` where a model would think first;
    `{date_string: "26 Jul 2024"}` or `{strftime_now: "2024-07-26"}` where a template writes the day."""

    @model_validator(mode="after")
    def _has_question(self) -> Prompt:
        if "{question}" not in self.template:
            raise ValueError("template must contain {question}")
        taken = sorted(self.template_arguments.keys() & _OWN_ARGUMENTS)
        if taken:
            raise ValueError(f"templateArguments: Misstep sets {taken[0]} itself")
        return self


class Policy(SpecModel):
    """The language model that learns."""

    model: ModelRef
    prompt: Prompt = Prompt()


class Sampling(SpecModel):
    """How the SFT policy answers its training problems."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """What continues prompts: `transformers` runs on any machine; `vllm` is made for GPUs and for long responses."""
    vllm_args: list[EngineArgument] = Field(default=[], max_length=32)
    """Further arguments of vLLM's engine, by its own names. They enter the stage's key: some of them change results."""
    samples: Count = 16
    """Responses per training problem."""
    temperature: Number = 0.7
    """0 is greedy decoding."""
    top_p: Number = Field(default=1.0, gt=0, le=1)
    """Nucleus: sample from the most likely tokens that make up this much probability."""
    max_new_tokens: Count = 512
    """Token limit of a response; what it cuts off counts as neither correct nor wrong."""
    stop: list[str] = Field(default=[], max_length=8)
    """Texts that end a response, beside the model's end token; by default those of the prompt's preset."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and arithmetic."""
