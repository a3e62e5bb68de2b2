"""Make the plan of an Experiment object.

A plan is made once for each generation and read back afterwards (``misstep.plan.configmap``), so that a newer operator,
which might plan differently, does not change the keys of running Experiments. The only I/O is that ``misstep.sources``
may read a model's ``config.json`` from a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from misstep.cost import plan_cost
from misstep.cost.architecture import Architecture
from misstep.cost.fit import refuse_misfits
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import External
from misstep.plan.planner import Plan, plan, storage_of
from misstep.sources import resolve, shape_of
from misstep.spec.experiment import Experiment
from misstep.spec.load import check_document
from misstep.store.description import Storage
from misstep_operator.jobs.names import refuse_bad_names
from misstep_operator.jobs.pod import MAX_ARGUMENT_BYTES

Shapes = Mapping[str, Architecture | None]
"""Role of a model -> its shape, None where it is not known."""
MAX_STAGES, MAX_SHARDS, MAX_PODS = 2_000, 1_024, 50_000
"""Of one Experiment, of one stage, and of all its stages. They limit what the operator reads at a time."""
_MIN_STAGES = 4
"""Of each training: the training, its answers to test problems, their verdicts, and its score."""
_SPLIT = (
    f"An Experiment may have {MAX_STAGES:,} stages. Split it: fewer arms, sizes or seeds in each. Equal stages are "
    "computed once."
)


def parse(body: Mapping[str, Any]) -> Experiment:
    """Check an Experiment as the API server holds it, or as it held it before 0.2: with numbers in quotes.

    Raises:
        BadInput: as `misstep.spec.load.check_document` does.
    """
    metadata = body.get("metadata") or {}
    document = {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "metadata": {"name": metadata.get("name"), "namespace": metadata.get("namespace")},
        "spec": body.get("spec") or {},
    }
    return check_document(document, f"Experiment {metadata.get('name')}")


def find_externals(experiment: Experiment) -> dict[str, External]:
    """Return the data and models of an Experiment by role. Raises BadInput where a cluster cannot reach them."""
    if not experiment.spec.storage.uri.startswith("s3://"):
        raise BadInput(
            "spec.storage.uri",
            experiment.spec.storage.uri,
            "Stages in a cluster share no disk: give s3://BUCKET/PREFIX.",
        )
    _refuse_local(experiment)
    return resolve(experiment)


def read_shapes(
    experiment: Experiment, externals: Mapping[str, External], read_config: Callable[[Storage], bytes] | None = None
) -> Shapes:
    """Read the shapes of the models that an Experiment uses. A model that cannot be read has None.

    Args:
        read_config: returns the ``config.json`` in a folder of a store, if the operator may read it
            (``StoreReader.read_model_config``). Without it nothing is read.
    """
    storage = storage_of(experiment)

    def read(uri: str) -> bytes:
        if read_config is None or not uri.startswith("s3://"):  # never a file on the operator's own disk
            raise MisstepError(f"{uri}: the operator does not read it")
        return read_config(storage.model_copy(update={"uri": uri}))

    used = {role: each for role, each in externals.items() if role in ("model", "model_teacher")}
    return {role: shape_of(each, read) for role, each in used.items()}


def make_plan(experiment: Experiment, externals: Mapping[str, External], shapes: Shapes) -> Plan:
    """Plan an Experiment for a cluster. Raises BadInput where it cannot fit."""
    _refuse_grid(experiment)
    made = plan(experiment, externals)
    refuse_too_many(made)
    for stage in made.stages:
        if len(stage.model_dump_json().encode()) >= MAX_ARGUMENT_BYTES:
            fix = "has too many inputs for a pod to start. Fewer arms, sizes or seeds in one Experiment: split it."
            raise BadInput("spec", f"{len(made.stages)} stages", f"The stage {stage.name} {fix}")
    refuse_bad_names(made, experiment)
    refuse_misfits(plan_cost(made, shapes["model"], experiment.spec.assumptions, shapes.get("model_teacher")))
    return made


def _refuse_grid(experiment: Experiment) -> None:
    """Refuse too many stages before they are made, which would take seconds and hundreds of MiB."""
    spec = experiment.spec
    points = sum(len(arm.sizes or spec.problems.sizes) for arm in spec.arms) * len(spec.seeds)
    if points * _MIN_STAGES > MAX_STAGES:
        raise BadInput("spec", f"{points} trainings (arms x sizes x seeds)", _SPLIT)


def refuse_too_many(made: Plan) -> None:
    """Refuse a plan with more stages or pods than one Experiment may have. Raises BadInput."""
    if len(made.stages) > MAX_STAGES:
        raise BadInput("spec", f"{len(made.stages)} stages", _SPLIT)
    for stage in made.stages:
        if stage.shards > MAX_SHARDS:
            fix = f"Give {MAX_SHARDS} or fewer: each is a pod."
            raise BadInput(f"spec.resources.{stage.kind.value}.shards", str(stage.shards), fix)
    pods = sum(stage.shards for stage in made.stages)
    if pods > MAX_PODS:
        fix = f"All stages together may have {MAX_PODS:,}: give fewer shards, or split the Experiment."
        raise BadInput("spec.resources", f"{pods:,} pods", fix)


def _refuse_local(experiment: Experiment) -> None:
    # The CRD's rules refuse it too, but not in an object or a CRD that is older than they are. `resolve` would then
    # look on the operator's own disk.
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
