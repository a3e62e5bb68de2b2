"""The commands, on a real run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from misstep.audit.credit_read import CreditStage, Wanted, read_credit
from misstep.audit.credit_view import MOST_SHOWN, Place
from misstep.audit.only import Only
from misstep.audit.page import credit_page
from misstep.audit.verdicts_read import read_verdicts
from misstep.cli.app import main
from misstep.evaluation.safe_page import LONGEST_TEXT
from misstep.plan import configmap
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.runner.workdir import Workdir
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.audit.world import PARAMS, Finished
from tests.cli.test_cluster import Kubectl, kubectl

__all__ = ["kubectl"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*argv: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def credit(finished: Finished, wanted: Wanted, *names: str) -> list[CreditStage]:
    return read_credit(finished.tables(), finished.stages(StageKind.CREDIT, *names), wanted)


def test_the_sample_is_spread_over_the_stages_and_the_same_each_time(finished: Finished) -> None:
    found = credit(finished, Wanted(9))
    assert found == credit(finished, Wanted(9))
    assert sum(len(stage.wrong) for stage in found) == 9
    assert {len(stage.wrong) for stage in found} == {4, 5}
    for stage in found:
        assert stage.seen == stage.summary["negatives"]


def as_counted(place: Place) -> bool:
    """Whether the page knows just what the search counted."""
    solved = sum(one.solved for one in place.shown)
    return place.known == place.solved + place.failed and solved == min(place.solved, MOST_SHOWN)


def test_the_counts_of_an_adaptive_search_are_those_of_the_known_continuations(finished: Finished) -> None:
    stage = credit(finished, Wanted(1000), "credit-d14-s0")[0]
    places = [place for one in stage.wrong for place in (one.before, one.at) if place]
    assert len(places) > 20
    for place in places:
        assert as_counted(place)
        assert len(place.shown) == min(place.known, MOST_SHOWN)
        assert [one.solved for one in place.shown] == sorted((one.solved for one in place.shown), reverse=True)
    with_pit = [one for one in stage.wrong if one.pit]
    assert with_pit and all(one.certainty is not None for one in with_pit)
    assert stage.wrong[: len(with_pit)] == tuple(with_pit)
    # A known success stands before the pit, unless the search gave up before it found one.
    assert sum(one.before is not None and one.before.solved > 0 for one in with_pit) > 0.8 * len(with_pit)


def test_the_counts_of_a_full_scan_are_its_rollouts(finished: Finished) -> None:
    stage = credit(finished, Wanted(1000), "credit-again-d14-s0")[0]
    for one in stage.wrong:
        assert one.certainty is None
        for place in (one.before, one.at):
            assert place is None or as_counted(place)
            assert place is None or not place.steps or place.known == PARAMS.rollouts
        if one.at:
            assert one.at.solved == 0
        if one.pit:
            assert one.steps[one.pit - 1].value.kind == "q"


def test_texts_of_continuations_go_on_from_the_steps(finished: Finished) -> None:
    texts = {(row["problem_id"], row["text"]) for row in finished.samples}
    stage = credit(finished, Wanted(1000), "credit-d14-s0")[0]
    seen = 0
    for one in stage.wrong:
        for place in filter(None, (one.before, one.at)):
            before = "".join(step.text for step in one.steps[: place.steps])
            for continuation in place.shown:
                if continuation.sample:
                    seen += 1
                    assert (one.problem_id, before + continuation.text) in texts
    assert seen > 50


def test_correct_solutions_show_the_step_that_luck_saved(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of this task pass through all such steps, so that none is left unless they are not asked."""
    adaptive, scan = credit(finished, Wanted(1000))
    assert scan.lucky == ()
    assert len(adaptive.lucky) == adaptive.summary["positives"]["lucky"] == 0
    monkeypatch.setattr("misstep.audit.credit_read.row_refuted", lambda *_: False)
    adaptive = credit(finished, Wanted(1000))[0]
    assert adaptive.lucky
    assert "saved by luck" in credit_page("small", [adaptive], Wanted(1000))
    for one in adaptive.lucky:
        assert one.correct and one.pit and one.at and one.before
        assert as_counted(one.at) and as_counted(one.before)
        assert one.at.solved == 0 < one.before.solved
    assert not any(stage.lucky for stage in credit(finished, Wanted(1000, Only.PIT)))


def test_audited_solutions_show_the_pits_of_the_scans(run: Run, finished: Finished) -> None:
    every = credit(finished, Wanted(1000))
    assert [stage.estimator for stage in every] == ["adaptive", "full-scan"]
    for stage in every:
        checked = [one for one in stage.wrong if one.scans]
        assert 0 < len(checked) == stage.summary["audit"]["negatives"] < len(stage.wrong)
        assert {len(one.scans) for one in checked} == {2 if stage.estimator == "adaptive" else 1}
        assert sum(one.scans[0] == one.pit for one in checked) == stage.summary["audit"]["same_pit"]
        assert not any(one.scans for one in stage.lucky)
    counts = every[0].summary["audit"]
    assert run("audit", "credit", "small", "--count", 1000)[0] == 0
    html = (finished.folder / ".misstep" / "small" / "audit-credit.html").read_text()
    assert f"Audit: {counts['negatives']} wrong solutions were also fully scanned, with fresh rollouts." in html
    assert f"The scan found the same pit in {counts['same_pit']} of {counts['negatives']}." in html
    assert html.count("A second scan found that of the first in") == 1
    assert html.count("full scans of the audit:") == counts["negatives"]
    assert html.count("full scan of the audit:") == every[1].summary["audit"]["negatives"]


def test_only_and_problem_choose(finished: Finished) -> None:
    every = [one for stage in credit(finished, Wanted(1000)) for one in stage.wrong]
    differs = [one for stage in credit(finished, Wanted(1000, Only.DIFFERS)) for one in stage.wrong]
    assert differs == [one for one in every if one.true_pit is not None and one.pit != one.true_pit]
    uncertain = [one for stage in credit(finished, Wanted(1000, Only.UNCERTAIN)) for one in stage.wrong]
    assert uncertain == [one for one in every if one.pit and one.certainty is not None and one.certainty < 0.9]
    problem = every[0].problem_id
    some = [one for stage in credit(finished, Wanted(1000, None, frozenset([problem]))) for one in stage.wrong]
    assert some == [one for one in every if one.problem_id == problem]


def test_verdicts_are_spread_over_rules(finished: Finished) -> None:
    stages = finished.stages(StageKind.VERIFY)
    groups = read_verdicts(finished.tables(), stages, 12)
    assert sum(group.seen for group in groups) == len(finished.samples)
    assert sum(len(group.judged) for group in groups) == 12
    assert all(group.judged for group in groups)
    assert groups[0].verdict == "correct"
    golds = {row["problem_id"]: row["gold"] for row in finished.problems}
    texts = {(row["problem_id"], row["sample"]): row["text"] for row in finished.samples}
    for group in groups:
        for one in group.judged:
            assert (one.verdict, one.rule, one.verifier) == (group.verdict, group.rule, "v/7")
            assert (one.gold, one.text) == (golds[one.problem_id], texts[one.problem_id, one.sample])
            assert (one.extracted == one.gold) == (one.verdict == "correct")
    few = read_verdicts(finished.tables(), stages, 5, {finished.problems[0]["problem_id"]})
    assert {one.problem_id for group in few for one in group.judged} == {"p000"}


def test_the_credit_command_writes_a_page_that_says_what_is_missing(run: Run, finished: Finished) -> None:
    code, out, err = run("audit", "credit", "small", "--count", 6)
    assert (code, err) == (0, "not finished, and left out: credit-later\n")
    path = finished.folder / ".misstep" / "small" / "audit-credit.html"
    assert out == f"Page: {path.relative_to(finished.folder)}\n"
    html = path.read_text()
    assert "left out: credit-later." in html
    assert re.search(r">6 of \d+ wrong solutions<", html)
    assert "true first error in" in html
    again = run("audit", "credit", "small", "--count", 6, "--out", finished.folder / "deep" / "again.html")
    assert again[0] == 0
    assert (finished.folder / "deep" / "again.html").read_text() == html


def test_the_verdicts_command_writes_a_page(run: Run, finished: Finished) -> None:
    code, _, err = run("audit", "verdicts", "small", "--stage", "verify-d14-s0", "--count", 5)
    assert (code, err) == (0, "")
    html = (finished.folder / ".misstep" / "small" / "audit-verdicts.html").read_text()
    assert f">5 of {len(finished.samples)} samples<" in html
    assert "verifier v/7" in html


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["credit", "small", "--stage", "credit-latr"], "--stage: credit-latr. Did you mean credit-later?"),
        (
            ["credit", "small", "--stage", "credit-later"],
            "small. Its stage credit-later is not finished. Go on with `misstep run`; `misstep status small` shows",
        ),
        (["verdicts", "small", "--stage", "credit-d14-s0"], "--stage: credit-d14-s0. "),
        (["credit", "small", "--problem", "p999"], "--problem: p999. No solution of it is there."),
        (["credit", "small", "--problem", "p999", "--only", "pit"], "No wrong solution of it is one with a pit."),
        (
            ["credit", "small", "--stage", "credit-again-d14-s0", "--only", "uncertain"],
            "--only: uncertain. There is no wrong solution whose pit is less certain",
        ),
        (["credit", "other"], "It has not run here"),
        (["credit", "small", "--endpoint", "https://s3.example.com"], "Use it with --namespace"),
    ],
    ids=lambda value: " ".join(map(str, value[2:])) if isinstance(value, list) else "",
)
def test_what_cannot_be_shown_is_named_and_exits_with_64(run: Run, argv: list[object], said: str) -> None:
    code, out, err = run("audit", *argv)
    assert (code, out) == (64, "")
    assert err.startswith("error: ") and said in err
    assert err.count("\n") == 1


def test_an_experiment_without_credit_says_so(
    run: Run, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = finished.stages(StageKind.VERIFY)
    workdir = Workdir(tmp_path / "work")
    workdir.create()
    workdir.write_plan(Plan(experiment="small", stages=tuple(stages)))
    code, _, err = run("audit", "credit", "small", "--work", workdir.root)
    assert (code, err) == (
        64,
        "error: experiment: small. It has no credit stage: no arm learns from pairs that need credit.\n",
    )


def test_a_result_of_another_version_says_so(run: Run, finished: Finished, tmp_path: Path) -> None:
    """Its tables may have other columns."""
    import misstep.plan.kinds as kinds

    with pytest.MonkeyPatch.context() as patch:
        old = kinds.KINDS[StageKind.CREDIT]
        patch.setitem(kinds.KINDS, StageKind.CREDIT, type(old)(**{**vars(old), "version": old.version + 1}))
        code, _, err = run("audit", "credit", "small")
    assert code == 64
    assert "stage: credit-d14-s0. Another version of Misstep computed it" in err


def test_a_page_that_cannot_be_written_says_so(run: Run, finished: Finished) -> None:
    code, _, err = run("audit", "verdicts", "small", "--out", finished.folder)
    assert code == 64
    assert "error: --out: " in err


def test_an_experiment_in_a_cluster_is_read_with_the_callers_keys(
    finished: Finished, kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked: list[Storage] = []

    def opened(storage: Storage, **_: object) -> object:
        asked.append(storage)
        return open_store(finished.world.storage)

    monkeypatch.setattr("misstep.store.open.open_store", opened)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    there = Storage(uri="s3://bucket/prefix", endpoint="https://s3.example.com")
    stages = tuple(stage.model_copy(update={"storage": there}) for stage in finished.plan.stages)
    packed = configmap.pack(Plan(experiment="small", stages=stages))
    kubectl.has(state="Running", planDigest=configmap.digest(packed))
    kubectl.answers("get", "configmap", out=json.dumps({"binaryData": packed}))
    command = ["audit", "credit", "small", "--namespace", "research"]
    assert main(command) == 64
    again = "misstep audit credit small --namespace research --endpoint https://s3.example.com"
    assert again in capsys.readouterr().err
    assert asked == []
    assert main([*command, "--endpoint", "https://s3.example.com"]) == 0
    assert (tmp_path / ".misstep" / "small" / "audit-credit.html").exists()
    assert asked == [there]
    late = [*command, "--endpoint", "https://s3.example.com", "--stage", "credit-later"]
    assert main(late) == 64
    assert "`misstep status small --namespace research` shows how far it is" in capsys.readouterr().err


def test_long_text_is_cut(run: Run, finished: Finished) -> None:
    run("audit", "verdicts", "small")
    html = (finished.folder / ".misstep" / "small" / "audit-verdicts.html").read_text()
    assert max(map(len, re.findall(r"<pre[^>]*>([^<]*)", html))) <= LONGEST_TEXT
