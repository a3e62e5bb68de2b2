"""Translate the Experiment's types (``misstep.spec``) into the parameters of stages (``misstep.plan.params``)."""

from __future__ import annotations

from typing import Literal, TypeVar

from misstep.plan import params as p
from misstep.plan.frozen import Endpoint
from misstep.plan.judging import Judging
from misstep.plan.presets import PRESETS
from misstep.spec.arms import Arm
from misstep.spec.experiment import ExperimentSpec
from misstep.spec.fields import SpecModel
from misstep.spec.policy import Prompt
from misstep.spec.problems import Source
from misstep.spec.teacher import TeacherBudget
from misstep.spec.training import DpoTraining, Optimisation, RftTraining, Selection, over
from misstep.terms.formats import GENERATED
from misstep.terms.layouts import FIXED_CHOICE, FROM_ORACLE, TASKS_WITH_ORACLE, TEACHER, WEIGHED
from misstep.terms.pairing import BY_LIKELIHOOD
from misstep.terms.verdict import VERIFIER_VERSION

M = TypeVar("M", bound=SpecModel)


class Translator:
    """Makes the parameters of each stage kind from one Experiment's spec.

    Args:
        judging: for a search: the validation problems that replace the test problems.
    """

    def __init__(self, spec: ExperimentSpec, judging: Judging | None = None) -> None:
        self.spec = spec
        self.judging = judging
        self.prompt = _prompt(spec.policy.prompt)

    def problems(self) -> p.ProblemsParams:
        problems = self.spec.problems
        params = p.ProblemsParams(
            train=source_params(problems.train),
            test=source_params(problems.test_source()),
            validation=source_params(problems.validation) if problems.validation else None,
            held_out=0 if problems.validation else problems.hold_out,
            answer_format=self.spec.verification.answer_format,
            overlap_ngram=problems.overlap_ngram,
            bad_gold_percent=problems.bad_gold_percent,
            verifier=VERIFIER_VERSION,
            seeds=self.spec.teacher.writes,
        )
        return params if self.judging is None else self.judging.problems_params(params)

    def inspect(self) -> p.InspectParams:
        return p.InspectParams(prompt=self.prompt)

    def inspect_teacher(self) -> p.InspectParams:
        return p.InspectParams(prompt=None)

    def synthesize(self) -> p.SynthesizeParams:
        teacher, verification = self.spec.teacher, self.spec.verification
        style: Literal["hash", "boxed"] = "boxed" if self.spec.problems.train.format == "math" else "hash"
        local = teacher.model
        budget = teacher.endpoint.budget if teacher.endpoint else TeacherBudget()
        return p.SynthesizeParams(
            endpoint_model=teacher.endpoint.model if teacher.endpoint else None,
            new_per_seed=teacher.new_problems_per_seed,
            solutions=teacher.solutions,
            min_agreement_percent=teacher.min_agreement_percent,
            decoding=p.DecodingParams(
                engine=local.engine if local else "transformers",
                engine_args=tuple(sorted((a.name, a.value) for a in local.vllm_args)) if local else (),
                dtype=local.dtype if local else "float32",
                temperature=teacher.temperature,
                top_p=1.0,
                max_new_tokens=teacher.max_new_tokens,
            ),
            answer_style=style if verification.answer_format == "auto" else verification.answer_format,
            answer_format=verification.answer_format,
            timeout_seconds=verification.timeout_seconds,
            budget=p.TeacherBudgetParams(
                max_tokens=budget.max_tokens,
                max_cost=budget.max_cost,
                price_input=budget.price_per_million_input,
                price_output=budget.price_per_million_output,
            ),
            seed=0,
            verifier=VERIFIER_VERSION,
        )

    def endpoint(self) -> Endpoint | None:
        """How to reach the teacher's server, if it has one."""
        given = self.spec.teacher.endpoint
        if given is None:
            return None
        return Endpoint(
            url=given.url.rstrip("/"),
            api_key_env=given.api_key_env,
            concurrency=given.concurrency,
            requests_per_minute=given.requests_per_minute,
            tokens_per_minute=given.tokens_per_minute,
            timeout_seconds=given.timeout_seconds,
        )

    def curate(self) -> p.CurateParams:
        teacher = self.spec.teacher
        return p.CurateParams(
            new_problems=teacher.new_problems_per_seed > 0,
            near_duplicate_percent=teacher.near_duplicate_percent,
            overlap_ngram=self.spec.problems.overlap_ngram,
            answer_format=self.spec.verification.answer_format,
        )

    def sample(self, size: int, seed: int) -> p.SampleParams:
        return p.SampleParams(
            split="train",
            subset=p.SubsetParams(size=size, seed=seed),
            samples=self.spec.sampling.samples,
            seed=seed,
            prompt=self.prompt,
            decoding=self.decoding,
        )

    def judged_sample(self, seed: int) -> p.SampleParams:
        """How a model is judged: by test problems, in a search by validation problems."""
        judging = self.judging
        return p.SampleParams(
            split="test" if judging is None else "validation",
            subset=None,
            limit=self.spec.evaluation.limit if judging is None else judging.problems,
            skip=0 if judging is None else judging.skip,
            samples=self.spec.evaluation.samples,
            seed=seed,
            prompt=self.prompt,
            decoding=self.evaluation_decoding,
        )

    @property
    def decoding(self) -> p.DecodingParams:
        sampling = self.spec.sampling
        return p.DecodingParams(
            engine=sampling.engine,
            engine_args=tuple(sorted((a.name, a.value) for a in sampling.vllm_args)),
            dtype=sampling.dtype,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            stop=self._stop(),
        )

    def _stop(self) -> tuple[str, ...]:
        preset = self.spec.policy.prompt.preset
        if preset is None or "stop" in self.spec.sampling.model_fields_set:
            return tuple(self.spec.sampling.stop)
        return PRESETS[preset].stop

    @property
    def evaluation_decoding(self) -> p.DecodingParams:
        evaluation = self.spec.evaluation
        return self.decoding.model_copy(update={"temperature": evaluation.temperature, "top_p": evaluation.top_p})

    def verify(self) -> p.VerifyParams:
        verification = self.spec.verification
        return p.VerifyParams(
            answer_format=verification.answer_format,
            timeout_seconds=verification.timeout_seconds,
            verifier=VERIFIER_VERSION,
        )

    def sft(self, arm: Arm, size: int, seed: int) -> p.SftParams:
        training = _merged(self.spec.training.sft, arm.sft)
        return p.SftParams(
            subset=p.SubsetParams(size=size, seed=seed),
            prompt=self.prompt,
            optimiser=_optimiser(training, seed),
            selection=self._selection(training.selection, seed),
            policy=p.PolicyParams(max_gap_points=training.policy.max_gap_points, epoch=training.policy.epoch),
        )

    def rft(self, arm: Arm, size: int, seed: int) -> p.RftParams:
        training: RftTraining = _merged(self.spec.training.rft, arm.rft)
        return p.RftParams(
            subset=p.SubsetParams(size=size, seed=seed),
            prompt=self.prompt,
            optimiser=_optimiser(training, seed),
            selection=self._selection(training.selection, seed),
            positives=p.PositivesParams(
                per_problem=training.per_problem,
                min_distance_percent=training.min_distance_percent,
                with_teacher=training.with_teacher,
                filter=training.filter,
            ),
        )

    def dpo(self, arm: Arm, seed: int) -> p.DpoParams:
        training: DpoTraining = _merged(self.spec.training.dpo, arm.dpo)
        return p.DpoParams(
            optimiser=_optimiser(training, seed),
            beta=training.beta,
            nll_weight=training.nll_weight,
            prompt=self.prompt,
            selection=self._selection(training.selection, seed) if training.selection else None,
        )

    def _selection(self, selection: Selection, seed: int) -> p.SelectionParams:
        return p.SelectionParams(
            epochs=tuple(selection.epochs),
            patience=selection.patience,
            problems=selection.problems,
            # The model is already in the memory of the training process, where only this engine can use it.
            decoding=self.evaluation_decoding.model_copy(update={"engine": "transformers", "engine_args": ()}),
            answer_format=self.spec.verification.answer_format,
            seed=seed,
        )

    def credit(self, seed: int) -> p.CreditParams:
        credit = self.spec.credit
        adaptive = credit.estimator == "adaptive"  # other estimators' keys do not depend on its settings
        return p.CreditParams(
            estimator=credit.estimator,
            rollouts=credit.rollouts,
            target_error=credit.target_error if adaptive else None,
            budget=credit.budget if adaptive else None,
            budget_tokens=credit.budget_tokens if adaptive else None,
            best_of=credit.best_of,
            negatives_per_problem=credit.negatives_per_problem,
            max_negatives=credit.max_negatives,
            positives_per_problem=credit.positives_per_problem,
            audit_percent=credit.audit_percent,
            oracle=self.spec.problems.train.format if self.spec.problems.train.format in TASKS_WITH_ORACLE else None,
            max_steps=credit.max_steps,
            step_rule=credit.step_rule,
            answer_format=self.spec.verification.answer_format,
            timeout_seconds=self.spec.verification.timeout_seconds,
            decoding=self.decoding,
            seed=seed,
        )

    def pairs(self, arm: Arm, seed: int) -> p.PairsParams:
        assert arm.pairs is not None  # the spec validates this
        pairing = _merged(self.spec.pairs, arm.pairing)
        chosen = "random" if arm.pairs in FIXED_CHOICE else pairing.chosen
        return p.PairsParams(
            layout=arm.pairs,
            per_problem=pairing.per_problem,
            max_pairs=pairing.max_pairs,
            seed=seed,
            oracle=self.spec.problems.train.format if arm.pairs in FROM_ORACLE else None,
            per_negative=pairing.per_negative,
            chosen=chosen,
            weight=pairing.weight if arm.pairs in WEIGHED else "none",
            decoding=self.decoding if chosen in BY_LIKELIHOOD else None,
            prompt=self.prompt if arm.pairs == TEACHER else None,
        )

    def score(self) -> p.ScoreParams:
        return p.ScoreParams(pass_at=tuple(sorted({1, *self.spec.evaluation.pass_at})))

    def report(self, grid: tuple[p.GridPoint, ...]) -> p.ReportParams:
        return p.ReportParams(
            title=self.spec_title,
            grid=grid,
            bootstrap=self.spec.evaluation.bootstrap,
            bootstrap_seed=0,
            examples=self.spec.evaluation.examples,
        )

    @property
    def spec_title(self) -> str:
        """Title of the report: problems and model. Not the experiment's name, which must not enter a key."""
        model = self.spec.policy.model
        return f"{self.spec.problems.train.label} with {model.hub or model.name}"


def _prompt(prompt: Prompt) -> p.PromptParams:
    """The prompt's text: its own fields override those of its preset."""
    own = p.PromptParams(
        style=prompt.style,
        template=prompt.template,
        system=prompt.system,
        examples=tuple((e.question, e.solution) for e in prompt.examples),
        template_arguments=prompt.template_arguments,
    )
    if prompt.preset is None:
        return own
    written = prompt.model_fields_set - {"preset"}
    return PRESETS[prompt.preset].prompt.model_copy(update={name: getattr(own, name) for name in written})


def source_params(source: Source) -> p.SourceParams:
    """One source of problems, with the columns and marks that the spec gives."""
    written = {name: text for name, text in source.columns.model_dump().items() if text}
    marks = {name: text for name, text in written.items() if name.endswith(("_after", "_before"))}
    return p.SourceParams(
        format=source.format,
        columns={name: column for name, column in written.items() if name not in marks},
        marks=marks,
        limit=source.limit,
        generator_seed=source.seed if source.format in GENERATED else None,
    )


def _merged(base: M, own: M | None) -> M:
    """Override the common settings with the arm's own fields, and validate the result."""
    if own is None:
        return base
    return base.__class__.model_validate(over(base, own).model_dump())


def _optimiser(training: Optimisation, seed: int) -> p.OptimiserParams:
    return p.OptimiserParams(
        learning_rate=training.learning_rate,
        epochs=training.epochs,
        batch_size=training.batch_size,
        micro_batch_size=training.micro_batch_size or training.batch_size,
        schedule=training.schedule,
        warmup_percent=training.warmup_percent,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        max_length=training.max_length,
        dtype=training.dtype,
        lora_rank=training.lora_rank,
        seed=seed,
    )
