"""Dropped rows: the log message, and the field that an error names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from misstep.errors import BadInput
from misstep.plan.params import SubsetParams
from misstep.training import dpo_stage, sft_stage
from misstep.training.dropped import Limit, check_dropped, refuse_no_rows
from misstep.training.rows import PairRow, Rows, pair_rows, sft_rows
from tests.training import small, stages
from tests.training.test_rows import END, int32

LONG = ([3, 4, 5], [6, END])


def test_a_few_dropped_rows_are_logged_and_many_are_a_warning(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    good = ([3], [4, END])
    limit = Limit(max_length=4, context=64)
    check_dropped(sft_rows([good] * 3, {END}, limit.tokens), limit)
    assert caplog.records == []
    check_dropped(sft_rows([good] * 99 + [LONG], {END}, limit.tokens), limit)
    check_dropped(sft_rows([good] * 97 + [LONG, LONG, ([3], [4])], {END}, limit.tokens), limit)
    few, many = caplog.records
    assert (few.levelname, many.levelname) == ("INFO", "WARNING")
    assert many.getMessage() == (
        "3 of 100 training rows (3.0%) were dropped: 2 too long (more than 4 tokens; the longest has 5), "
        "1 without an end token at the end"
    )


def test_rows_that_are_all_too_long_are_refused_with_the_field_that_helps():
    for rows in (sft_rows([LONG], {END}, 3), pair_rows([PairRow(int32(3, 4), int32(5, 6, END), int32(6))], 3)):
        with pytest.raises(BadInput, match=r"maxLength \(spec.training\): no training row is left of 1\.") as error:
            check_dropped(rows, Limit(max_length=3, context=64))
        assert error.value.exit_code == 64
        assert error.value.fix == (
            "Dropped: 1 too long (more than 3 tokens; the longest has 5). Raise it: the longest row has 5 tokens."
        )
        with pytest.raises(BadInput, match="the longest row has 5 tokens, though the model's context ends at 4"):
            check_dropped(rows, Limit(max_length=3, context=4))
        with pytest.raises(BadInput, match=r"spec.policy.model: .*Its context is 3 tokens"):
            check_dropped(rows, Limit(max_length=1000, context=3))


def test_no_rows_are_refused_by_their_most_frequent_reason():
    limit = Limit(max_length=3, context=64)
    mixed = sft_rows([LONG, ([3], [END, 4, END]), ([3], [END, END])], {END}, 3)
    with pytest.raises(BadInput, match=r"spec.problems.train: .* left of 3\. Dropped: 2 with an end token before"):
        refuse_no_rows(mixed, limit)
    with pytest.raises(BadInput, match=r"spec.policy.model: .* left of 1\. Dropped: 1 without an end token"):
        refuse_no_rows(sft_rows([([3], [4])], {END}, 3), limit)
    with pytest.raises(BadInput, match=r"spec.problems.train: .* left of 0\. All are gone\. Give"):
        refuse_no_rows(Rows([]), limit, "All are gone.")
    refuse_no_rows(sft_rows([([3], [END])], {END}, 3), limit)


def test_sft_without_rows_is_bad_input_with_the_counts(base: Path, tmp_path: Path):
    of = stages.problems()
    rows = of.to_pylist()
    for row in rows[:32]:
        row["question"], row["solution"] = "1 + 1 =", "so " * 54 + "#### 1"
    for row in rows[32:36]:
        row["solution"] = "so <eos> #### 1"
    rows[36]["solution_verdict"], rows[37]["solution_verdict"] = "wrong", None
    problems = type(of).from_pylist([*rows[:38], *rows[40:]], schema=of.schema)
    params = stages.sft_params(subset=SubsetParams(size=36, seed=0), optimiser=small.optimiser(max_length=60))
    with pytest.raises(BadInput) as error:
        sft_stage.open_work(stages.stage(tmp_path, base, params, problems=problems)).run(0)
    assert error.value.exit_code == 64
    assert error.value.field == "maxLength (spec.training)"
    assert str(error.value) == (
        "maxLength (spec.training): no training row is left of 36. Dropped: 32 too long (more than 60 tokens; the "
        "longest has 61), 4 with an end token before the end. Training problems without a correct solution: 2 "
        "(1 no solution, 1 wrong). Raise it: the longest row has 61 tokens."
    )


def test_too_few_solutions_are_refused_with_what_is_wrong_with_the_others(base: Path, tmp_path: Path):
    of = stages.problems()
    rows = of.to_pylist()
    rows[0]["solution_verdict"], rows[1]["solution_verdict"] = "wrong", None
    params = stages.sft_params(subset=SubsetParams(size=40, seed=0))
    context = stages.stage(tmp_path, base, params, problems=type(of).from_pylist(rows, schema=of.schema))
    with pytest.raises(BadInput, match=r"correct solution: 2 \(1 no solution, 1 wrong\)\. Choose smaller sizes"):
        sft_stage.open_work(context).run(0)


def test_dropped_rows_stand_in_progress_and_summary(base: Path, tmp_path: Path):
    table = stages.pairs()
    rows = table.to_pylist()
    rows[3]["rejected_ids"] = []
    rows[4]["chosen_ids"] = small.ids("so " * 70)
    context = stages.stage(
        tmp_path, base, stages.dpo_params(), pairs=type(table).from_pylist(rows, schema=table.schema)
    )
    details: list[dict[str, object]] = []
    context.progress.update = lambda *counts, **detail: details.append(detail)  # type: ignore[method-assign]
    output = dpo_stage.open_work(context).run(0)
    assert (output.summary["rows"], output.summary["rows_dropped"]) == (38, 2)
    assert output.summary["dropped"] == {"empty-side": 1, "too-long": 1}
    assert [detail["dropped"] for detail in details] == [2] * 31
    assert (
        "rows_dropped"
        not in dpo_stage.open_work(stages.stage(tmp_path / "all", base, stages.dpo_params())).run(0).summary
    )
