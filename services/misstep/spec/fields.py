"""Field types of the Experiment: what Kubernetes can hold (no floats) and what people write, made one.

A number that needs a fraction is a quoted string, ``"5e-7"``: unquoted, YAML parsers disagree on whether it is a
number at all, and Kubernetes APIs carry no floats. Sizes in bytes are Kubernetes quantities, ``2Gi``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

DECIMAL_PATTERN = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"
QUANTITY_PATTERN = r"^[1-9][0-9]{0,6}(Mi|Gi)$"
COPY_PATTERN = r"^(s3://[^/]+/.+|file:///.+)$"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
RESOURCE_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
"""The syntax of Kubernetes object names."""
_DECIMAL = re.compile(DECIMAL_PATTERN)
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


def _decimal(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write a number in quotes, for example "0.7"')
    if not isinstance(value, str):
        raise ValueError(f'write it in quotes: "{decimal_text(value)}"')
    if not _DECIMAL.match(value):
        raise ValueError('write a plain decimal number of zero or more in quotes, for example "0.7" or "5e-7"')
    return float(value)


def decimal_text(value: float) -> str:
    """Write a number as the Experiment does: the shortest text that reads back the same."""
    return repr(int(value)) if value == int(value) and value < 1e15 else repr(value).replace("e-0", "e-")


DecimalText = Annotated[
    float,
    BeforeValidator(_decimal),
    PlainSerializer(decimal_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": 24}),
]
"""A float in Python, a patterned string in YAML."""


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
