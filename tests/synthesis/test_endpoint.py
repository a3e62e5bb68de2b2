"""The synthesize stage against a real socket: good answers, every kind of failure, budgets, rates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tenacity import wait_exponential_jitter

from misstep.errors import BadInput, MisstepError
from misstep.plan.kinds import StageKind
from misstep.synthesis import client, monitor
from misstep.synthesis.responses import TryAgain, check_status
from tests.synthesis.running import endpoint, experiment, planned, rows_of, run, seeds, stage_of
from tests.synthesis.server import FAULTS, GoodTeacher, Seen, TeacherServer, rubbish, serving


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_backoff", wait_exponential_jitter(multiplier=0.02, max=0.1, jitter=0.02))


def test_new_problems_with_voted_answers(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher())) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, ", newProblemsPerSeed: 2, solutions: 3"), seeds(6)))
        manifest = run(made)
    drafts = rows_of(made, StageKind.SYNTHESIZE, "drafts", tmp_path)
    assert [(d["draft"], d["kept"], d["votes"]) for d in drafts] == [(0, True, 3), (1, True, 3)] * 6
    problems = rows_of(made, StageKind.CURATE, "problems", tmp_path)
    assert Counter(p["split"] for p in problems) == {"train": 12, "validation": 4, "test": 5}
    train = [p for p in problems if p["split"] == "train"]
    assert all(p["solution"].endswith(f"\n#### {p['gold']}") and p["solution_verdict"] == "correct" for p in train)
    assert all(
        eval(p["question"].split(" is ")[0].split(" ", 9)[9].replace("plus", "+")) == int(p["gold"]) for p in train
    )
    assert len(server.seen) == 12 * 5 and {s.body["max_tokens"] for s in server.seen} == {1024}
    told = manifest.summary["teacher"]
    assert told["requests"] == {"asked": 60, "reused": 0, "failed": 0} and told["kept"] == 12
    assert (told["prompt_tokens"], told["generated_tokens"]) == (6000, 3000)


def test_seeds_alone_are_solved_under_their_own_gold(tmp_path: Path) -> None:
    rows = seeds(5)
    answers = {row["question"]: row["answer"] for row in rows} | {rows[3]["question"]: "77"}
    for row in rows:
        del row["solution"]
    path = experiment(tmp_path, endpoint("http://x", ", newProblemsPerSeed: 0, solutions: 2"), rows)
    with serving(TeacherServer(GoodTeacher(answers))) as server:
        path.write_text(
            path.read_text().replace("http://x", server.url).replace(", columns: {solution: solution}", "", 1)
        )
        made = planned(path)
        manifest = run(made)
    train = [p for p in rows_of(made, StageKind.CURATE, "problems", tmp_path) if p["split"] == "train"]
    assert [p["gold"] for p in train] == ["1", "3", "5", "9"]
    assert manifest.summary["teacher"]["rejected"] == {"wrong": 1}
    assert {s.step for s in server.seen} == {"solve"} and len(server.seen) == 10


def test_solutions_that_disagree_give_no_gold(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher(right=0.5))) as server:
        more = ", solutions: 4, minAgreementPercent: 75"
        made = planned(experiment(tmp_path, endpoint(server.url, more, concurrency=1), seeds(30)))
        manifest = run(made)
    drafts = rows_of(made, StageKind.SYNTHESIZE, "drafts", tmp_path)
    assert all(d["kept"] == (d["votes"] >= 3) for d in drafts) and {d["kept"] for d in drafts} == {True, False}
    assert set(manifest.summary["teacher"]["rejected"]) == {"no-agreement"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_try_that_fails_is_made_again(tmp_path: Path, fault: str) -> None:
    with serving(TeacherServer(GoodTeacher(), fault=lambda number, seen: fault if number % 3 == 0 else None)) as server:
        teacher = endpoint(server.url, ", solutions: 2", timeoutSeconds=1, concurrency=4)
        made = planned(experiment(tmp_path, teacher, seeds(2)))
        manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
    assert manifest.summary["kept"] == 2 and manifest.summary["requests"] == {"asked": 8, "reused": 0, "failed": 0}
    assert sum(manifest.summary["retries"].values()) == len(server.seen) - 8 > 0
    assert max(server.answered().values()) <= 2


def test_rubbish_in_the_text_is_stored_and_counted(tmp_path: Path) -> None:
    def odd(seen: Seen) -> str:
        return "\ud800\x00<problem>\n\udfff \u202e \U0010ffff\n</problem>\ud83d"

    with serving(TeacherServer(odd)) as server:
        made = planned(experiment(tmp_path, endpoint(server.url), seeds(3)))
        manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
        with pytest.raises(BadInput, match=r"none of its drafts gave a usable problem .*no-problem: 3"):
            run(made, StageKind.CURATE)
    assert manifest.summary["rejected"] == {"no-problem": 3}
    assert rows_of(made, StageKind.SYNTHESIZE, "drafts", tmp_path)[0]["written"].startswith("?\ufffd<problem>")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "apiKeyEnv: HTTP 401"),
        (403, "apiKeyEnv: HTTP 403"),
        (404, "url .the base address"),
        (400, "HTTP 400: .*unknown model m"),
        (402, "no money"),
        (429, "no money or quota"),
        (302, "base address"),
    ],
)
def test_errors_that_no_retry_can_fix_end_the_stage_at_once(tmp_path: Path, status: int, said: str) -> None:
    body = '{"error": {"message": "unknown model m", "code": "insufficient_quota"}}'
    with serving(TeacherServer(rubbish, status=(status, body))) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, concurrency=4), seeds(20)))
        run(made, StageKind.PROBLEMS)
        with pytest.raises(BadInput, match=said):
            run(made, StageKind.SYNTHESIZE)
    assert len(server.seen) <= 4


def test_a_rate_limit_that_mentions_billing_is_no_empty_account() -> None:
    with pytest.raises(TryAgain):
        check_status(429, {}, b"Rate limit reached. Add a payment method at https://example.com/account/billing")


def test_a_refusal_after_answers_costs_one_draft(tmp_path: Path) -> None:
    picky = TeacherServer(GoodTeacher(), fault=lambda number, seen: "400" if "shop number 2" in seen.text else None)
    with serving(picky) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, ", solutions: 2", concurrency=1), seeds(4)))
        manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
    assert manifest.summary["rejected"] == {"refused": 1} and manifest.summary["kept"] == 3


def test_a_key_is_sent_and_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    with serving(TeacherServer(GoodTeacher())) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, apiKeyEnv="TEACHER_KEY"), seeds(2)))
        run(made)
        assert {s.headers["authorization"] for s in server.seen} == {"Bearer sk-very-secret"}
        assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file() and b"sk-very" in p.read_bytes()]
        monkeypatch.delenv("TEACHER_KEY")
        made = planned(experiment(tmp_path, endpoint(server.url, ", solutions: 1", apiKeyEnv="TEACHER_KEY"), seeds(2)))
        with pytest.raises(BadInput, match=r"apiKeyEnv: TEACHER_KEY.*not set"):
            run(made, StageKind.SYNTHESIZE)


def test_a_server_that_is_down_ends_the_stage_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "OUTAGE_SECONDS", 0.2)
    with serving(TeacherServer(GoodTeacher(), fault=lambda number, seen: "500" if number > 20 else None)) as server:
        made = planned(experiment(tmp_path, endpoint(server.url), seeds(30)))
        run(made, StageKind.PROBLEMS)
        with pytest.raises(MisstepError, match=r"no answer in \d+ tries .*server-error") as error:
            run(made, StageKind.SYNTHESIZE)
        assert not isinstance(error.value, BadInput), "another run may find it up again"
        down = len(server.seen)
        server.fault = lambda number, seen: None
        manifest = run(made, StageKind.SYNTHESIZE)
    assert manifest.summary["requests"]["reused"] == 21 and manifest.summary["kept"] == 30
    assert len(server.seen) - down == 30 * 6 - 21


def test_a_teacher_of_rubbish_ends_the_stage_by_rule(tmp_path: Path) -> None:
    with serving(TeacherServer(rubbish)) as server:
        made = planned(experiment(tmp_path, endpoint(server.url), seeds(500)))
        run(made, StageKind.PROBLEMS)
        with pytest.raises(BadInput, match=r"50 of its last 50 answers .*no-problem: 50.*I like trains"):
            run(made, StageKind.SYNTHESIZE)
    assert len(server.seen) < 50 + 2 * 8


def test_a_long_retry_after_ends_the_stage(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher(), fault=lambda number, seen: "429:86400")) as server:
        made = planned(experiment(tmp_path, endpoint(server.url), seeds(3)))
        run(made, StageKind.PROBLEMS)
        with pytest.raises(MisstepError, match="asks to wait 86400 s"):
            run(made, StageKind.SYNTHESIZE)
    assert len(server.seen) <= 3


def test_retry_after_holds_for_all_requests(tmp_path: Path) -> None:
    told: list[float] = []

    def busy(number: int, seen: Seen) -> str | None:
        if number == 5:
            told.append(seen.at)
            return "429:1.5"
        return None

    with serving(TeacherServer(GoodTeacher(), fault=busy)) as server:
        made = planned(experiment(tmp_path, endpoint(server.url, concurrency=3), seeds(6)))
        run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
    between = [s for s in server.seen if told[0] + 0.3 < s.at < told[0] + 1.45]
    assert not between, "those under way may still arrive, nothing else"


def test_rates_and_concurrency_are_kept(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher())) as server:
        teacher = endpoint(server.url, ", solutions: 2", concurrency=2, requestsPerMinute=1200)
        made = planned(experiment(tmp_path, teacher, seeds(8)))
        run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
    times = [s.at for s in server.seen]
    assert len(times) == 32 and server.most_at_once <= 2
    assert times[-1] - times[0] >= 31 * 0.05 - 0.05, "20 a second"


def test_a_budget_of_tokens_is_never_passed_and_leaves_out_by_order(tmp_path: Path) -> None:
    def finished(concurrency: int) -> tuple[list[str | None], int]:
        folder = tmp_path / str(concurrency)
        folder.mkdir()
        with serving(TeacherServer(GoodTeacher())) as server:
            given = {"concurrency": concurrency, "budget": "{maxTokens: 20000}"}
            teacher = endpoint(server.url, ", solutions: 2, maxNewTokens: 64", **given)
            made = planned(experiment(folder, teacher, seeds(40), "  resources: {default: {blockRows: 20}}"))
            manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
        used = manifest.summary["prompt_tokens"] + manifest.summary["generated_tokens"]
        assert used == 150 * len(server.seen) <= 20_000
        return [d["reason"] for d in rows_of(made, StageKind.SYNTHESIZE, "drafts", folder)], used

    one, used = finished(1)
    assert finished(8) == (one, used), "what is left out does not depend on what runs at once"
    assert one.count("budget") > 0 and one.count(None) > 10
    assert one[:20] == sorted(one[:20], key=lambda reason: reason is not None), "the first seeds of a block come first"


def test_a_larger_budget_reuses_what_was_paid(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher())) as server:

        def spent(money: str) -> tuple[int, dict[str, int]]:
            prices = "pricePerMillionInput: 2, pricePerMillionOutput: 6"
            teacher = endpoint(
                server.url, ", solutions: 2, maxNewTokens: 64", budget=f"{{maxCost: '{money}', {prices}}}"
            )
            made = planned(experiment(tmp_path, teacher, seeds(20)))
            manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
            return manifest.summary["cost_millionths"], manifest.summary["requests"]

        cost, first = spent("0.02")
        assert 0 < cost <= 20_000 and first["reused"] == 0
        more, second = spent("1")
        assert second["reused"] == first["asked"] and second["asked"] + second["reused"] == 80
        assert more == 80 * (100 * 2 + 50 * 6)
    assert max(server.answered().values()) <= 2 and len(server.seen) == 80


def test_usage_is_guessed_where_the_server_does_not_say(tmp_path: Path) -> None:
    with serving(TeacherServer(GoodTeacher(), usage=False)) as server:
        made = planned(experiment(tmp_path, endpoint(server.url), seeds(2)))
        summary = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE).summary
    assert summary["tokens_estimated"] == 12 and summary["prompt_tokens"] > 500 and summary["generated_tokens"] > 100


def test_the_address_and_the_pace_enter_no_key(tmp_path: Path) -> None:
    one = planned(experiment(tmp_path, endpoint("http://a/v1"), seeds(2)))
    other = planned(experiment(tmp_path, endpoint("https://b/v1/", concurrency=99, timeoutSeconds=5), seeds(2)))
    assert [s.key for s in one.stages] == [s.key for s in other.stages]
    assert stage_of(other, StageKind.SYNTHESIZE).endpoint.url == "https://b/v1"  # type: ignore[union-attr]
