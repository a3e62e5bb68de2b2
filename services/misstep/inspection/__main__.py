"""``python -m misstep.inspection``: inspect the model that a JSON request on standard input names.

The last line of standard output is JSON: ``report`` and ``page``, or ``refused`` (field, value, fix), or ``failed``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from misstep.unpickling import read_weights_only


def main() -> int:
    """Read the request, inspect, answer. Returns the exit code of the answer."""
    read_weights_only()
    request = json.loads(sys.stdin.read())
    # Output of libraries must not mix with the answer.
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(prefix="misstep-model-") as scratch:
        answer, code = _answer(request, Path(scratch))
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    return code


def _answer(request: dict[str, Any], scratch: Path) -> tuple[dict[str, Any], int]:
    from misstep.errors import BadInput, MisstepError
    from misstep.inspection.model import Steps, inspect_model
    from misstep.inspection.page import page
    from misstep.inspection.skeleton import fetch_skeleton
    from misstep.plan.params import PromptParams
    from misstep.store.description import Storage

    field = request["model_field"]
    try:
        storage = Storage.model_validate(request["storage"]) if request.get("storage") else None
        folder = fetch_skeleton(field, request["uri"], storage, scratch / "model")
        prompt = PromptParams.model_validate(request["prompt"]) if request.get("prompt") else None
        report = inspect_model(
            folder,
            prompt,
            (),
            field,
            Steps(**request.get("steps", {})),
            shown_as=request["uri"],
            guess_prompt=bool(request.get("guess_prompt")),
        )
    except BadInput as error:
        value = error.value if isinstance(error.value, str) else repr(error.value)
        return {"refused": {"field": error.field, "value": value, "fix": error.fix}}, error.exit_code
    except MisstepError as error:
        return {"failed": str(error)}, error.exit_code
    return {"report": report.as_json(), "page": page(report)}, 0


if __name__ == "__main__":
    sys.exit(main())
