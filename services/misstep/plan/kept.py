"""A plan as the ConfigMap that keeps it in a cluster: made once for each generation of an Experiment, so that neither
an operator of another version nor the command line plans it otherwise. Pure."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping

from misstep.errors import BadInput, MisstepError
from misstep.plan.planner import Plan

PLAN_FILE = "plan.json.gz"
_MOST_BYTES = 700_000
"""Of a packed plan: with base64 on top, the API server's limit of 1 MiB is kept."""


class PlanUnreadable(MisstepError):
    """A plan that was kept and cannot be read: by hand spoilt, or of another version."""


def plan_name(experiment: str, uid: str, generation: int) -> str:
    """Name the ConfigMap that keeps the plan of a generation.

    One that was deleted and made again under the same name begins with generation 1 again: its uid tells them apart.
    """
    return f"{experiment}-plan-{hashlib.sha256(uid.encode()).hexdigest()[:6]}-{generation}"


def pack(made: Plan) -> dict[str, str]:
    """Return a plan as a ConfigMap's ``binaryData``. Raises BadInput where it is too large."""
    packed = gzip.compress(made.model_dump_json().encode(), mtime=0)
    if len(packed) > _MOST_BYTES:
        fix = "Split it: fewer arms, sizes or seeds in one Experiment. Stages that are the same are shared."
        raise BadInput("spec", f"{len(made.stages)} stages", fix)
    return {PLAN_FILE: base64.b64encode(packed).decode()}


def unpack(data: Mapping[str, str] | None) -> Plan:
    """Read a plan back from ``binaryData``. Raises PlanUnreadable where it holds none."""
    try:
        return Plan.model_validate_json(gzip.decompress(base64.b64decode((data or {})[PLAN_FILE])))
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise PlanUnreadable(
            f"the plan cannot be read ({type(error).__name__}): it is of another version, or spoilt. Go back to the "
            "version that made it, or delete its ConfigMap: it is then made again, perhaps with other keys."
        ) from error
