"""A plan as a ConfigMap's data. Pure.

The operator makes one for each generation of an Experiment, so that neither another version of the operator nor the
command line makes another plan.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Mapping

from misstep.errors import BadInput, MisstepError
from misstep.plan.planner import Plan

PLAN_FILE = "plan.json.gz"
_MAX_BYTES = 700_000
"""Of a packed plan. In base64 it is below the API server's limit of 1 MiB."""
MAX_JSON_BYTES = 16 << 20
"""Of an unpacked plan. One of 1,700 stages has 1.4 MiB, unless prompts are long."""


class PlanUnreadable(MisstepError):
    """A stored plan that cannot be read: it was edited, or is of another version."""


def plan_name(experiment: str, uid: str, generation: int) -> str:
    """Return the name of the ConfigMap with the plan of a generation.

    An Experiment that is created again under its old name begins with generation 1 again, and has another uid.
    """
    return f"{experiment}-plan-{hashlib.sha256(uid.encode()).hexdigest()[:6]}-{generation}"


def pack(made: Plan) -> dict[str, str]:
    """Return a plan as a ConfigMap's ``binaryData``. Raises BadInput if it is too large."""
    text = made.model_dump_json().encode()
    packed = gzip.compress(text, mtime=0)
    if len(packed) > _MAX_BYTES or len(text) > MAX_JSON_BYTES:
        fix = "Split it: fewer arms, sizes or seeds in each Experiment. Equal stages are computed once."
        raise BadInput("spec", f"{len(made.stages)} stages", fix)
    return {PLAN_FILE: base64.b64encode(packed).decode()}


def digest(data: Mapping[str, str] | None) -> str:
    """Return the sha256 of a packed plan, in hex. Raises PlanUnreadable if there is none."""
    return hashlib.sha256(_packed(data)).hexdigest()


def unpack(data: Mapping[str, str] | None) -> Plan:
    """Read a plan from ``binaryData``. Raises PlanUnreadable where there is none."""
    return parse(inflate(data))


def inflate(data: Mapping[str, str] | None) -> bytes:
    """Return a packed plan's JSON. Raises PlanUnreadable where it is larger than ``pack`` allows.

    Without the limit a few hundred KB could become gigabytes.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(_packed(data), MAX_JSON_BYTES + 1)
    except zlib.error as error:
        raise _unreadable(error) from error
    if len(text) > MAX_JSON_BYTES or not inflater.eof:
        raise _unreadable(EOFError())
    return text


def parse(text: bytes) -> Plan:
    """Read a plan's JSON. Raises PlanUnreadable."""
    try:
        return Plan.model_validate_json(text)
    except ValueError as error:
        raise _unreadable(error) from error


def _packed(data: Mapping[str, str] | None) -> bytes:
    try:
        return base64.b64decode((data or {})[PLAN_FILE])
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> PlanUnreadable:
    return PlanUnreadable(
        f"the plan cannot be read ({type(error).__name__}): it is of another version, or damaged. Use the version that "
        "made it, or delete its ConfigMap: the plan is then made again, perhaps with other keys."
    )
