"""The field that an error names: the same check serves a policy, a teacher and a stage's own input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from misstep.errors import BadInput

MODEL = "spec.policy.model"


@contextmanager
def named(field: str) -> Iterator[None]:
    """Let errors about a model that are raised inside the block name this field."""
    try:
        yield
    except BadInput as error:
        raise BadInput(field, error.value, error.fix) from error
