"""Prometheus metrics of a stage's process. Served only if ``MISSTEP_METRICS_PORT`` is set.

Stages update them when a batch, a request or a block is finished, at most a few times a second. No metric names an
Experiment, a stage or its kind: these come from the labels of the scraped pod.
"""

from __future__ import annotations

import os
import socket
from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server

import misstep
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    from misstep.generation.engine import Completion

_log = structlog.get_logger(__name__)

# Otherwise each counter has a second series with its creation time, which nobody needs.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
PROGRESS = Gauge("misstep_shard_progress_ratio", "How far this process is with its shard.", registry=REGISTRY)
GENERATED_TOKENS = Counter("misstep_generated_tokens", "Tokens of samples that are finished.", registry=REGISTRY)
PROMPT_TOKENS = Counter(
    "misstep_prompt_tokens",
    "Prompt tokens that samples needed read, each counted once a sample, by whether a cache still had them.",
    ["cached"],
    registry=REGISTRY,
)
SAMPLES = Counter("misstep_samples", "Samples that are finished, by how they ended.", ["finish"], registry=REGISTRY)
PENDING_SAMPLES = Gauge(
    "misstep_samples_pending",
    "Samples that the engine was asked for and has not finished: in its batch, or waiting for it.",
    registry=REGISTRY,
)
ROLLOUTS = Counter("misstep_rollouts", "Rollouts of credit assignment that are judged.", registry=REGISTRY)
VERDICTS = Counter("misstep_verdicts", "Verdicts on samples and rollouts.", ["outcome"], registry=REGISTRY)
PENDING_COMPARISONS = Gauge(
    "misstep_comparisons_pending", "Answers that are with a symbolic worker, or wait for one.", registry=REGISTRY
)
LOSS = Gauge("misstep_training_loss", "The last loss in the training log.", ["objective"], registry=REGISTRY)
STEPS = Counter("misstep_training_steps", "Optimiser steps that this process has done.", registry=REGISTRY)
TRAINED_TOKENS = Counter("misstep_training_tokens", "Tokens trained on, over all ranks.", registry=REGISTRY)
# From zero, so that the first count is an increase.
for _labels, _metric in ((("false", "true"), PROMPT_TOKENS), (("stop", "length"), SAMPLES), (Verdict, VERDICTS)):
    for _label in _labels:
        _metric.labels(_label)
# Not `misstep_build_info`: an alert uses its absence to detect a missing operator.
Gauge("misstep_stage_build_info", "1, with the stage's version.", ["version"], registry=REGISTRY).labels(
    misstep.__version__
).set(1)


def serve(fraction: Callable[[], float]) -> None:
    """Serve ``/metrics`` on the port that the environment names, from a thread, until this process ends.

    A port that is not available causes a warning only: a stage must not fail because of its metrics.

    Args:
        fraction: called at each scrape; returns the shard's progress.
    """
    port = os.environ.get("MISSTEP_METRICS_PORT")
    if not port:
        return
    PROGRESS.set_function(fraction)
    try:
        start_http_server(int(port), "::" if socket.has_dualstack_ipv6() else "0.0.0.0", REGISTRY)  # noqa: S104
    except (OSError, OverflowError, ValueError) as error:
        _log.warning("no metrics are served", port=port, error=str(error))


def count_samples(completions: Iterable[Completion]) -> None:
    """Count the finished samples of a request."""
    found = list(completions)
    PENDING_SAMPLES.dec(len(found))
    GENERATED_TOKENS.inc(sum(len(completion.token_ids) for completion in found))
    for reason, count in Counts(completion.finish_reason for completion in found).items():
        SAMPLES.labels(reason).inc(count)


def count_prompt_tokens(needed: int, cached: int) -> None:
    """Count the prompt tokens that samples needed, and how many of them were cached."""
    PROMPT_TOKENS.labels("false").inc(needed - cached)
    PROMPT_TOKENS.labels("true").inc(cached)


def count_verdicts(verdicts: Iterable[Verdict]) -> None:
    """Count the verdicts of a batch of answers."""
    for verdict, count in Counts(verdicts).items():
        VERDICTS.labels(verdict.value).inc(count)
