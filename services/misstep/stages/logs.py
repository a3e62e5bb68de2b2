"""Structured logs of a stage: one line per event on stderr, as JSON or for people."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import IO

import structlog

from misstep.printable import printable, printable_values


def _harmless(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Messages quote models, data and names in stores: a terminal that shows the log must not interpret their control
    characters."""
    return {name: value if name.startswith("_") else printable_values(value) for name, value in event.items()}


def _harmless_traceback(stream: IO[str], exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(printable(text.getvalue()))


def configure_logs() -> None:
    """Send structlog's and the standard library's events to stderr, in the format of ``MISSTEP_LOG_FORMAT``
    (``plain``, the default, or ``json``)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = os.environ.get("MISSTEP_LOG_FORMAT") == "json"
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_harmless_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    errors: list[structlog.typing.Processor] = [structlog.processors.format_exc_info] if as_json else []
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, _harmless, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("misstep").setLevel(logging.INFO)
