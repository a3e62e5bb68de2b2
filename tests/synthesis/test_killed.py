"""A stage that is killed, or ended, in the middle: requests with an answer are never sent again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from misstep.plan.kinds import StageKind
from tests.eventually import eventually
from tests.synthesis.killing import start
from tests.synthesis.running import endpoint, experiment, planned, run, seeds, stage_of
from tests.synthesis.server import GoodTeacher, TeacherServer, serving

SOLUTIONS = 3
MOST = {"write": 1, "check": 1, "solve": SOLUTIONS}
"""How often each conversation is wanted."""


@pytest.mark.parametrize("answers", [1, 17, 43])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_answer_is_paid_for_twice(tmp_path: Path, answers: int, number: signal.Signals) -> None:
    with serving(TeacherServer(GoodTeacher(), fault=lambda n, seen: "hang" if n >= answers else None)) as server:
        more = "  resources: {default: {blockRows: 4}}"
        made = planned(experiment(tmp_path, endpoint(server.url, f", solutions: {SOLUTIONS}"), seeds(20), more))
        run(made, StageKind.PROBLEMS)
        process = start(stage_of(made, StageKind.SYNTHESIZE), tmp_path)
        kept = tmp_path / "store/teacher-requests"
        eventually(lambda: len(list(kept.rglob("*.json"))) == answers and len(server.seen) > answers, 60)
        process.send_signal(number)
        code = process.wait(timeout=20)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.close()
        server.fault = lambda n, seen: None
        manifest = run(made, StageKind.SYNTHESIZE)
    assert manifest.summary["kept"] == 20
    asked = [seen for seen in server.seen if seen.answered]
    assert len(asked) == 20 * (2 + SOLUTIONS), "each request was answered once, over both runs"
    for seen in asked:
        assert server.answered()[seen.text] <= MOST[seen.step]


def test_twins_at_once_agree_on_every_answer(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher())) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, concurrency=4), seeds(12)))
        run(made, StageKind.PROBLEMS)
        twins = [
            start(stage_of(made, StageKind.SYNTHESIZE), tmp_path / name)
            for name in ("a", "b")
            if _folder(tmp_path, name)
        ]
        assert [twin.wait(timeout=60) for twin in twins] == [0, 0]
        for twin in twins:
            assert twin.stderr is not None
            twin.stderr.close()
        again = planned(experiment(tmp_path, endpoint(server.url, ", minAgreementPercent: 1"), seeds(12)))
        before = len(server.seen)
        manifest = run(again, StageKind.SYNTHESIZE)
    assert len(server.seen) == before and manifest.summary["requests"]["asked"] == 0


def _folder(parent: Path, name: str) -> bool:
    (parent / name).mkdir()
    return True
