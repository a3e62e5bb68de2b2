"""Read the JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.models.fields import MODEL
from misstep.models.pointers import check_no_pointer


def read_object(file: Path, field: str = MODEL) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no such file.

    Raises:
        BadInput: the file is a Git LFS pointer, is not JSON, or is not an object.
    """
    if not file.is_file():
        return {}
    check_no_pointer(file, field)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(field, f"{file.name} is not JSON: {error} ({file})", "Fetch it again, or correct it.") from error
    if not isinstance(held, dict):
        raise BadInput(field, f"{file.name} is not a JSON object ({file})", "Fetch it again, or correct it.")
    return held
