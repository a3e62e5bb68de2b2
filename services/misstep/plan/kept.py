"""A plan as the ConfigMap that keeps it in a cluster: made once for each generation of an Experiment, so that neither
an operator of another version nor the command line plans it otherwise. Pure."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping

from misstep.errors import BadInput
from misstep.plan.planner import Plan

PLAN_FILE = "plan.json.gz"
_MOST_BYTES = 700_000
"""Of a packed plan: with base64 on top, the API server's limit of 1 MiB is kept."""


def plan_name(experiment: str, generation: int) -> str:
    """Name the ConfigMap that keeps the plan of a generation."""
    return f"{experiment}-plan-{generation}"


def pack(made: Plan) -> dict[str, str]:
    """Return a plan as a ConfigMap's ``binaryData``. Raises BadInput where it is too large."""
    packed = gzip.compress(made.model_dump_json().encode(), mtime=0)
    if len(packed) > _MOST_BYTES:
        fix = "Split it: fewer arms, sizes or seeds in one Experiment. Stages that are the same are shared."
        raise BadInput("spec", f"{len(made.stages)} stages", fix)
    return {PLAN_FILE: base64.b64encode(packed).decode()}


def unpack(data: Mapping[str, str] | None) -> Plan:
    """Read a plan back from ``binaryData``. Raises BadInput where it holds none."""
    try:
        return Plan.model_validate_json(gzip.decompress(base64.b64decode((data or {})[PLAN_FILE])))
    except (KeyError, ValueError, OSError, EOFError) as error:
        fix = "Delete the ConfigMap: the plan is made again."
        raise BadInput(f"the plan's ConfigMap, {PLAN_FILE}", type(error).__name__, fix) from error
