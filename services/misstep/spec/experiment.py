"""The Experiment, the only resource that researchers write. Validation and documentation are made from its types."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from misstep.spec.arms import DEFAULT_ARMS, Arm, check_starts
from misstep.spec.assumptions import Assumptions
from misstep.spec.cluster import Cluster
from misstep.spec.credit import Credit, Pairs
from misstep.spec.fields import RESOURCE_NAME, Count, Name, Number, SpecModel
from misstep.spec.policy import Policy, Sampling
from misstep.spec.problems import Problems
from misstep.spec.resources import Resources
from misstep.spec.search import Search
from misstep.spec.teacher import Teacher
from misstep.spec.tracking import Tracking
from misstep.spec.training import Optimisation, Training, over
from misstep.store.description import Storage
from misstep.terms.layouts import FROM_ORACLE, LUCKY, TASKS_WITH_ORACLE, WEIGHED
from misstep.terms.methods import METHODS
from misstep.terms.pairing import WITHOUT_SIZES

API_VERSION = "misstep.dev/v1alpha1"
KIND = "Experiment"


class StorageSpec(Storage, SpecModel):
    """Where artifacts live. Credentials come from the environment (or a Secret), never from here."""

    uri: str = Field(default="file://.misstep/store", pattern=r"^(file|s3)://.+", max_length=1024)
    """`file://FOLDER` (a relative folder is relative to the current directory) or `s3://BUCKET/PREFIX`."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://.+")
    """Address of an S3-compatible server; AWS by default."""


class Verification(SpecModel):
    """How the final answer of a response is found and compared with the gold answer."""

    answer_format: Literal["auto", "hash", "boxed"] = "auto"
    """`hash`: a last line `#### ANSWER` (GSM8K); `boxed`: the last \\boxed{ANSWER} (MATH); `auto`: either of these,
    else the last statement that looks like an answer."""
    timeout_seconds: Number = Field(default=2.0, gt=0, le=60)
    """The longest time for checking one answer."""


class Evaluation(SpecModel):
    """How models are compared on the test problems."""

    samples: Count = 4
    """Responses per test problem."""
    temperature: Number = 0.7
    """Sampling temperature; 0 is greedy decoding, which gives one response."""
    top_p: Number = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling, as in `spec.sampling`."""
    limit: Count | None = None
    """Use only this many test problems, from the first."""
    pass_at: list[Count] = Field(default=[1], min_length=1, max_length=8)
    """k of pass@k; each at most `samples`."""
    bootstrap: int = Field(default=1000, ge=100, le=100_000)
    """Number of resamples for each interval."""
    examples: int = Field(default=3, ge=0, le=50)
    """Number of worked examples of credit in the report."""

    @model_validator(mode="after")
    def _consistent(self) -> Evaluation:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("at temperature 0 all samples are the same: set samples to 1")
        if max(self.pass_at) > self.samples:
            raise ValueError(f"pass@{max(self.pass_at)} needs at least as many samples as k; samples is {self.samples}")
        return self


class SecretVariable(SpecModel):
    """One environment variable that holds a credential."""

    env: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    """The variable, for example `HF_TOKEN`. On one machine its value comes from the environment."""
    secret: str = Field(pattern=RESOURCE_NAME)
    """In a cluster: the Secret's name."""
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]{1,253}$")
    """In a cluster: the key in the Secret."""


class ExperimentSpec(SpecModel):
    """What to run."""

    storage: StorageSpec = StorageSpec()
    problems: Problems
    policy: Policy
    teacher: Teacher = Teacher()
    sampling: Sampling = Sampling()
    verification: Verification = Verification()
    credit: Credit = Credit()
    pairs: Pairs = Pairs()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    arms: list[Arm] = Field(default=DEFAULT_ARMS, min_length=1, max_length=16)
    """Methods to compare. One of them is `sft`, the baseline of the others."""
    seeds: list[int] = Field(default=[0], min_length=1, max_length=16)
    """Each seed draws its own training problems, samples and trains independently."""
    search: Search | None = None
    """Settings that `misstep tune` tries, the same grid for all arms of a method."""
    resources: Resources = Resources()
    assumptions: Assumptions = Assumptions()
    secrets: list[SecretVariable] = Field(default=[], max_length=16)
    """Credentials that stages need in addition to those of the storage: a Hub token for gated models, a teacher's
    or a tracker's key."""
    tracking: Tracking = Tracking()
    cluster: Cluster = Cluster()
    suspend: bool = False
    """In a cluster: stop the pods and keep all results. Set it back to false to resume."""

    @model_validator(mode="after")
    def _arms_fit(self) -> ExperimentSpec:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("arms must have different names")
        if [arm.method for arm in self.arms].count("sft") != 1:
            raise ValueError("exactly one arm must have method sft: it is the baseline of the others")
        check_starts(self.arms)
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be different numbers of zero or more")
        if self.teacher.model is not None and self.teacher.model.model.name == self.policy.model.name:
            raise ValueError(
                f"policy.model and teacher.model.model are both named {self.policy.model.name}: rename one of them"
            )
        self._sizes_reachable()
        for arm in self.arms:
            unknown = sorted(set(arm.sizes or []) - set(self.problems.sizes))
            if unknown:
                raise ValueError(f"arm {arm.name} has sizes that problems.sizes lacks: {unknown}")
            if arm.pairs in FROM_ORACLE:
                self._oracle_known(arm)
            self._credit_suffices(arm)
        if self.search is not None:
            self._search_fits(self.search)
        return self

    def _oracle_known(self, arm: Arm) -> None:
        known, given = ", ".join(TASKS_WITH_ORACLE), self.problems.train.format
        if given not in TASKS_WITH_ORACLE:
            raise ValueError(
                f"arm {arm.name} has pairs {arm.pairs}, which need the true first error of a solution: known for "
                f"problems.train.format {known}, not for {given}; take placebo-cut, or leave the arm out"
            )
        if self.teacher.writes and self.teacher.new_problems_per_seed:
            raise ValueError(
                f"arm {arm.name} has pairs {arm.pairs}, which need the true first error of a solution: it is not known "
                "for problems that a teacher writes; set teacher.newProblemsPerSeed to 0, or leave the arm out"
            )

    def _credit_suffices(self, arm: Arm) -> None:
        """Check that credit finds out what an arm's pairs or its filter need."""
        if arm.pairs == LUCKY and not self.credit.positives_per_problem:
            raise ValueError(
                f"arm {arm.name} has pairs {LUCKY}, which need credit of correct solutions: set "
                "credit.positivesPerProblem"
            )
        if arm.method == "rft" and not self.credit.positives_per_problem:
            rft = self.training.rft if arm.rft is None else over(self.training.rft, arm.rft)
            if rft.filter == "advantage":
                raise ValueError(
                    f"training.rft.filter: advantage (arm {arm.name}) needs credit of correct solutions: set "
                    "credit.positivesPerProblem, or filter to none"
                )
        pairing = self.pairs if arm.pairing is None else over(self.pairs, arm.pairing)
        weighed = arm.pairs in WEIGHED and arm.pairs != LUCKY and pairing.weight == "advantage"
        if weighed and self.credit.estimator in WITHOUT_SIZES:
            raise ValueError(
                f"pairs.weight: advantage (arm {arm.name}) needs to know how far the chance of success falls, which "
                f"credit.estimator {self.credit.estimator} does not say: take adaptive or full-scan"
            )

    def _search_fits(self, search: Search) -> None:
        common = sorted(set(search.seeds) & set(self.seeds))
        if common:
            raise ValueError(
                f"search.seeds and seeds have {', '.join(map(str, common))} in common: settings are searched with "
                "seeds apart from the report's, so change search.seeds"
            )
        methods = {arm.method for arm in self.arms}
        for method in METHODS:
            if method not in methods and search.grid(method).lists:
                raise ValueError(
                    f"search.{method} is given, but no arm has method {method}: remove it, or add such an arm"
                )
        if not self.search_sizes:
            raise ValueError("search.sizes is not given, and the arms have no common size: give it")

    @property
    def search_sizes(self) -> list[int]:
        """The sizes at which a search runs: those given, else the smallest at which all arms run."""
        if self.search is not None and self.search.sizes is not None:
            return sorted(self.search.sizes)
        return [
            size for size in self.problems.sizes if all(arm.sizes is None or size in arm.sizes for arm in self.arms)
        ][:1]

    def _sizes_reachable(self) -> None:
        limit = self.problems.train.limit
        if limit is None:
            return
        fields = {"problems.sizes": self.problems.sizes}
        if self.search is not None and self.search.sizes is not None:
            fields["search.sizes"] = self.search.sizes
        for field, sizes in fields.items():
            largest = max(sizes)
            if not self.teacher.writes:
                if largest > limit:
                    raise ValueError(f"the largest of {field}, {largest}, is above problems.train.limit, {limit}")
            elif largest > (most := limit * max(1, self.teacher.new_problems_per_seed)):
                raise ValueError(
                    f"the largest of {field}, {largest}, is above the {most} problems that a teacher can write or "
                    "solve: raise problems.train.limit or teacher.newProblemsPerSeed"
                )

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> ExperimentSpec:
        for method in METHODS:
            training_processes = self.resources.of(method).training()
            processes, zero_stage = training_processes.total, training_processes.zero_stage
            where = [(f"training.{method}", getattr(self.training, method))]
            where += [
                (f"arms, {arm.name}, {method}", over(getattr(self.training, method), own))
                for arm in self.arms
                if (own := getattr(arm, method)) is not None
            ]
            where += self._searched(method)
            for field, training in where:
                if processes > 1:
                    _refuse_uneven(field, training, processes)
                if zero_stage == 3 and training.lora_rank is not None:
                    raise ValueError(
                        f"{field}.loraRank: adapters cannot be trained with zeroStage 3 (resources): take 2, which "
                        "shards everything that is trained"
                    )
        return self

    def _searched(self, method: str) -> list[tuple[str, Optimisation]]:
        """Every setting that is searched for the arms of a method, with the field's name; each can be trained alone."""
        if self.search is None:
            return []
        common: Optimisation = getattr(self.training, method)
        found: list[tuple[str, Optimisation]] = []
        for arm in self.arms:
            if arm.method == method:
                own = getattr(arm, method)
                base = common if own is None else over(common, own)
                settings = self.search.grid(method).settings()
                found += [(f"search.{method}", base.model_copy(update=setting)) for setting in settings if setting]
        for field, training in found:
            if training.batch_size % (training.micro_batch_size or 1):
                raise ValueError(
                    f"{field}.batchSize has {training.batch_size}, which microBatchSize, {training.micro_batch_size}, "
                    "must divide"
                )
        return found


def _refuse_uneven(field: str, training: Optimisation, processes: int) -> None:
    batch, micro = training.batch_size, training.micro_batch_size or 1
    if batch % processes:
        raise ValueError(
            f"{field}.batchSize, {batch}, must be a multiple of the {processes} processes that share it (resources: "
            "nodes x processesPerNode, or gpus)"
        )
    if micro != batch and batch % (micro * processes):
        raise ValueError(
            f"{field}.microBatchSize, {micro}, times {processes} processes (resources: nodes x processesPerNode, or "
            f"gpus) must divide batchSize, {batch}"
        )


class Metadata(SpecModel):
    """Kubernetes metadata; only the name matters to Misstep."""

    name: Name
    """Lower-case letters, digits and dashes, 40 at most."""
    namespace: str | None = None
    """Namespace in the cluster; nothing on one machine."""
    labels: dict[str, str] = {}  # noqa: RUF012 (pydantic copies defaults)
    """Kubernetes labels."""
    annotations: dict[str, str] = {}  # noqa: RUF012 (pydantic copies defaults)
    """Kubernetes annotations."""


class Experiment(SpecModel):
    """An experiment: problems, a policy, methods to compare."""

    api_version: Literal["misstep.dev/v1alpha1"]
    kind: Literal["Experiment"]
    metadata: Metadata
    spec: ExperimentSpec

    def resolved(self) -> dict[str, Any]:
        """Return it with all defaults written out, as JSON-like data with the names of its YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
