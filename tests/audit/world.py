"""A small finished run: the quickstart's base model answers, is judged and credited, and a plan names what was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from misstep.artifacts.reader import Reader
from misstep.audit.tables import Tables
from misstep.plan.frozen import External, FrozenStage, stage_key
from misstep.plan.kinds import StageKind
from misstep.plan.params import CreditParams, VerifyParams
from misstep.plan.planner import Plan
from misstep.runner.workdir import Workdir
from misstep.store.open import open_store
from tests.credit.inputs import DECODING, Rows, World, answered

PARAMS = CreditParams(
    estimator="adaptive",
    rollouts=2,
    best_of=2,
    negatives_per_problem=3,
    max_negatives=None,
    positives_per_problem=8,
    audit_percent=40,
    target_error=0.1,
    oracle="strides",
    max_steps=20,
    step_rule="lines",
    answer_format="hash",
    timeout_seconds=2.0,
    decoding=DECODING,
    seed=1,
)
NAME = "small"


@dataclass
class Finished:
    """What was made; ``folder`` is the current folder of commands that find it by name."""

    folder: Path
    world: World
    problems: Rows
    samples: Rows
    plan: Plan

    def stages(self, kind: StageKind, *names: str) -> list[FrozenStage]:
        """Return its finished stages of one kind, or those with these names."""
        return [s for s in self.plan.stages if s.kind is kind and (s.name in names if names else "later" not in s.name)]

    def tables(self) -> Tables:
        """Open its tables."""
        reader = Reader(open_store(self.world.storage), Path("/nonexistent"))
        return Tables(reader, lambda what, done, total: None)


def finish(folder: Path) -> Finished:
    """Run it. The stages ``credit-later`` and ``verify-later`` are planned and not finished."""
    problems, samples, verdicts = answered(36, 8)
    world = World(folder / "store")
    inputs = world.commit_all(problems, samples, verdicts)
    judged = {role: inputs[role] for role in ("problems", "samples")}
    verify = world.run(StageKind.VERIFY, judged, VerifyParams(answer_format="hash", timeout_seconds=2, verifier="v/7"))
    inputs["verdicts"] = verify
    made = {"verify-d14-s0": verify}
    made["credit-d14-s0"] = world.run(StageKind.CREDIT, inputs, PARAMS)
    scan = PARAMS.model_copy(update={"estimator": "full-scan", "target_error": None, "positives_per_problem": 0})
    made["credit-again-d14-s0"] = world.run(StageKind.CREDIT, inputs, scan)
    stages = [_stage(world, name, key) for name, key in made.items()]
    stages += [_later(stage) for stage in stages[:2]]
    plan = Plan(experiment=NAME, stages=tuple(stages))
    workdir = Workdir(folder / ".misstep" / NAME)
    workdir.create()
    workdir.write_plan(plan)
    return Finished(folder, world, problems, samples, plan)


def _stage(world: World, name: str, key: str) -> FrozenStage:
    manifest = Reader(open_store(world.storage), Path("/nonexistent")).manifest(key)
    return FrozenStage(
        kind=manifest.kind,
        name=name,
        key=key,
        params=manifest.params,
        inputs=manifest.inputs,
        externals={role: External(uri="nowhere", digest=digest) for role, digest in manifest.externals.items()},
        storage=world.storage,
    )


def _later(stage: FrozenStage) -> FrozenStage:
    outside = {**stage.externals, "count": External(uri="nowhere", digest="later")}
    key = stage_key(stage.kind, stage.params, stage.inputs, outside)
    return stage.model_copy(update={"name": f"{stage.kind.value}-later", "key": key, "externals": outside})
