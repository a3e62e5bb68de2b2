"""The parameters of each kind of stage, which enter its key.

These types are deliberately apart from the Experiment's: renaming a field that researchers write must not change the
keys of finished work. Everything here is plain data (strings, numbers, tuples) in base units; where data or models come
from is not here (their digests are in ``FrozenStage.externals``).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from misstep.terms.formats import Format
from misstep.terms.layouts import Layout
from misstep.terms.methods import Method
from misstep.terms.pairing import ChosenBy, PairWeight


class Params(BaseModel):
    """Base of all parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    later: ClassVar[frozenset[str]] = frozenset()
    """The parameters that were added after a release. Their default stands for what was done before there were any, and
    where they have it they are left out of the key: finished work keeps its key."""

    @model_serializer(mode="wrap")
    def _as_before_later_parameters(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in dump(self).items() if name not in kept}


AnswerFormatName = Literal["auto", "hash", "boxed"]
StepRuleName = Literal["lines", "sentences"]


class SourceParams(Params):
    """One source of problems; a file source's bytes enter the key by digest, under the role ``source_<split>``."""

    later = frozenset({"skip"})
    format: Format
    columns: dict[str, str] = Field(default_factory=dict)
    """Which column holds ``question``, ``answer``, ``solution``, ``id``, if it differs from the format's name."""
    marks: dict[str, str] = Field(default_factory=dict)
    """Text before (``question_after``, ``answer_after``) or after (``question_before``, ``answer_before``) the wanted
    part of a column."""
    limit: int | None = None
    """Read only this many rows from the start (before any are dropped)."""
    generator_seed: int | None = None
    """For generated problems."""
    skip: int = 0
    """Skip this many of the first rows; ``limit`` still counts them. A search skips the test problems of a file that
    holds those and others."""


class ProblemsParams(Params):
    """Inputs: none. Externals: ``source_train``, ``source_test``, ``source_validation`` where they are files."""

    later = frozenset({"seeds", "validation_needed"})
    train: SourceParams
    test: SourceParams | None
    """None: in a search, which sees no test problems."""
    validation: SourceParams | None
    """None: ``held_out`` problems are taken from the training source, chosen by a hash of their text."""
    held_out: int
    answer_format: AnswerFormatName
    overlap_ngram: int
    """Words per n-gram in the check whether a held-out problem is also in the training set."""
    bad_gold_percent: int
    """The most unparsable gold answers, in percent of a split; more are an error."""
    verifier: str
    seeds: bool = False
    """The training problems are seeds for a teacher, so they need no solutions of their own."""
    validation_needed: int = 0
    """In a search: the fewest validation problems; fewer are refused before anything is trained."""


TOKENIZATION = "file-first/1"
"""``misstep.generation.tokenizers``: if a tokenizer's class reads its file differently, the file is right."""


INSPECTION = "1"
"""Version of ``misstep.inspection``'s checks."""


class PromptParams(Params):
    """How a question becomes token ids."""

    style: Literal["plain", "chat"]
    template: str
    """Holds ``{question}``; for ``chat`` it is the user's turn."""
    system: str | None = None
    examples: tuple[tuple[str, str], ...] = ()
    """(question, solution) pairs put before the question, for base models."""
    template_arguments: dict[str, bool | int | str] = Field(default_factory=dict)
    """Further variables of the chat template."""
    tokenization: str = TOKENIZATION
    """The version of the rule for reading a model folder's tokenizer: another reading of the file is another stage."""


class DecodingParams(Params):
    """How tokens are sampled."""

    engine: Literal["transformers", "vllm"]
    engine_args: tuple[tuple[str, str], ...] = ()
    """(name, JSON or text) of further arguments of vLLM's engine, sorted by name."""
    dtype: Literal["float32", "bfloat16"]
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    """Strings that end a response, in addition to the model's end tokens."""


class InspectParams(Params):
    """Inputs: ``problems`` for the policy, because its tokenizer must reproduce their solutions; none for a teacher.
    Externals: ``model``."""

    prompt: PromptParams | None
    """The policy's prompt; None for a teacher, which has its own prompts. Settings of sampling or credit are not here:
    training waits for this stage, and must not run again when they change."""
    rule: str = INSPECTION
    """The version of the checks: a model that passed an older version is checked again."""


class TeacherBudgetParams(Params):
    """The budget of all seeds together. Each block gets a share by its number of seeds."""

    max_tokens: int | None
    """Tokens read and written."""
    max_cost: float | None
    """In the currency of the prices."""
    price_input: float | None
    """Price of a million tokens read; None if prices are not known."""
    price_output: float | None
    """Price of a million tokens written."""


class SynthesizeParams(Params):
    """Inputs: ``seeds``, a problems table. Externals: ``model_teacher`` where the teacher runs here.

    How to reach an endpoint is in ``FrozenStage.endpoint`` and enters no key.
    """

    endpoint_model: str | None
    """The model's name at the endpoint; None for a model that runs here."""
    new_per_seed: int
    """New problems from each seed; 0: the seeds themselves are solved."""
    solutions: int
    min_agreement_percent: int
    decoding: DecodingParams
    """For an endpoint, only ``temperature`` and ``max_new_tokens`` are used."""
    answer_style: Literal["hash", "boxed"]
    """How a solution states its final answer."""
    answer_format: AnswerFormatName
    """How the policy's answers will be read: solutions to imitate must be correct under it."""
    timeout_seconds: float
    """Time limit of one comparison of answers."""
    budget: TeacherBudgetParams
    seed: int
    verifier: str


class CurateParams(Params):
    """Inputs: ``seeds``, ``drafts``."""

    new_problems: bool
    """False: the drafts are the seeds themselves with new solutions, so the check for near-duplicates is skipped."""
    near_duplicate_percent: int
    overlap_ngram: int
    answer_format: AnswerFormatName


class SubsetParams(Params):
    """The D training problems of one grid point: the first ``size`` of a permutation that ``seed`` fixes, so that
    D problems are a prefix of 2D."""

    size: int
    seed: int


class SampleParams(Params):
    """Inputs: ``problems``; ``policy``, or ``model`` for a model that is tested (or external ``model``)."""

    later = frozenset({"skip"})
    split: Literal["train", "validation", "test"]
    """``validation``: in a search."""
    subset: SubsetParams | None
    """For ``train``; None means the whole split."""
    limit: int | None = None
    """For ``validation`` and ``test``: use only this many problems."""
    skip: int = 0
    """For ``validation``: first skip this many problems, which chose checkpoints."""
    samples: int
    seed: int
    prompt: PromptParams
    decoding: DecodingParams


class VerifyParams(Params):
    """Inputs: ``problems``, ``samples``."""

    answer_format: AnswerFormatName
    timeout_seconds: float
    verifier: str


FEW_STEPS = 10
"""Fewer optimiser steps hardly change a model: the training log and the report then warn."""
MANY_DROPPED = 0.01
"""They also warn of a larger share of dropped rows."""


class OptimiserParams(Params):
    """One training run. ``batch_size`` is rows (pairs for DPO) per optimiser step over all processes."""

    learning_rate: float
    epochs: int
    batch_size: int
    micro_batch_size: int
    schedule: Literal["constant", "linear", "cosine"]
    warmup_percent: int
    weight_decay: float
    max_grad_norm: float
    max_length: int
    dtype: Literal["float32", "bfloat16"]
    lora_rank: int | None
    seed: int


class SelectionParams(Params):
    """Choice of the checkpoint by sampled accuracy on validation problems, one sample per problem."""

    epochs: tuple[int, ...]
    """Score after these epochs; the last epoch is always scored."""
    patience: int | None
    """Stop after this many scorings in a row without a better accuracy; None trains to the end."""
    problems: int
    decoding: DecodingParams
    answer_format: AnswerFormatName
    seed: int


class PolicyParams(Params):
    """Choice of the policy (the checkpoint that is sampled, credited, and from which DPO starts) among the scored ones.

    Each scored checkpoint also answers its own training problems, in the same way as in ``SelectionParams``.
    """

    max_gap_points: int
    """The most percentage points by which a checkpoint's accuracy on its own training problems may exceed that on
    validation problems; among those within the limit, the one with the best validation accuracy is taken."""
    epoch: int | None
    """Take the checkpoint of this epoch instead."""


class SftParams(Params):
    """Inputs: ``problems``; external ``model``."""

    subset: SubsetParams
    prompt: PromptParams
    optimiser: OptimiserParams
    selection: SelectionParams
    policy: PolicyParams | None = None
    """None: the policy is the checkpoint that represents the arm itself."""

    @property
    def scorings(self) -> SelectionParams:
        """``selection``, with the epoch that ``policy`` names added to the scored epochs."""
        if self.policy is None or self.policy.epoch is None:
            return self.selection
        return self.selection.model_copy(update={"epochs": (*self.selection.epochs, self.policy.epoch)})


class PositivesParams(Params):
    """Which correct self-generated solutions RFT trains on."""

    later = frozenset({"filter"})
    per_problem: int
    min_distance_percent: int
    """A solution is kept only if its normalised edit distance to every kept one is above this."""
    with_teacher: bool
    filter: Literal["none", "advantage"] = "none"
    """``advantage``: without those in which credit found a step that luck saved."""


class RftParams(SftParams):
    """Inputs: ``problems``, ``samples``, ``verdicts``, and ``credit`` where it filters; external ``model``."""

    positives: PositivesParams


class CreditParams(Params):
    """Inputs: ``problems``, ``samples``, ``verdicts``, ``policy``."""

    estimator: Literal["adaptive", "full-scan", "sequential", "bisection"]
    rollouts: int
    """Per prefix: exactly for ``full-scan``, at most for the others."""
    target_error: float | None = None
    """For ``adaptive``: a pit is searched until another step is the pit with at most this probability."""
    budget: int | None = None
    """For ``adaptive``: rollouts per negative, at most."""
    budget_tokens: int | None = None
    """For ``adaptive``: generated tokens per negative, at most."""
    best_of: int
    """K of the best-of-K prover; 1 is the policy itself."""
    negatives_per_problem: int
    max_negatives: int | None
    positives_per_problem: int = 0
    """Correct responses credited by full scans, at most."""
    audit_percent: int = 0
    """Share of the negatives that are also fully scanned with fresh rollouts."""
    oracle: str | None = None
    """The format of problems that know the true first error (``misstep.problems.oracles``)."""
    max_steps: int
    step_rule: StepRuleName
    answer_format: AnswerFormatName
    timeout_seconds: float
    decoding: DecodingParams
    seed: int


class PairsParams(Params):
    """Inputs: ``problems``, ``samples``, ``verdicts``, ``policy`` and, for layouts that use credit, ``credit``."""

    later = frozenset({"oracle", "per_negative", "chosen", "weight", "decoding", "prompt"})
    layout: Layout
    per_problem: int
    max_pairs: int | None
    seed: int
    oracle: str | None = None
    """For ``oracle-pit``: the format of the problems, which names their oracle (``misstep.problems.oracles``)."""
    per_negative: int = 1
    """Pairs of one wrong response, at most."""
    chosen: ChosenBy = "random"
    weight: PairWeight = "none"
    decoding: DecodingParams | None = None
    """The engine that scores chosen sides; None where they are not chosen by their likelihood."""
    prompt: PromptParams | None = None
    """For ``teacher``: how the policy is asked, which says how a solution is tokenised."""


class DpoParams(Params):
    """Inputs: ``pairs``, ``policy``, ``problems`` (for the validation score)."""

    optimiser: OptimiserParams
    beta: float
    nll_weight: float
    """Weight of the added negative log-likelihood of the chosen side (arXiv 2404.19733); 0 leaves it out."""
    prompt: PromptParams
    selection: SelectionParams | None
    """None keeps the last step's weights; else as in SFT. The starting model is never a candidate."""


class ScoreParams(Params):
    """Inputs: ``problems``, ``samples``, ``verdicts``."""

    pass_at: tuple[int, ...]


class GridPoint(Params):
    """One cell of the grid arms x sizes x seeds."""

    arm: str
    method: Method
    layout: str | None
    size: int
    seed: int
    from_arm: str | None = None
    """The arm from whose model it starts, if that is not the SFT policy."""


class ReportParams(Params):
    """Inputs, per grid point i: ``score_i`` and ``model_i``; ``pairs_i`` if it has pairs, ``credit_i`` if it has
    credit, ``samples_i``/``verdicts_i`` if it learns from samples, and ``policy_i``, the run that made its policy; and
    ``problems`` once."""

    title: str
    grid: tuple[GridPoint, ...]
    bootstrap: int
    bootstrap_seed: int
    examples: int
