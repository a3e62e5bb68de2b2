"""The Experiment's YAML as others may read it: what determines results stays, places and names of secrets go. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan, plan
from misstep.spec.experiment import Experiment
from misstep.spec.load import check_document
from misstep.spec.rewrite import PLACES, copied, yaml_text
from misstep.terms.formats import GENERATED

ENDPOINT = "https://example.com/v1"
_PRIVATE = ("storage", "secrets", "cluster", "suspend", "tracking")
"""Parts of the spec that say where an experiment ran and with which credentials. None enters a key."""


def externals_of(found: Plan) -> dict[str, External]:
    """Return the data and models that a plan was made with, by the roles that `misstep.sources.resolve` gives them."""
    externals: dict[str, External] = {}
    for stage in found.stages:
        match stage.kind:
            case StageKind.PROBLEMS:
                externals |= stage.externals
            case StageKind.SFT:
                externals |= {"model": stage.externals["model"]}
            case StageKind.SYNTHESIZE:
                externals |= stage.externals
    return externals


def experiment_of(document: dict[str, Any], found: Plan, key: str, origin: str) -> Experiment:
    """Read the YAML that the stage of a plan was made from. Raises BadInput where it was changed after the run."""
    experiment = check_document(document, origin)
    again = plan(experiment, externals_of(found))
    if key not in again.by_key:
        fix = (
            "It has changed since the experiment ran, so it does not say how this was made. Run it again, or give the "
            "file as it was."
        )
        raise BadInput("experiment", origin, fix)
    return experiment


def shared_yaml(document: Mapping[str, Any], externals: Mapping[str, External], comment: str) -> str:
    """Return the YAML for others, with a comment at its top.

    Store, cluster, secrets, trackers and the address of a teacher's server are left out. Local folders and uploaded
    copies are left out too: a model's ``path`` becomes its name, and a source of problems keeps the name by which
    ``--data`` gives it. Comments of the original are not kept.
    """
    spec = {name: value for name, value in copied(document["spec"]).items() if name not in _PRIVATE}
    for role, path in PLACES.items():
        holder: Any = spec
        for name in path:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or holder.get("hub"):
            continue
        for name in ("path", "uri", "digest"):
            holder.pop(name, None)
        if role.startswith("model"):
            holder["path"] = holder.get("name", "model" if role == "model" else "teacher")
        elif holder.get("format") not in GENERATED:
            holder["name"] = holder.get("name") or holder["format"]
    endpoint = (spec.get("teacher") or {}).get("endpoint")
    if endpoint:
        endpoint.pop("apiKeyEnv", None)
        endpoint["url"] = ENDPOINT
    shared = {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": {"name": document["metadata"]["name"]},
        "spec": spec,
    }
    digests = [f"{role}: {external.digest}" for role, external in sorted(externals.items())]
    lines = [*comment.splitlines(), *(["Digests of data and models:"] if digests else []), *digests]
    return "".join(f"# {' '.join(line.split())}\n" for line in lines) + yaml_text(shared)
