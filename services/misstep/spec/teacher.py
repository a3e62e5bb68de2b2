"""``spec.teacher``: who writes the solutions to imitate, and new problems where there are too few."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from misstep.spec.fields import Count, Name, Number, Percent, SpecModel
from misstep.spec.models import EngineArgument, ModelRef


class TeacherBudget(SpecModel):
    """What a teacher may spend in all. A seed problem is started only if its requests fit the rest of the budget in the
    worst case; seeds that are left out are counted. Answers kept from an earlier run count the same as when they were
    paid for."""

    max_tokens: int | None = Field(default=None, ge=1, le=10**15)
    """Tokens read and written, at most."""
    max_cost: Number | None = Field(default=None, gt=0)
    """Money to spend, at most, in the currency of the prices; needs both prices."""
    price_per_million_input: Number | None = None
    """Price of a million tokens that the teacher reads. With both prices the report says what the teacher cost."""
    price_per_million_output: Number | None = None
    """Price of a million tokens that the teacher writes."""

    @model_validator(mode="after")
    def _priced(self) -> TeacherBudget:
        prices = (self.price_per_million_input, self.price_per_million_output)
        if (prices[0] is None) != (prices[1] is None):
            raise ValueError("pricePerMillionInput and pricePerMillionOutput belong together: give both or neither")
        if self.max_cost is not None and (prices[0] is None or not any(prices)):
            raise ValueError("maxCost needs pricePerMillionInput and pricePerMillionOutput, one of them above zero")
        return self


class TeacherEndpoint(SpecModel):
    """A server with the OpenAI API (chat completions): of a provider, or of vLLM, llama.cpp or Ollama."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=500)
    """Base address, for example `https://api.openai.com/v1`. It enters no key: the same model may move to another
    address."""
    model: str = Field(min_length=1, max_length=200)
    """The model's name at that server."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """Environment variable that holds the API key; in a cluster `spec.secrets` fills it. By default no key is sent."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Requests in flight at the same time, over all shards."""
    requests_per_minute: Count | None = None
    """Requests sent in a minute, at most, over all shards."""
    tokens_per_minute: Count | None = None
    """Tokens in a minute, at most, over all shards; a request counts as its prompt plus its whole token limit."""
    timeout_seconds: int = Field(default=300, ge=1, le=3600)
    """The longest time that one request may take, its answer included."""
    budget: TeacherBudget = TeacherBudget()

    @model_validator(mode="after")
    def _base_address(self) -> TeacherEndpoint:
        if self.url.rstrip("/").endswith("/completions"):
            raise ValueError("url is the base address: leave out /chat/completions")
        return self


class TeacherModelRef(ModelRef):
    """The teacher's Hugging Face model with its tokenizer, which needs a chat template."""

    name: Name = "teacher"
    """What `--model NAME=DIR` calls it; it must differ from the name of the policy's model."""


class TeacherModel(SpecModel):
    """A language model that runs here, in the engine that also samples."""

    model: TeacherModelRef
    engine: Literal["transformers", "vllm"] = "transformers"
    """As in `spec.sampling`."""
    vllm_args: list[EngineArgument] = Field(default=[], max_length=32)
    """As in `spec.sampling`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and arithmetic."""


class Teacher(SpecModel):
    """Who writes the solutions to imitate. All fields except `kind` are for teachers that write new solutions."""

    kind: Literal["dataset", "endpoint", "model"] = "dataset"
    """`dataset`: the solutions that come with the training problems. `endpoint` and `model`: a language model takes
    the training problems as seeds. Solutions that do not reach the problem's final answer are never trained on."""
    endpoint: TeacherEndpoint | None = None
    """For kind `endpoint`: the server."""
    model: TeacherModel | None = None
    """For kind `model`: the model."""
    new_problems_per_seed: int = Field(default=1, ge=0, le=1000)
    """New problems that the teacher writes from each seed problem. With 0 it only solves the seeds themselves, and the
    seeds' own final answers decide which solutions count."""
    solutions: int = Field(default=4, ge=1, le=64)
    """Step-by-step solutions of each problem."""
    min_agreement_percent: Percent = 60
    """A new problem is kept if at least this many of its solutions reach the same final answer, and no other answer is
    reached as often. That answer becomes its gold answer."""
    near_duplicate_percent: int = Field(default=70, ge=1, le=100)
    """A new problem is left out if its words match those of a seed, a held-out problem or another new problem by at
    least this much (ROUGE-L)."""
    temperature: Number = 0.7
    """Temperature of everything that the teacher writes; 0 is greedy decoding, which gives one solution."""
    max_new_tokens: Count = 1024
    """Token limit of one answer; an answer that reaches it is not used."""

    @model_validator(mode="after")
    def _consistent(self) -> Teacher:
        for kind in ("endpoint", "model"):
            given = getattr(self, kind) is not None
            if given and self.kind != kind:
                raise ValueError(f"{kind} belongs to kind {kind}, and kind is {self.kind}")
            if not given and self.kind == kind:
                raise ValueError(f"kind {kind} needs {kind}: say which")
        if self.temperature == 0 and self.solutions > 1:
            raise ValueError("at temperature 0 all solutions are the same: set solutions to 1")
        if self.temperature == 0 and self.new_problems_per_seed > 1:
            raise ValueError("at temperature 0 all new problems of a seed are the same: set newProblemsPerSeed to 1")
        return self

    @property
    def writes(self) -> bool:
        """Whether a language model writes the solutions, not the authors of the data set."""
        return self.kind != "dataset"
