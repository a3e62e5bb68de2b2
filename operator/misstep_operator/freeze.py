"""From an Experiment object to its plan.

A plan is made once for each generation and read back afterwards (``misstep.plan.kept``): an operator of a newer version
that would plan otherwise leaves running Experiments, and their keys, as they are. No I/O but for a model's
``config.json``, which ``misstep.sources`` may read from a store.
"""

from __future__ import annotations

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
    # Others wait to be planned meanwhile. Three tries, each of 5 s to connect and 15 s to wait for an answer: a store
    # that is away costs about 20 s a model, one that takes connections and is silent 50 s, and only one whose answers
    # begin and break off five times that. Then no shape is known.
    cost = plan_cost(
        made,
        architecture(externals["model"], storage, patient=False),
        experiment.spec.assumptions,
        None if teacher is None else architecture(teacher, storage, patient=False),
    )
    refuse_misfits(cost)
    return made


def _refuse_local(experiment: Experiment) -> None:
    # The CRD's rules do so too, but not for an object that is older than they are, or where an older CRD is installed:
    # `resolve` would look on the operator's own disk.
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
