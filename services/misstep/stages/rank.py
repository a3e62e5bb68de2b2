"""One rank of a training stage, as torchrun starts it: ``python -m misstep.stages.rank STAGE.json FOLDER``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from misstep.errors import EXIT_FAILED, MisstepError
from misstep.processes import die_with_parent
from misstep.unpickling import read_weights_only


def main(argv: list[str]) -> int:
    """Do one rank's part of a stage; its error, if any, also goes to a file next to its heartbeat file."""
    die_with_parent(signal.SIGKILL, os.getppid())
    read_weights_only()
    import structlog

    from misstep.distributed import liveness
    from misstep.plan.frozen import FrozenStage
    from misstep.stages.logs import configure_logs

    configure_logs()
    rank = int(os.environ["RANK"])
    folder = Path(argv[1])
    signs = folder / "ranks"
    os.environ[liveness.ENVIRONMENT] = str(signs / f"{rank}.alive")
    liveness.report_alive("starting")
    stage = FrozenStage.model_validate_json(Path(argv[0]).read_bytes())
    log = structlog.get_logger(__name__)
    try:
        with structlog.contextvars.bound_contextvars(stage=stage.key, name=stage.name, rank=rank):
            from misstep.stages.shell import run_rank

            run_rank(stage, folder)
    except MisstepError as error:
        log.error(str(error), rank=rank)  # noqa: TRY400 - its text is the message
        code, text = error.exit_code, str(error)
    # The outermost handler: any other exception of a stage's libraries must reach the log and the exit code.
    except Exception as error:
        log.exception("rank failed", rank=rank)
        code, text = EXIT_FAILED, f"{type(error).__name__}: {error}"
    else:
        return _leave(0)
    _leave_words(signs / f"{rank}.error", code, text)
    return _leave(code)


def _leave_words(file: Path, code: int, text: str) -> None:
    half = file.with_suffix(".tmp")
    half.write_text(json.dumps({"code": code, "text": text, "at": time.time()}))
    half.replace(file)


def _leave(code: int) -> int:
    """Exit at once: the libraries' cleanup would wait for ranks that have ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
