"""The check of an Experiment's models before a plan is shown or run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.planner import Plan
    from misstep.spec import Experiment
    from misstep.store.base import Store

POLICY, TEACHER = "spec.policy.model", "spec.teacher.model.model"


def check_models(plan: Plan, experiment: Experiment, store: Store) -> list[str]:
    """Check the models of a plan before it runs, and return notes: what is unusual, and what was not checked here.

    A model whose check is committed in the store is not checked again.

    Raises:
        BadInput: a model cannot be used, or the check in the store is not that of its stage.
    """
    from misstep.artifacts.manifest import read_own
    from misstep.inspection.apart import inspect_apart
    from misstep.plan.extras import missing
    from misstep.plan.kinds import StageKind

    stages = [stage for stage in plan.stages if stage.kind is StageKind.INSPECT]
    passed = {stage.key for stage in stages if read_own(store, stage) is not None}
    notes: list[str] = []
    for stage in stages:
        if stage.key in passed:
            continue
        uri = stage.externals["model"].uri
        later = f"the stage {stage.name} checks {uri} before anything is trained"
        if missing("training"):
            notes.append(f'{later} (not here: it needs pip install "misstep[training]")')
            continue
        request = _of_stage(stage, experiment)
        try:
            found = inspect_apart(request)
        except BadInput:
            raise
        except MisstepError as error:
            notes.append(f"{later} (not here: {error})")
        else:
            notes += [f"{request['model_field']}: {sentence}" for sentence in found["report"]["unusual"]]
    return list(dict.fromkeys(notes))


def _of_stage(stage: FrozenStage, experiment: Experiment) -> dict[str, Any]:
    """Return the request that checks what a stage ``inspect`` checks, except the problems' text."""
    given = request_of(experiment)
    teacher = stage.params["prompt"] is None
    return given | {
        "uri": stage.externals["model"].uri,
        "storage": stage.storage.model_dump(mode="json"),
        "model_field": TEACHER if teacher else POLICY,
        "prompt": stage.params["prompt"],
    }


def request_of(experiment: Experiment) -> dict[str, Any]:
    """Return the part of a request to ``inspect_apart`` that an Experiment decides: its prompt and its step rule."""
    from misstep.plan.translate import Translator

    translate = Translator(experiment.spec)
    credit = experiment.spec.credit
    steps = {"rule": credit.step_rule, "most": credit.max_steps, "stop": list(translate.decoding.stop)}
    return {"prompt": translate.prompt.model_dump(mode="json"), "steps": steps}
