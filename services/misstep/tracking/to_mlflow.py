"""Runs in MLflow: metrics by step, parameters, artifacts; trainings are children of the experiment's run."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from misstep.spec.tracking import MlflowTracking
from misstep.tracking.runs import Logged, News, Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "misstep.run"
_AT_ONCE = 500
"""Metrics in one request; the server takes 1000. A row is never split over two requests."""
_PARAMS_AT_ONCE = 100
_LONGEST_PARAM = 6000


class MlflowTracker:
    """Runs are found again by a tag, which is set together with the run. Figures without a step stand at step 0."""

    def __init__(self, settings: MlflowTracking) -> None:
        # This process tries again by itself: it must hear of a server that is away within seconds.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        self._settings = settings
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._ids: dict[str, str] = {}

    @property
    def place(self) -> str:
        return f"{self._settings.uri} experiment {self._settings.experiment}"

    def open(self, run: Run) -> Logged:
        client = self._connect()
        query = f"tags.`{_TAG}` = '{run.id}'"
        found = client.search_runs([self._experiment], query, max_results=1, order_by=["attributes.start_time ASC"])
        tags = {_TAG: run.id, "misstep.job": run.job}
        if not run.is_parent:
            tags["mlflow.parentRunId"] = self._ids[run.group]
        one = found[0] if found else client.create_run(self._experiment, tags=tags, run_name=run.name)
        identity = self._ids[run.id] = one.info.run_id
        self._add_params(identity, run, one.data.params)
        names = list(one.data.metrics)
        steps = {name: max(point.step for point in client.get_metric_history(identity, name)) for name in names}
        return Logged(
            steps={name: step for name, step in steps.items() if step},
            facts=frozenset(name for name, step in steps.items() if not step),
            files=frozenset(file.path for file in client.list_artifacts(identity)) if run.files else frozenset(),
            finished=one.info.status == "FINISHED",
        )

    def log(self, run: Run, news: News) -> None:
        from mlflow.entities import Metric

        client, identity, now = self._connect(), self._ids[run.id], int(time.time() * 1000)
        batch = [Metric(name, value, now, 0) for name, value in news.facts.items()]
        for row in news.rows:
            if batch and len(batch) + len(row.values) > _AT_ONCE:
                client.log_batch(identity, metrics=batch)
                batch = []
            batch += [Metric(name, value, now, row.step) for name, value in row.values.items()]
        if batch:
            client.log_batch(identity, metrics=batch)
        for path in news.files.values():
            client.log_artifact(identity, str(path))
        if news.finished:
            client.set_terminated(identity, "FINISHED")

    def close(self) -> None:
        """Nothing is waiting to be sent."""

    def _connect(self) -> MlflowClient:
        if self._client is None:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            logging.getLogger("mlflow").setLevel(logging.ERROR)
            client = MlflowClient(self._settings.uri)
            there = client.get_experiment_by_name(self._settings.experiment)
            if there is None:
                try:
                    self._experiment = client.create_experiment(self._settings.experiment)
                except MlflowException:  # another process has made it in the meantime
                    there = client.get_experiment_by_name(self._settings.experiment)
                    if there is None:
                        raise
            if there is not None:
                self._experiment = there.experiment_id
            self._client = client
        return self._client

    def _add_params(self, identity: str, run: Run, there: dict[str, Any]) -> None:
        """Add the parameters that the run lacks: MLflow refuses to change one."""
        from mlflow.entities import Param

        lacking = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in run.params.items() if name not in there]
        for first in range(0, len(lacking), _PARAMS_AT_ONCE):
            self._connect().log_batch(identity, params=lacking[first : first + _PARAMS_AT_ONCE])
