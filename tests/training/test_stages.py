from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from misstep.artifacts.output import Output
from misstep.errors import BadInput, MisstepError
from misstep.generation.fingerprint import fingerprint
from misstep.plan.params import SubsetParams
from misstep.training import dpo_stage, sft_stage
from misstep.training.rows import PairRow
from misstep.training.run import Run
from tests.training import small, stages


def rows_of(monkeypatch: pytest.MonkeyPatch, context: small.FolderContext) -> Run:
    """Return what a stage would train on."""
    runs: list[Run] = []

    def keep(ctx: object, start: object, run: Run) -> Output:
        runs.append(run)
        return Output()

    monkeypatch.setattr("misstep.training.run.train", keep)
    (dpo_stage if "beta" in type(context.params).model_fields else sft_stage).open_work(context).run(0)
    return runs[0]


def texts(run: Run) -> Counter[str]:
    return Counter(" ".join(small.VOCABULARY[i] for i in row.input_ids) for row in run.rows.rows)  # type: ignore[union-attr]


def test_sft_learns_the_teachers_solutions_of_its_subset(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    context = stages.stage(tmp_path, base, stages.sft_params())
    run = rows_of(monkeypatch, context)
    all_of = {f"{p['question']} {p['solution']} <eos>" for p in stages.problems().to_pylist() if p["split"] == "train"}
    assert set(texts(run)) <= all_of
    assert len(run.rows.rows) == 32
    assert run.sources == {"teacher": 32, "own": 0}
    assert [q.problem_id for q in run.questions] == [f"p{i:03}" for i in range(40, 48)]
    smaller = stages.stage(tmp_path, base, stages.sft_params(subset=SubsetParams(size=8, seed=0)))
    assert not texts(rows_of(monkeypatch, smaller)) - texts(run)


def test_rft_learns_own_solutions_and_the_teachers(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.rft_params()))
    assert run.sources == {"teacher": 32, "own": 48}  # sample 0 repeats the teacher's in the 32 problems of the subset
    assert run.counts["dropped"] == {"cut-off": 40, "not-correct": 40, "same-as-teacher": 32}
    assert not [text for text in texts(run) if "19 <eos>" in text]
    alone = stages.POSITIVES.model_copy(update={"with_teacher": False, "per_problem": 1})
    run = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.rft_params(alone)))
    assert run.sources == {"teacher": 0, "own": 40}
    assert run.counts["dropped"] == {"cut-off": 40, "not-correct": 40, "over-per-problem": 40}


FILTERED = stages.POSITIVES.model_copy(update={"with_teacher": False, "per_problem": 4, "filter": "advantage"})


def test_rft_leaves_out_what_luck_saved(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn, _ = stages.samples(stages.problems())
    all_of = FILTERED.model_copy(update={"filter": "none"})
    everything = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.rft_params(all_of)))
    lucky = [("p000", 0), ("p000", 1), ("p003", 1)]
    credit = stages.positives(drawn, lucky)
    run = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.rft_params(FILTERED), positives=credit))
    assert run.counts["dropped"] == {**everything.counts["dropped"], "lucky": 3}
    missing = texts(everything) - texts(run)
    rows = {(row["problem_id"], row["sample"]): row for row in drawn.to_pylist()}
    assert missing == Counter(
        " ".join(small.VOCABULARY[i] for i in [*rows[name]["prompt_ids"], *rows[name]["token_ids"]]) for name in lucky
    )
    nothing = rows_of(
        monkeypatch, stages.stage(tmp_path, base, stages.rft_params(FILTERED), positives=stages.positives(drawn, []))
    )
    assert (texts(nothing), nothing.counts) == (texts(everything), everything.counts)


def test_rft_leaves_out_every_sample_that_is_equal_to_a_lucky_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn, _ = stages.samples(stages.problems())
    rows = drawn.to_pylist()
    same = next(row for row in rows if (row["problem_id"], row["sample"]) == ("p003", 1))
    for row in rows:
        if (row["problem_id"], row["sample"]) == ("p003", 0):
            row["token_ids"] = same["token_ids"]
    twice = type(drawn).from_pylist(rows, schema=drawn.schema)
    credit = stages.positives(twice.filter([row["sample"] == 1 for row in rows]), [("p003", 1)])
    params = stages.rft_params(FILTERED)
    run = rows_of(monkeypatch, stages.stage(tmp_path, base, params, samples=twice, positives=credit))
    assert run.counts["dropped"]["lucky"] == 2


def test_rft_keeps_what_another_correct_response_shows_was_no_luck(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn, _ = stages.samples(stages.problems())
    rows = drawn.to_pylist()
    ids = {(row["problem_id"], row["sample"]): row["token_ids"] for row in rows}
    for row in rows:
        if (row["problem_id"], row["sample"]) == ("p003", 0):
            row["token_ids"] = [*ids["p003", 1][:2], *row["token_ids"]]
    twins = type(drawn).from_pylist(rows, schema=drawn.schema)
    lucky = [("p000", 0), ("p000", 1), ("p001", 1), ("p003", 1)]
    rollouts = stages.rollouts(
        ("p000", "a", [*ids["p000", 0][:2], 9, 1], "correct"),  # goes through the step
        ("p000", "a", [*ids["p000", 1][:2], 9, 1], "wrong"),
        ("p001", "a", ids["p001", 0], "correct"),  # goes elsewhere
    )
    context = stages.stage(
        tmp_path,
        base,
        stages.rft_params(FILTERED),
        samples=twins,
        positives=stages.positives(drawn, lucky),
        positive_rollouts=rollouts,
    )
    run = rows_of(monkeypatch, context)
    assert run.counts["dropped"]["lucky"] == 2
    kept = Counter(tuple(row.input_ids) for row in run.rows.rows)  # type: ignore[union-attr]
    prompts = {row["problem_id"]: row["prompt_ids"] for row in rows}
    assert [(*prompts[p], *ids[p, n]) in kept for p, n in lucky] == [True, False, False, True]


def test_a_sample_that_a_stop_string_ended_gets_an_end_token(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn, judged = stages.samples(stages.problems(), each=2)
    rows = drawn.to_pylist()
    for row in rows:
        if row["sample"] == 1:
            row["token_ids"] = [*row["token_ids"][:-1], *small.ids("and =")]  # the stop string's tokens
    changed = type(drawn).from_pylist(rows, schema=drawn.schema)
    context = stages.stage(tmp_path, base, stages.rft_params(), samples=changed, verdicts=judged)
    before = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.rft_params()))
    assert texts(rows_of(monkeypatch, context)) == texts(before)


def test_pairs_are_trained_on_as_the_table_has_them(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = rows_of(monkeypatch, stages.stage(tmp_path, base, stages.dpo_params()))
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    table = stages.pairs().to_pylist()
    assert [{n: getattr(row, n).tolist() for n in names} for row in run.rows.rows] == [
        {n: row[n] for n in names} for row in table
    ]
    assert [row.weight for row in run.rows.rows if isinstance(row, PairRow)] == [row["weight"] for row in table]
    assert (run.selection, run.questions) == (None, ())


def test_rows_longer_than_the_models_context_are_too_long(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    of = stages.problems()
    rows = of.to_pylist()
    rows[0]["solution"] = "so " * 70 + "#### 1"
    context = stages.stage(
        tmp_path,
        base,
        stages.sft_params(subset=SubsetParams(size=40, seed=0), optimiser=small.optimiser(max_length=1000)),
        problems=type(of).from_pylist(rows, schema=of.schema),
    )
    run = rows_of(monkeypatch, context)
    assert (len(run.rows.rows), dict(run.rows.dropped)) == (39, {"too-long": 1})
    with pytest.raises(BadInput, match="maxLength"):
        sft_stage.open_work(
            stages.stage(tmp_path, base, stages.sft_params(optimiser=small.optimiser(max_length=5)))
        ).run(0)


def test_stages_train_and_say_what_they_did(base: Path, tmp_path: Path):
    work = sft_stage.open_work(stages.stage(tmp_path / "rft", base, stages.rft_params()))
    assert work.blocks() == 1
    output = work.run(0)
    work.close()
    assert output.summary["sources"] == {"teacher": 32, "own": 48}
    assert (output.summary["trained"], output.summary["rows"], output.summary["steps"]) == (True, 80, 60)
    assert output.summary["validation_problems"] == 8
    pi_sft = output.files["model/config.json"].parent
    params = stages.dpo_params(selection=small.selection(epochs=(2,), problems=5))
    output = dpo_stage.open_work(stages.stage(tmp_path / "dpo", pi_sft, params)).run(0)
    assert (output.summary["rows"], output.summary["dropped"], output.summary["validation_problems"]) == (40, {}, 5)
    assert small.table(output, "selection")["epoch"].to_pylist() == [2, 6]
    assert small.table(output, "log")["rewards_accuracy"][-1].as_py() > 0.5


def test_no_pairs_end_in_the_policy_itself_and_say_so(base: Path, tmp_path: Path):
    nothing = stages.pairs().slice(0, 0)
    output = dpo_stage.open_work(stages.stage(tmp_path, base, stages.dpo_params(), pairs=nothing)).run(0)
    assert (output.summary["trained"], output.summary["reason"]) == (False, "no pairs")
    weights, written = load_file(base / "model.safetensors"), load_file(output.files["model/model.safetensors"])
    assert all(torch.equal(weights[name], written[name]) for name in weights)


def test_no_positives_end_in_the_base_and_say_so(base: Path, tmp_path: Path):
    drawn, judged = stages.samples(stages.problems())
    wrong = judged.set_column(2, judged.schema.field(2), [["wrong"] * judged.num_rows])
    alone = stages.POSITIVES.model_copy(update={"with_teacher": False})
    context = stages.stage(tmp_path, base, stages.rft_params(alone), samples=drawn, verdicts=wrong)
    output = sft_stage.open_work(context).run(0)
    assert (output.summary["trained"], output.summary["reason"]) == (False, "no positives")
    assert output.summary["dropped"] == {"not-correct": 160}
    assert small.table(output, "selection").num_rows == 0


def test_samples_without_verdicts_are_refused(base: Path, tmp_path: Path):
    _, judged = stages.samples(stages.problems())
    context = stages.stage(tmp_path, base, stages.rft_params(), verdicts=judged.slice(0, 100))
    with pytest.raises(MisstepError, match="has no verdict"):
        sft_stage.open_work(context).run(0)


def test_what_is_imported_before_a_fork_starts_no_threads():
    program = (
        "import importlib, pathlib; from misstep.plan.frozen import StageKind; from misstep.runner import preload; "
        "[importlib.import_module(name) for name in preload.modules_of(StageKind.DPO)]; "
        "print([p.read_text().strip() for p in pathlib.Path('/proc/self/task').glob('*/comm')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    threads = eval(done.stdout.splitlines()[-1])  # DeepSpeed prints too
    assert sorted(set(threads) - {"jemalloc_bg_thd"}) == [threads[0]]
    assert len(threads) <= 2


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'services'}:{root}"}


def run_until_done(folder: Path, kind: str, kills: int, rng: random.Random) -> dict[str, object]:
    """Run a stage as a program; kill it so many times at random moments after its first checkpoint."""
    command = [sys.executable, "-m", "tests.training.stages", str(folder), kind]
    checkpoints = folder / "store" / f"{kind}-0" / "checkpoints"
    for _ in range(kills):
        before = set(checkpoints.glob("*/manifest.json"))
        with (folder.parent / "log").open("ab") as log:
            process = subprocess.Popen(command, env=_environment(), stderr=log)
        while process.poll() is None and set(checkpoints.glob("*/manifest.json")) <= before:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / "result.json").exists(), "it was too fast to be killed"
    subprocess.run(command, env=_environment(), check=True, stderr=subprocess.DEVNULL)
    result: dict[str, object] = json.loads((folder / "result.json").read_text())
    return result


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize("kind", ["rft", "dpo"])
def test_a_stage_killed_at_random_moments_ends_with_the_same_bytes(base: Path, tmp_path: Path, kind: str):
    (tmp_path / "model").symlink_to(base)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    rng = random.Random()
    whole = run_until_done(tmp_path / "whole", kind, 0, rng)
    killed = run_until_done(tmp_path / "killed", kind, 2, rng)
    assert killed == whole


@pytest.mark.parametrize(("params", "role"), [(stages.rft_params(), "samples"), (stages.dpo_params(), "pairs")])
def test_ids_of_another_tokenizer_are_refused(base: Path, tmp_path: Path, monkeypatch, params, role):
    context = stages.stage(tmp_path, base, params)
    context.summaries = {role: {"tokenizer": "0123456789abcdef"}}
    with pytest.raises(BadInput, match=f"{role} hold token ids of 0123"):
        rows_of(monkeypatch, context)
    context.summaries = {role: {"tokenizer": fingerprint(small.tokenizer())}}
    assert rows_of(monkeypatch, context).rows.rows
