"""From an Experiment object to its plan, and a plan to and from the ConfigMap that keeps it.

A plan is made once for each generation and read back afterwards: an operator of a newer version that would plan
otherwise leaves running Experiments, and their keys, as they are. No I/O but for a model's ``config.json``, which
``misstep.sources`` may read from a store.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from misstep.errors import BadInput
from misstep.plan.cost import plan_cost
from misstep.plan.cost.fit import refuse_misfits
from misstep.plan.planner import Plan, plan
from misstep.sources import architecture, resolve
from misstep.spec.experiment import Experiment
from misstep.spec.load import parse_experiment

PLAN_FILE = "plan.json.gz"
_MOST_BYTES = 900_000
"""Of a packed plan: the API server refuses ConfigMaps above 1 MiB."""


def parse(body: Mapping[str, Any]) -> Experiment:
    """Check an Experiment as the API server holds it. Raises BadInput."""
    metadata = body.get("metadata") or {}
    document = {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "metadata": {"name": metadata.get("name"), "namespace": metadata.get("namespace")},
        "spec": body.get("spec") or {},
    }
    return parse_experiment(json.dumps(document), f"Experiment {metadata.get('name')}")


def make_plan(experiment: Experiment) -> Plan:
    """Plan an Experiment for a cluster, and refuse what cannot fit. Raises BadInput."""
    if not experiment.spec.storage.uri.startswith("s3://"):
        raise BadInput(
            "spec.storage.uri",
            experiment.spec.storage.uri,
            "Stages in a cluster share no disk: give s3://BUCKET/PREFIX.",
        )
    _refuse_local(experiment)
    externals = resolve(experiment)
    made = plan(experiment, externals)
    storage = made.report.storage
    teacher = externals.get("model_teacher")
    cost = plan_cost(
        made,
        architecture(externals["model"], storage),
        experiment.spec.assumptions,
        None if teacher is None else architecture(teacher, storage),
    )
    refuse_misfits(cost)
    return made


def pack(made: Plan) -> dict[str, str]:
    """Return a plan as a ConfigMap's ``binaryData``. Raises BadInput where it is too large."""
    packed = gzip.compress(made.model_dump_json().encode(), mtime=0)
    if len(packed) > _MOST_BYTES:
        fix = "Split it: fewer arms, sizes or seeds in one Experiment. Stages that are the same are shared."
        raise BadInput("spec", f"{len(made.stages)} stages", fix)
    return {PLAN_FILE: base64.b64encode(packed).decode()}


def unpack(data: Mapping[str, str] | None) -> Plan:
    """Read a plan back. Raises BadInput where the ConfigMap holds none."""
    try:
        return Plan.model_validate_json(gzip.decompress(base64.b64decode((data or {})[PLAN_FILE])))
    except (KeyError, ValueError, OSError, EOFError) as error:
        fix = "Delete the ConfigMap: the plan is made again."
        raise BadInput(f"the plan's ConfigMap, {PLAN_FILE}", type(error).__name__, fix) from error


def _refuse_local(experiment: Experiment) -> None:
    problems, spec = experiment.spec.problems, experiment.spec
    places: list[tuple[str, str | None]] = [("spec.policy.model.path", spec.policy.model.path)]
    if spec.teacher.model is not None:
        places.append(("spec.teacher.model.model.path", spec.teacher.model.model.path))
    for split in ("train", "test", "validation"):
        source = getattr(problems, split)
        if source is not None:
            places.append((f"spec.problems.{split}.path", source.path))
    for field, path in places:
        if path is not None:
            raise BadInput(
                field,
                path,
                "The cluster cannot read it. `misstep upload FILE --storage s3://... | kubectl apply -f -` puts it "
                "into the store and writes uri and digest instead.",
            )
