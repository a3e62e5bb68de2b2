"""``misstep stage``: run one shard of one stage, in a pod or for the local runner."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from misstep.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput, MisstepError
from misstep.printable import printable
from misstep.unpickling import read_weights_only

if TYPE_CHECKING:
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.kinds import StageKind

_MESSAGE_BYTES = 4096
"""The most bytes of a termination message that Kubernetes keeps."""


def main(argv: Sequence[str] | None = None, *, registry: Mapping[StageKind, str] | None = None) -> int:
    """Run ``misstep stage ARGS`` and return its exit code.

    0 done; 64 bad input, never to be retried; 143 or 130 ended by SIGTERM or Ctrl-C; 1 anything else. The last
    error line also goes to the file that ``MISSTEP_TERMINATION_LOG`` names.
    """
    args = _parser().parse_args(argv)
    read_weights_only()
    # Heavy imports come only now, so that a wrong option is reported at once.
    import structlog

    from misstep.plan.extras import need
    from misstep.plan.kinds import KINDS
    from misstep.stages.logs import configure_logs

    configure_logs()
    log = structlog.get_logger(__name__)
    try:
        with _ended_by_signals():
            stage = load_stage(args.stage, args.endpoint, args.path_style)
            need(f"stage {stage.name}", KINDS[stage.kind].extra)
            from misstep.stages.registry import REGISTRY
            from misstep.stages.shell import run_stage

            with structlog.contextvars.bound_contextvars(stage=stage.key, name=stage.name, shard=args.shard):
                run_stage(stage, args.shard, registry=REGISTRY if registry is None else registry)
    except _Terminated as end:
        log.warning("ended by a signal; the unfinished block is lost, a restart computes it again", signal=end.signal)
        return 128 + end.signal
    except MisstepError as error:
        log.error(str(error))  # noqa: TRY400 - its text is the message; a traceback would only hide it
        _leave_message(str(error))
        return error.exit_code
    # The outermost handler: any other exception of a stage's libraries must reach the log and the exit code.
    except Exception as error:
        log.exception("stage failed")
        _leave_message(f"{type(error).__name__}: {error}")
        return EXIT_FAILED
    else:
        return 0


def load_stage(text: str, endpoint: str | None = None, path_style: bool = False) -> FrozenStage:
    """Parse a frozen stage from JSON, or from the file or object at a path or URI. Raises BadInput."""
    from pydantic import ValidationError

    from misstep.artifacts.paths import KEY
    from misstep.plan.frozen import FrozenStage
    from misstep.store.description import Storage

    if text.lstrip().startswith("{"):
        source, document = "frozen stage", text.encode()
    elif "://" in text:
        from misstep.store.base import MissingError
        from misstep.store.open import open_store

        folder, _, name = text.rpartition("/")
        store = open_store(Storage(uri=folder, endpoint=endpoint, path_style=path_style))
        try:
            source, document = text, store.get(name)
        except MissingError as error:
            raise BadInput("frozen stage", text, "There is no such object.") from error
    else:
        try:
            source, document = text, Path(text).read_bytes()
        except OSError as error:
            raise BadInput("frozen stage", text, f"It cannot be read: {error.strerror}.") from error
    try:
        stage = FrozenStage.model_validate_json(document)
        stage.typed_params()
        if not KEY.fullmatch(stage.key):
            raise BadInput(
                source, f"key: {stage.key}", "This is not a valid key: write the stage with this version of Misstep."
            )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        fix = f"Write it with the same version of Misstep as this one ({error.error_count()} errors in all)."
        raise BadInput(source, f"{where}: {first['msg']}", fix) from error
    return stage


class _Terminated(BaseException):
    """A signal to end, raised so that ``finally`` blocks run; ``except Exception`` does not catch it."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(number)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)

    def end(number: int, _frame: FrameType | None) -> None:
        for each in numbers:  # ignore repeated signals: they must not interrupt the cleanup
            signal.signal(each, signal.SIG_IGN)
        raise _Terminated(number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _leave_message(text: str) -> None:
    path = os.environ.get("MISSTEP_TERMINATION_LOG")
    if path:
        line = " ".join(printable(text).split()).encode()[:_MESSAGE_BYTES]
        with suppress(OSError):  # the log has it too
            Path(path).write_bytes(line.decode(errors="ignore").encode())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        _leave_message(f"{self.prog}: {message}")
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("misstep stage", description="Run one shard of one frozen stage.")
    parser.add_argument("stage", help="the frozen stage as JSON, or a path or URI (file://, s3://) of it")
    parser.add_argument(
        "--shard",
        type=int,
        default=os.environ.get("JOB_COMPLETION_INDEX", "0"),
        help="which shard (default: JOB_COMPLETION_INDEX, else 0)",
    )
    parser.add_argument("--endpoint", help="for an s3:// URI: the server's address")
    parser.add_argument("--path-style", action="store_true", help="for an s3:// URI: no host name per bucket")
    return parser


if __name__ == "__main__":
    sys.exit(main())
