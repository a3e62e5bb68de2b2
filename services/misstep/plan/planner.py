"""Turn an Experiment into a plan: the grid arms x sizes x seeds as a DAG of content-addressed stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain

from pydantic import BaseModel, ConfigDict

from misstep.errors import BadInput
from misstep.plan import params as p
from misstep.plan.frozen import External, FrozenStage, stage_key
from misstep.plan.given import given_resources
from misstep.plan.judging import Judging
from misstep.plan.kinds import StageKind
from misstep.plan.translate import Translator
from misstep.spec.arms import Arm
from misstep.spec.experiment import Experiment
from misstep.store.description import Storage
from misstep.terms.layouts import FROM_CREDIT


class Plan(BaseModel):
    """All stages of an experiment, each after its inputs."""

    model_config = ConfigDict(frozen=True, ignored_types=(cached_property,))
    experiment: str
    stages: tuple[FrozenStage, ...]

    @cached_property
    def by_key(self) -> dict[str, FrozenStage]:
        """The stages by key."""
        return {stage.key: stage for stage in self.stages}

    @property
    def report(self) -> FrozenStage:
        """The last stage, which holds the report; a search has none."""
        return self.stages[-1]

    @property
    def storage(self) -> Storage:
        """The store of all stages' artifacts."""
        return self.stages[0].storage

    def stage(self, name: str) -> FrozenStage:
        """Return the stage of that name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def dependencies(self, stage: FrozenStage) -> tuple[str, ...]:
        """Names of the stages that a stage waits for."""
        return tuple(sorted({self.by_key[key].name for key in stage.needs}))


def plan(experiment: Experiment, externals: Mapping[str, External]) -> Plan:
    """Plan an experiment.

    Args:
        externals: what `misstep.sources.resolve` returned: the model and the problem files with their digests.

    Returns:
        The plan. Stages that several grid points need are in it once: problems for all; samples, verdicts and credit
        for all arms of one size and seed that start from the same model. Each size has its own policy, so samples are
        never shared between sizes.

    Raises:
        BadInput: the names of the arms give two stages the same name.
    """
    builder = _Builder(experiment, externals)
    builder.report(builder.points())
    return builder.plan(experiment.metadata.name)


def plan_search(
    experiment: Experiment, externals: Mapping[str, External], judging: Judging
) -> tuple[Plan, dict[p.GridPoint, str]]:
    """Plan one round of a search. It is like an experiment, but validation problems judge the models, no stage gets the
    test problems, and there is no report.

    Args:
        experiment: has the arms of the round, one for each setting.

    Returns:
        The plan, and the key of each grid point's ``score``.
    """
    builder = _Builder(experiment, externals, judging)
    scores = {point: found["score"] for point, found in builder.points().items()}
    return builder.plan(experiment.metadata.name), scores


def joined(plans: Sequence[Plan]) -> Plan:
    """Merge the plans of a search's rounds into one, with each stage once."""
    stages: dict[str, FrozenStage] = {}
    for stage in chain.from_iterable(each.stages for each in plans):
        stages.setdefault(stage.key, stage)
    return Plan(experiment=plans[0].experiment, stages=tuple(stages.values()))


def storage_of(experiment: Experiment) -> Storage:
    """Return the description of an Experiment's store, as stages need it."""
    return Storage(**dict(experiment.spec.storage))


class _Builder:
    """Collects stages by key; adding the same stage twice gives one stage."""

    def __init__(
        self, experiment: Experiment, externals: Mapping[str, External], judging: Judging | None = None
    ) -> None:
        self.spec = experiment.spec
        self.externals = externals
        self.judging = judging
        self.translate = Translator(experiment.spec, judging)
        self.stages: dict[str, FrozenStage] = {}
        self._names: set[str] = set()
        self._trained: dict[tuple[str, int, int], dict[str, str]] = {}
        self._sft = next(arm for arm in experiment.spec.arms if arm.method == "sft")
        self.storage = storage_of(experiment)
        sources = {role: e for role, e in externals.items() if role.startswith("source_")}
        if judging is not None:
            sources.pop("source_test", None)
        self.problems = self.synthetic(sources) if self.spec.teacher.writes else self.ingested("problems", sources)
        self.inspected = self.add(
            StageKind.INSPECT, "inspect", self.translate.inspect(), {"problems": self.problems}, self._base_model
        )

    def add(
        self,
        kind: StageKind,
        name: str,
        params: p.Params,
        inputs: dict[str, str],
        externals: Mapping[str, External] | None = None,
        after: tuple[str, ...] = (),
    ) -> str:
        """Add a stage unless it is there, and return its key.

        Raises:
            BadInput: another stage has that name, because an arm's name looks like the beginning of a stage's name.
        """
        outside = dict(externals or {})
        frozen_params = params.model_dump(mode="json")
        key = stage_key(kind, frozen_params, inputs, outside)
        if key not in self.stages:
            if name in self._names:
                fix = "Two stages would have this name: rename the arm whose name begins like a kind of stage."
                raise BadInput("spec.arms", name, fix)
            self._names.add(name)
            given = given_resources(self.spec, kind, params)
            self.stages[key] = FrozenStage(
                kind=kind,
                name=name,
                key=key,
                params=frozen_params,
                inputs=inputs,
                after=after,
                externals=outside,
                storage=self.storage,
                shards=given.shards,
                block_rows=given.block_rows,
                resources=given.resources,
                endpoint=self.translate.endpoint() if kind is StageKind.SYNTHESIZE else None,
            )
        return key

    def ingested(self, name: str, sources: dict[str, External]) -> str:
        return self.add(StageKind.PROBLEMS, name, self.translate.problems(), {}, sources)

    def synthetic(self, sources: dict[str, External]) -> str:
        """Problems that a teacher writes from seeds; later stages read them like ingested ones."""
        seeds = self.ingested("seeds", sources)
        # Check the policy, and a local teacher, before anything is paid for.
        checks = [self.add(StageKind.INSPECT, "inspect-policy", self.translate.inspect(), {}, self._base_model)]
        local = {role: e for role, e in self.externals.items() if role == "model_teacher"}
        if local:
            model = {"model": local["model_teacher"]}
            checks.append(self.add(StageKind.INSPECT, "inspect-teacher", self.translate.inspect_teacher(), {}, model))
        inputs = {"seeds": seeds}
        drafts = self.add(StageKind.SYNTHESIZE, "synthesize", self.translate.synthesize(), inputs, local, tuple(checks))
        return self.add(StageKind.CURATE, "problems", self.translate.curate(), inputs | {"drafts": drafts})

    @property
    def _base_model(self) -> dict[str, External]:
        return {"model": self.externals["model"]}

    def plan(self, name: str) -> Plan:
        return Plan(experiment=name, stages=tuple(self.stages.values()))

    def points(self) -> dict[p.GridPoint, dict[str, str]]:
        """Add the stages of every grid point; return role -> key of the report's inputs."""
        found: dict[p.GridPoint, dict[str, str]] = {}
        for seed in self.spec.seeds:
            for size in self.spec.problems.sizes:
                for arm in self.spec.arms:
                    if arm.sizes is None or size in arm.sizes:
                        point = p.GridPoint(
                            arm=arm.name,
                            method=arm.method,
                            layout=arm.pairs,
                            size=size,
                            seed=seed,
                            from_arm=self.start_of(arm),
                        )
                        found[point] = self.point(arm, size, seed)
        return found

    def point(self, arm: Arm, size: int, seed: int) -> dict[str, str]:
        """Add the stages of one grid point; return role -> key of the report's inputs from it."""
        found = self.trained(arm, size, seed)
        return found | {"score": self.score(f"{arm.name}-d{size}-s{seed}", found["model"], seed)}

    def trained(self, arm: Arm, size: int, seed: int) -> dict[str, str]:
        """Add the stage of an arm's model and all stages before it, even at a size that the arm itself skips; return
        role -> key."""
        at = (arm.name, size, seed)
        if at not in self._trained:
            self._trained[at] = self._train(arm, size, seed)
        return dict(self._trained[at])

    def _train(self, arm: Arm, size: int, seed: int) -> dict[str, str]:
        name = f"{arm.name}-d{size}-s{seed}"
        if arm.method == "sft":
            params, inputs = self.translate.sft(arm, size, seed), {"problems": self.problems}
            return {"model": self.add(StageKind.SFT, name, params, inputs, self._base_model, (self.inspected,))}
        start = self.start_of(arm)
        policy, found = self.policy(start, size, seed), self.sampled(start, size, seed)
        if arm.method == "rft":
            params = self.translate.rft(arm, size, seed)
            inputs = {"problems": self.problems, **found}
            if params.positives.filter == "advantage":
                inputs["credit"] = self.credit(start, size, seed)
            found["model"] = self.add(StageKind.RFT, name, params, inputs, self._base_model, (self.inspected,))
        else:
            if arm.pairs in FROM_CREDIT:
                found["credit"] = self.credit(start, size, seed)
            inputs = {"problems": self.problems, "policy": policy}
            found["pairs"] = self.add(StageKind.PAIRS, f"pairs-{name}", self.translate.pairs(arm, seed), inputs | found)
            inputs |= {"pairs": found["pairs"]}
            found["model"] = self.add(StageKind.DPO, name, self.translate.dpo(arm, seed), inputs)
        return found | {"policy": policy}

    def start_of(self, arm: Arm) -> str | None:
        """The name of the arm whose model is this arm's policy; None for the SFT policy."""
        return None if arm.from_arm == self._sft.name else arm.from_arm

    def policy(self, start: str | None, size: int, seed: int) -> str:
        """The run that made a policy, even if its arm skips the size.

        As an input it has the role ``policy``. For the SFT run this means the checkpoint that `PolicyParams` chose, for
        another arm its model.
        """
        arm = self._sft if start is None else next(a for a in self.spec.arms if a.name == start)
        return self.trained(arm, size, seed)["model"]

    def sampled(self, start: str | None, size: int, seed: int) -> dict[str, str]:
        suffix = _of_policy(start, size, seed)
        inputs = {"problems": self.problems, "policy": self.policy(start, size, seed)}
        samples = self.add(StageKind.SAMPLE, f"sample-{suffix}", self.translate.sample(size, seed), inputs)
        inputs = {"problems": self.problems, "samples": samples}
        verdicts = self.add(StageKind.VERIFY, f"verify-{suffix}", self.translate.verify(), inputs)
        return {"samples": samples, "verdicts": verdicts}

    def credit(self, start: str | None, size: int, seed: int) -> str:
        policy, sampled = self.policy(start, size, seed), self.sampled(start, size, seed)
        inputs = {"problems": self.problems, "policy": policy, **sampled}
        name = f"credit-{_of_policy(start, size, seed)}"
        return self.add(StageKind.CREDIT, name, self.translate.credit(seed), inputs)

    def score(self, name: str, model: str, seed: int) -> str:
        inputs = {"problems": self.problems, "model": model}
        judged = "test" if self.judging is None else "judge"
        samples = self.add(StageKind.SAMPLE, f"{judged}-{name}", self.translate.judged_sample(seed), inputs)
        inputs = {"problems": self.problems, "samples": samples}
        verdicts = self.add(StageKind.VERIFY, f"verify-{judged}-{name}", self.translate.verify(), inputs)
        inputs |= {"verdicts": verdicts}
        return self.add(StageKind.SCORE, f"score-{name}", self.translate.score(), inputs)

    def report(self, points: Mapping[p.GridPoint, Mapping[str, str]]) -> None:
        roles = {f"{role}_{i}": key for i, found in enumerate(points.values()) for role, key in found.items()}
        inputs = {"problems": self.problems, **roles}
        self.add(StageKind.REPORT, "report", self.translate.report(tuple(points)), inputs)


def _of_policy(start: str | None, size: int, seed: int) -> str:
    """The end of the names of stages that run the SFT policy, or the policy of another arm."""
    return f"d{size}-s{seed}" if start is None else f"{start}-d{size}-s{seed}"
