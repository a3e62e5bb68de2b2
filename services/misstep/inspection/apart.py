"""Inspect a model in a separate process: the caller does not load torch, and a file that hangs or crashes a library
affects only that process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from misstep.errors import BadInput, MisstepError

LIMIT_SECONDS = 600
"""A 70B folder on a slow disk takes a tenth of this."""
_LAST_LINES = 3


def inspect_apart(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``python -m misstep.inspection``.

    Args:
        request: JSON-like; the input of ``__main__``.

    Returns:
        ``{"report": ..., "page": ...}``.

    Raises:
        BadInput: the model cannot be used, or the check did not end.
        MisstepError: the process failed, the Hub or a store did not answer.
    """
    field = str(request.get("model_field", "spec.policy.model"))
    environment = os.environ | {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "misstep.inspection"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=environment,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInput(
            field,
            str(request.get("uri")),
            f"Checking it took more than {LIMIT_SECONDS} seconds: its tokenizer or chat template may never end.",
        ) from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        said = " | ".join(done.stderr.strip().splitlines()[-_LAST_LINES:]) or "nothing"
        raise MisstepError(f"{field}: the model check ended with code {done.returncode} and said: {said}") from error
    if refused := answer.get("refused"):
        raise BadInput(refused["field"], refused["value"], refused["fix"])
    if failed := answer.get("failed"):
        raise MisstepError(failed)
    return dict(answer)
