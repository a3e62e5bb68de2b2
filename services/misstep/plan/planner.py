"""Experiment to plan: the grid arms x sizes x seeds as a DAG of content-addressed stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain

from pydantic import BaseModel, ConfigDict

from misstep.credit.layout_names import FROM_CREDIT
from misstep.plan import params as p
from misstep.plan.frozen import External, FrozenStage, StageKind, Storage, stage_key
from misstep.plan.given import given_resources
from misstep.plan.judging import Judging
from misstep.plan.translate import Translator
from misstep.spec.arms import Arm
from misstep.spec.experiment import Experiment


class Plan(BaseModel):
    """All stages of an experiment in an order in which each stands after its inputs."""

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
        """Where all stages' artifacts live."""
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
        The plan. Stages that several grid points need stand in it once: problems for all, samples and verdicts and
        credit for all arms of one size and seed. Each size has a policy of its own, so samples are never shared
        between sizes.
    """
    builder = _Builder(experiment, externals)
    builder.report(builder.points())
    return builder.plan(experiment.metadata.name)


def plan_search(
    experiment: Experiment, externals: Mapping[str, External], judging: Judging
) -> tuple[Plan, dict[p.GridPoint, str]]:
    """Plan one round of a search: as an experiment, but models are judged by validation problems, no stage gets the
    test problems, and there is no report.

    Args:
        experiment: its arms are those of the round, one for each setting.

    Returns:
        The plan, and the key of each grid point's ``score``.
    """
    builder = _Builder(experiment, externals, judging)
    scores = {point: found["score"] for point, found in builder.points().items()}
    return builder.plan(experiment.metadata.name), scores


def joined(plans: Sequence[Plan]) -> Plan:
    """Return one plan with the stages of several, each once: rounds of a search."""
    stages: dict[str, FrozenStage] = {}
    for stage in chain.from_iterable(each.stages for each in plans):
        stages.setdefault(stage.key, stage)
    return Plan(experiment=plans[0].experiment, stages=tuple(stages.values()))


def storage_of(experiment: Experiment) -> Storage:
    """Return how the stages of an Experiment reach its store."""
    given = experiment.spec.storage
    return Storage(
        uri=given.uri,
        endpoint=given.endpoint,
        region=given.region,
        path_style=given.path_style,
        ca_bundle=given.ca_bundle,
    )


class _Builder:
    """Collects stages by key; asking twice for the same stage gives the same one."""

    def __init__(
        self, experiment: Experiment, externals: Mapping[str, External], judging: Judging | None = None
    ) -> None:
        self.spec = experiment.spec
        self.externals = externals
        self.judging = judging
        self.translate = Translator(experiment.spec, judging)
        self.stages: dict[str, FrozenStage] = {}
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
        """Add a stage unless it is there, and return its key."""
        outside = dict(externals or {})
        frozen_params = params.model_dump(mode="json")
        key = stage_key(kind, frozen_params, inputs, outside)
        if key not in self.stages:
            given = given_resources(self.spec, kind)
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
        """Problems that a teacher writes from seeds; every later stage reads them as it would read ingested ones."""
        seeds = self.ingested("seeds", sources)
        # Before a teacher is paid: a policy that cannot be used, or the teacher itself.
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
        """Add the stages of every grid point; return role -> key of what the report reads of each."""
        found: dict[p.GridPoint, dict[str, str]] = {}
        for seed in self.spec.seeds:
            for size in self.spec.problems.sizes:
                for arm in self.spec.arms:
                    if arm.sizes is None or size in arm.sizes:
                        point = p.GridPoint(arm=arm.name, method=arm.method, layout=arm.pairs, size=size, seed=seed)
                        found[point] = self.point(arm, size, seed)
        return found

    def point(self, arm: Arm, size: int, seed: int) -> dict[str, str]:
        """Add all that one grid point needs; return role -> key of what the report reads of it."""
        suffix = f"d{size}-s{seed}"
        name = f"{arm.name}-{suffix}"
        found: dict[str, str] = {}
        match arm.method:
            case "sft":
                found["model"] = self.sft(name, arm, size, seed)
            case "rft":
                found |= self.sampled(size, seed)
                inputs = {"problems": self.problems, **found}
                params = self.translate.rft(arm, size, seed)
                found["model"] = self.add(StageKind.RFT, name, params, inputs, self._base_model, (self.inspected,))
            case "dpo":
                found |= self.sampled(size, seed)
                if arm.pairs in FROM_CREDIT:
                    found["credit"] = self.credit(size, seed)
                inputs = {"problems": self.problems, "policy": self.policy(size, seed), **found}
                found["pairs"] = self.add(StageKind.PAIRS, f"pairs-{name}", self.translate.pairs(arm, seed), inputs)
                inputs = {k: inputs[k] for k in ("problems", "policy")} | {"pairs": found["pairs"]}
                found["model"] = self.add(StageKind.DPO, name, self.translate.dpo(arm, seed), inputs)
        return found | {"score": self.score(name, found["model"], seed)}

    def sft(self, name: str, arm: Arm, size: int, seed: int) -> str:
        params = self.translate.sft(arm, size, seed)
        inputs = {"problems": self.problems}
        return self.add(StageKind.SFT, name, params, inputs, self._base_model, (self.inspected,))

    def policy(self, size: int, seed: int) -> str:
        """The run that pi_sft of one size and seed comes from: the SFT arm's own, also where that arm skips the size.

        As an input it has the role ``policy``, which stands for the checkpoint that `PolicyParams` chose."""
        arm = next(a for a in self.spec.arms if a.method == "sft")
        return self.sft(f"{arm.name}-d{size}-s{seed}", arm, size, seed)

    def sampled(self, size: int, seed: int) -> dict[str, str]:
        suffix = f"d{size}-s{seed}"
        inputs = {"problems": self.problems, "policy": self.policy(size, seed)}
        samples = self.add(StageKind.SAMPLE, f"sample-{suffix}", self.translate.sample(size, seed), inputs)
        inputs = {"problems": self.problems, "samples": samples}
        verdicts = self.add(StageKind.VERIFY, f"verify-{suffix}", self.translate.verify(), inputs)
        return {"samples": samples, "verdicts": verdicts}

    def credit(self, size: int, seed: int) -> str:
        inputs = {"problems": self.problems, "policy": self.policy(size, seed), **self.sampled(size, seed)}
        return self.add(StageKind.CREDIT, f"credit-d{size}-s{seed}", self.translate.credit(seed), inputs)

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
