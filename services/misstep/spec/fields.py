"""Field types of the Experiment.

A `Number` comes back from a Kubernetes API server as the same float: both sides write the shortest text that reads back
the same. Only ``1.0`` comes back as ``1``, which is the same number here. Sizes in bytes are Kubernetes quantities,
``2Gi``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

QUANTITY_PATTERN = r"^[1-9][0-9]{0,6}(Mi|Gi)$"
COPY_PATTERN = r"^(s3://[^/]+/.+|file:///.+)$"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
RESOURCE_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
"""The syntax of Kubernetes object names."""
_QUOTED_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_QUANTITY = re.compile(QUANTITY_PATTERN)


class SpecModel(BaseModel):
    """Base of all Experiment types: camelCase in YAML, unknown fields refused, immutable. Types are as strict as in
    Kubernetes: neither ``"16"`` nor ``true`` is a number."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )


def dotted(place: Sequence[str | int]) -> str:
    """Return the keys and list positions that lead to a field as people write them: ``spec.arms[0].name``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def _number(value: Any) -> float:
    """Take a number, or text as it was written in quotes before 0.2, which `misstep.spec.quoted` names."""
    if isinstance(value, str) and is_quoted_number(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("write a number, for example 0.7 or 5e-7")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("write a finite number")
    if number < 0:
        raise ValueError("write a number of zero or more")
    return abs(number)  # -0.0 is 0


def is_quoted_number(text: str) -> bool:
    """Return whether text is a number that an Experiment could hold in quotes."""
    return _QUOTED_NUMBER.fullmatch(text) is not None


def plain_number(value: float) -> int | float:
    """Return a number as it comes back from JSON that Kubernetes writes: a whole one has no fraction."""
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def number_text(value: float) -> str:
    """Write a number as people do, short, so that it reads back the same: ``0.7``, ``3e-4``, ``2``."""
    plain = plain_number(value)
    if isinstance(plain, int):
        return str(plain)
    return min(repr(plain), format(Decimal(repr(plain)).normalize(), "e"), key=len)


Number = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(plain_number, return_type=int | float),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
"""A finite number of zero or more."""


def _mebibytes(value: Any) -> int:
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise ValueError("write a whole number of Mi or Gi, for example 512Mi or 2Gi")
    number = int(value[:-2])
    return number if value.endswith("Mi") else number * 1024


Mebibytes = Annotated[
    int,
    BeforeValidator(_mebibytes),
    PlainSerializer(lambda mib: f"{mib}Mi", return_type=str),
    WithJsonSchema({"type": "string", "pattern": QUANTITY_PATTERN}),
]
"""MiB in Python, a Kubernetes quantity in YAML."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
ObjectName = Annotated[str, Field(pattern=RESOURCE_NAME, max_length=253)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
CopyUri = Annotated[str, Field(pattern=COPY_PATTERN, max_length=1024)]
"""The location of an uploaded copy: `file:///FOLDER` or `s3://BUCKET/PATH`."""
CopyDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""The form that `misstep.artifacts.digest.digest_path` returns."""


def refuse_half_copy(uri: str | None, digest: str | None) -> None:
    """Refuse a copy's URI without its digest, or a digest without a URI."""
    if (uri is None) != (digest is None):
        raise ValueError("uri and digest belong together: misstep upload prints both")
