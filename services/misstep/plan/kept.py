"""A plan as the ConfigMap that stores it in a cluster. It is made once for each generation of an Experiment, so that an
operator of another version and the command line use the same plan. Pure."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Mapping

from misstep.errors import BadInput, MisstepError
from misstep.plan.planner import Plan

PLAN_FILE = "plan.json.gz"
_MOST_BYTES = 700_000
"""The most bytes of a packed plan: with base64 it stays within the API server's limit of 1 MiB."""
MOST_JSON_BYTES = 16 << 20
"""The most bytes of an unpacked plan. A plan of 1,700 stages has 1.4 MiB, unless prompts are long."""


class PlanUnreadable(MisstepError):
    """A stored plan cannot be read: it was edited, or is of another version."""


def plan_name(experiment: str, uid: str, generation: int) -> str:
    """Return the name of the ConfigMap that stores the plan of a generation.

    An Experiment that was deleted and created again starts at generation 1 again: its uid distinguishes them.
    """
    return f"{experiment}-plan-{hashlib.sha256(uid.encode()).hexdigest()[:6]}-{generation}"


def pack(made: Plan) -> dict[str, str]:
    """Return a plan as a ConfigMap's ``binaryData``. Raises BadInput if it is too large."""
    text = made.model_dump_json().encode()
    packed = gzip.compress(text, mtime=0)
    if len(packed) > _MOST_BYTES or len(text) > MOST_JSON_BYTES:
        fix = "Split it: fewer arms, sizes or seeds in one Experiment. Equal stages are shared."
        raise BadInput("spec", f"{len(made.stages)} stages", fix)
    return {PLAN_FILE: base64.b64encode(packed).decode()}


def digest(data: Mapping[str, str] | None) -> str:
    """Return the sha256 of a packed plan, in hex. Raises PlanUnreadable if there is none."""
    return hashlib.sha256(_packed(data)).hexdigest()


def unpack(data: Mapping[str, str] | None) -> Plan:
    """Read a plan from ``binaryData``. Raises PlanUnreadable if there is none."""
    return parse(inflate(data))


def inflate(data: Mapping[str, str] | None) -> bytes:
    """Return a packed plan's JSON, limited to the size that ``pack`` allows: a few hundred KB can unpack to gigabytes.
    Raises PlanUnreadable."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(_packed(data), MOST_JSON_BYTES + 1)
    except zlib.error as error:
        raise _unreadable(error) from error
    if len(text) > MOST_JSON_BYTES or not inflater.eof:
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
        f"the plan cannot be read ({type(error).__name__}): it is of another version, or damaged. Go back to the "
        "version that made it, or delete its ConfigMap: it is then made again, possibly with other keys."
    )
