from __future__ import annotations

from pathlib import Path

import pytest

from misstep.artifacts.live_log import LiveLog
from misstep.errors import BadInput
from misstep.store.open import open_store
from misstep.tracking.follow import Logger, Turn, follow
from misstep.tracking.gather import Gatherer
from misstep.tracking.runs import Logged, News, Run
from tests.tracking.finished import STEPS, commit, experiment, finished, output_of, planned, training_tables


class Memory:
    """A tracker in memory that fails at the calls whose number is given, before or after it took the news."""

    place = "memory"

    def __init__(self, *failing: str | None) -> None:
        self.has: dict[str, Logged] = {}
        self.points: list[tuple[str, str, int]] = []
        self._failing = iter(failing)

    def open(self, run: Run) -> Logged:
        return self.has.setdefault(run.id, Logged())

    def log(self, run: Run, news: News) -> None:
        fails = next(self._failing, None)
        if fails == "before":
            raise ConnectionError("away")
        self.points += [(run.name, name, row.step) for row in news.rows for name in row.values]
        self.has[run.id] = self.has[run.id].plus(news)
        if fails == "after":
            raise TimeoutError("the answer was lost")

    def close(self) -> None: ...


def test_a_tracker_that_fails_before_or_after_it_took_the_news_gets_each_point_once(tmp_path: Path) -> None:
    made = finished(tmp_path)
    said: list[str] = []
    naps: list[float] = []
    tracker = Memory("before", "after", None, "after")
    logger = Logger(made, experiment(tmp_path).resolved(), tracker)
    gather = Gatherer(made, experiment(tmp_path).resolved(), open_store(made.storage))
    whole = follow(logger, gather, lambda: True, said.append, patience=1000, sleep=naps.append, clock=lambda: 0.0)
    gather.close()
    assert whole
    assert len(tracker.points) == len(set(tracker.points))
    assert {step for run, name, step in tracker.points if (run, name) == ("step-d60-s0", "train/loss")} == set(
        range(1, STEPS + 1)
    )
    assert naps == [2, 4, 8], "it waits longer each time"
    assert said[0] == "warning: ConnectionError: away; trying again" and said[-1] == "again: it answers"


def test_a_tracker_that_stays_away_is_given_up_after_the_end(tmp_path: Path) -> None:
    made, now = finished(tmp_path), [0.0]
    said: list[str] = []
    logger = Logger(made, experiment(tmp_path).resolved(), Memory(*["before"] * 1000))
    gather = Gatherer(made, experiment(tmp_path).resolved(), open_store(made.storage))

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert not follow(logger, gather, lambda: True, said.append, patience=30, sleep=sleep, clock=lambda: now[0])
    gather.close()
    assert now[0] <= 30
    assert said == ["warning: ConnectionError: away; trying again"], "said once"


def test_a_tracker_that_is_away_when_all_results_are_there_is_given_up_too(tmp_path: Path) -> None:
    """A pod is not told that the run has ended."""
    made, now = finished(tmp_path), [0.0]
    logger = Logger(made, experiment(tmp_path).resolved(), Memory(*["before"] * 1000))
    gather = Gatherer(made, experiment(tmp_path).resolved(), open_store(made.storage))

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert not follow(logger, gather, lambda: False, print, patience=30, sleep=sleep, clock=lambda: now[0])
    gather.close()
    assert now[0] <= 32


def test_it_logs_while_stages_are_committed_one_by_one(tmp_path: Path) -> None:
    made = planned(tmp_path)
    store, scratch = open_store(made.storage), tmp_path / "scratch"
    left = list(made.stages)
    logger = Logger(made, experiment(tmp_path).resolved(), Memory())
    gather = Gatherer(made, experiment(tmp_path).resolved(), store)
    grown = []

    def next_stage(_seconds: float) -> None:
        grown.append(logger.rows)
        stage = left.pop(0)
        commit(store, stage, scratch, output_of(stage, scratch))

    assert follow(logger, gather, lambda: not left, print, patience=1, sleep=next_stage)
    gather.close()
    assert grown[0] == 0 and grown[-1] == 2 * STEPS and STEPS in grown


def test_a_foreign_manifest_ends_it(tmp_path: Path) -> None:
    made = finished(tmp_path)
    manifests = [tmp_path / "store" / stage.key / "manifest.json" for stage in made.stages[-2:]]
    manifests[0].write_bytes(manifests[1].read_bytes())
    resolved = experiment(tmp_path).resolved()
    gather = Gatherer(made, resolved, open_store(made.storage))
    with pytest.raises(BadInput, match="foreign"):
        follow(Logger(made, resolved, Memory()), gather, lambda: True, print, patience=1)
    gather.close()


def test_one_process_at_a_time_logs_an_experiment_into_a_place(tmp_path: Path) -> None:
    made, tracker = planned(tmp_path), Memory()
    first, second = Turn(made, tracker), Turn(made, tracker)
    assert first.take() and not second.take()
    first.release()
    assert second.take()
    second.release()


def test_a_training_that_runs_is_logged_row_by_row_and_its_commit_adds_only_the_rest(tmp_path: Path) -> None:
    made, tracker = planned(tmp_path), Memory()
    store, resolved = open_store(made.storage), experiment(tmp_path).resolved()
    training = made.stage("sft-d60-s0")
    whole = training_tables()["log"].to_pylist()
    logger, gather = Logger(made, resolved, tracker), Gatherer(made, resolved, store)
    steps = []
    for rows in (3, 7, 5, 9):  # a resumed training begins again at an earlier step
        LiveLog(lambda: store, training.key).publish(whole[:rows], [])
        logger.update(gather())
        steps.append(logger.rows)
    commit(store, training, tmp_path / "scratch", output_of(training, tmp_path / "scratch"))
    logger.update(gather())
    gather.close()
    assert steps == [3, 7, 7, 9]
    assert [step for _, name, step in tracker.points if name == "train/loss"] == list(range(1, STEPS + 1))
