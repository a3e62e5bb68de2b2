"""The field that errors name: the same checks are used for a policy, a teacher and a stage's input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from misstep.errors import BadInput

MODEL = "spec.policy.model"


@contextmanager
def named(field: str) -> Iterator[None]:
    """Make errors about a model that are raised inside the block name this field."""
    try:
        yield
    except BadInput as error:
        raise BadInput(field, error.value, error.fix) from error
