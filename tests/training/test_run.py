"""Whole runs: resume, selection, export, nothing to train on."""

from __future__ import annotations

import copy
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from misstep.artifacts.output import Output
from misstep.errors import BadInput, MisstepError
from misstep.training import callback
from misstep.training.export import InitialModel, export_model
from misstep.training.run import Run, train
from tests.training import small


class KilledError(Exception):
    """Stands for a SIGKILL, in this process."""


class DyingProgress(small.SilentProgress):
    """Kills the run at its first report of this step or a later one."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        if done >= self.step:
            raise KilledError


def finish(folder: Path, base: Path, run: Run, die_at: tuple[int, ...] = ()) -> tuple[Output, small.FolderContext]:
    """Run to the end, dying and restarting at these steps."""
    for step in die_at:
        context = small.context(folder, run)
        context.progress = DyingProgress(step)
        with pytest.raises(KilledError):
            train(context, InitialModel.load(base), run)
    context = small.context(folder, run)
    return train(context, InitialModel.load(base), run), context


def same(one: Output, other: Output) -> None:
    assert small.table(one, "log").equals(small.table(other, "log"))
    assert small.table(one, "selection").equals(small.table(other, "selection"))
    assert small.bytes_of(one.files) == small.bytes_of(other.files)
    assert one.summary == other.summary


@pytest.fixture
def checkpoint_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(callback, "CHECKPOINT_SHARE", 0)


COUNT = "misstep.training.selection.Scorer._count_correct"


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score by what the weights are, not by what they say: the verifier's processes take seconds to start."""

    def count(self: Any, model: Any, engine: Any) -> tuple[int, int]:
        seen = int(1e6 * sum(weight.abs().sum().item() for weight in model.parameters()))
        return seen % 17, seen % 7

    monkeypatch.setattr(COUNT, count)


RUNS = {
    "sft-policy": lambda: small.sft_run(
        small.sft_examples(30), small.optimiser(), small.selection(), ask=16, policy=small.policy(epoch=2)
    ),
    "sft": lambda: small.sft_run(small.sft_examples(30), small.optimiser(), small.selection(), ask=16),
    "sft-patience": lambda: small.sft_run(
        small.sft_examples(30), small.optimiser(epochs=9), small.selection(patience=2, epochs=tuple(range(9))), ask=16
    ),
    "micro-batches": lambda: small.sft_run(small.sft_examples(30), small.optimiser(micro_batch_size=2)),
    "lora": lambda: small.sft_run(small.sft_examples(30), small.optimiser(lora_rank=4), small.selection(), ask=8),
    "dpo": lambda: small.dpo_run(small.pair_examples(30), small.optimiser(), nll_weight=0.5),
    "dpo-lora": lambda: small.dpo_run(small.pair_examples(30), small.optimiser(lora_rank=4)),
}


@pytest.mark.usefixtures("checkpoint_always", "quick_scores")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_died_ends_as_an_undisturbed_one(base: Path, tmp_path: Path, name: str):
    whole, _ = finish(tmp_path / "whole", base, RUNS[name]())
    # In the first epoch, right after the second one's start, and at the last step: each but the first resumes.
    last = whole.summary["steps"]
    died, context = finish(tmp_path / "died", base, RUNS[name](), die_at=(2, 5, 6, last))
    same(whole, died)
    assert context.checkpoints.newest() is not None
    assert len(context.progress.calls) < last, "the last start did everything again"
    logged, scored = context.live_log.steps[-1]
    assert logged == small.table(died, "log")["step"].to_pylist(), "watchers saw all rows, also those before the resume"
    assert scored == small.table(died, "selection")["step"].to_pylist()


@pytest.mark.usefixtures("checkpoint_always", "quick_scores")
def test_a_model_with_dropout_draws_the_same_after_a_resume(tmp_path: Path):
    base = small.save_model(tmp_path / "base", attention_dropout=0.3)
    run = RUNS["sft"]
    whole, _ = finish(tmp_path / "whole", base, run())
    died, _ = finish(tmp_path / "died", base, run(), die_at=(3, 4, 7))
    same(whole, died)


@pytest.mark.usefixtures("checkpoint_always", "quick_scores")
def test_rows_of_the_log_that_span_steps_survive_a_resume(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("misstep.training.schedule._LOG_ROWS", 4)
    run = RUNS["sft"]
    whole, _ = finish(tmp_path / "whole", base, run())
    assert 4 <= small.table(whole, "log").num_rows < whole.summary["steps"]
    for step in (3, 5, 6, 10):
        died, _ = finish(tmp_path / f"died-{step}", base, run(), die_at=(step,))
        same(whole, died)


def test_checkpoints_wait_for_their_time_and_for_their_own_cost(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    times = iter(range(0, 100000, 10))
    monkeypatch.setattr(callback.TrainingCallback.__init__, "__defaults__", (lambda: float(next(times)),))
    run = small.sft_run(small.sft_examples(64), small.optimiser(epochs=20))
    context = small.context(tmp_path, run)
    train(context, InitialModel.load(base), run)
    # Every look at the clock takes ten seconds: one a step, and two while saving (asked, done): 10 s x 40 of rest.
    steps = context.checkpoints.saved
    assert steps[0] in (3, 4)
    assert 40 <= steps[1] - steps[0] <= 42


def test_selection_changes_no_loss_and_leaves_random_numbers_alone(base: Path, tmp_path: Path):
    rows, params = small.sft_examples(30), small.optimiser()
    random.seed(5)
    plain, _ = finish(tmp_path / "plain", base, small.sft_run(rows, params))
    chosen, _ = finish(tmp_path / "chosen", base, small.sft_run(rows, params, small.selection(), ask=16))
    assert small.losses(chosen) == small.losses(plain)
    assert small.table(chosen, "selection")["epoch"].to_pylist() == [1, 2, 3]


def test_the_best_weights_are_kept_and_the_earliest_of_equals(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scores = iter([3, 7, 7, 2, 5])
    seen: list[dict[str, torch.Tensor]] = []

    def count(self: Any, model: Any, engine: Any) -> tuple[int, int]:
        assert isinstance(model, LlamaForCausalLM)
        seen.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return next(scores), 0

    monkeypatch.setattr(COUNT, count)
    params, asked = small.optimiser(epochs=5), small.selection(epochs=(1, 2, 3, 4))
    output, _ = finish(tmp_path, base, small.sft_run(small.sft_examples(30), params, asked, ask=10))
    table = small.table(output, "selection").to_pylist()
    assert [(row["epoch"], row["correct"], row["chosen"]) for row in table] == [
        (1, 3, False),
        (2, 7, True),
        (3, 7, False),
        (4, 2, False),
        (5, 5, False),
    ]
    summary = output.summary
    assert (summary["best_epoch"], summary["best_correct"], summary["validation_problems"]) == (2, 7, 10)
    written = load_file(output.files["model/model.safetensors"])
    assert all(torch.equal(weight, seen[1][name]) for name, weight in written.items())
    assert not torch.equal(seen[4]["model.norm.weight"], seen[1]["model.norm.weight"])


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 4}, {"dtype": "bfloat16"}], ids=["all", "lora", "bfloat16"])
def test_the_policy_is_kept_in_addition_to_the_best(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    scores = iter([(3, 3), (5, 6), (8, 8), (9, 10), (7, 10)])
    seen: list[dict[str, torch.Tensor]] = []

    def count(self: Any, model: Any, engine: Any) -> tuple[int, int]:
        merged = copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
        seen.append({name: weight.clone() for name, weight in merged.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(COUNT, count)
    params, asked = small.optimiser(epochs=5, learning_rate=1e-2, **changes), small.selection(epochs=(1, 2, 3, 4))
    run = small.sft_run(small.sft_examples(30), params, asked, ask=20, policy=small.policy(max_gap_points=5))
    output, context = finish(tmp_path, base, run)
    assert output.summary["best_epoch"] == 4
    assert output.summary["policy"] == {
        "epoch": 1,  # of 20 and 10 problems: 15% and 30% would be a gap of 15 points, as at all later ones
        "validation_problems": 20,
        "validation_correct": 3,
        "train_problems": 10,
        "train_correct": 3,
    }
    table = small.table(output, "selection").to_pylist()
    assert [(row["epoch"], row["train_correct"], row["chosen"], row["policy"]) for row in table] == [
        (1, 3, False, True),
        (2, 6, False, False),
        (3, 8, False, False),
        (4, 10, True, False),
        (5, 10, False, False),
    ]
    folders = {name: context.scratch / "training" / name for name in ("model", "policy")}
    names = {name: {path.name for path in folder.iterdir()} for name, folder in folders.items()}
    assert names["model"] == names["policy"]
    assert {f"{name}/{file}" for name, files in names.items() for file in files} == set(output.files)
    best, policy = (load_file(output.files[f"{name}/model.safetensors"]) for name in ("model", "policy"))
    assert not all(torch.equal(best[name], policy[name]) for name in best)
    if not changes:
        assert all(torch.equal(weight, seen[0][name]) for name, weight in policy.items())
        assert all(torch.equal(weight, seen[3][name]) for name, weight in best.items())
    alone = small.sft_run(small.sft_examples(30), params, small.selection(epochs=(4,)), ask=20)
    scores = iter([(9, 0), (1, 0)])
    plain, _ = finish(tmp_path / "plain", base, alone)
    assert plain.files["model/model.safetensors"].read_bytes() == output.files["model/model.safetensors"].read_bytes()


def test_a_policy_that_is_the_best_is_written_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(COUNT, lambda self, model, engine: (3, 1))
    run = small.sft_run(small.sft_examples(30), small.optimiser(), small.selection(), ask=20, policy=small.policy())
    output, _ = finish(tmp_path, base, run)
    assert output.summary["policy"]["epoch"] == output.summary["best_epoch"] == 1
    assert not any(name.startswith("policy/") for name in output.files)


def test_patience_ends_a_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scores = iter([3, 2, 1, 9, 9])
    monkeypatch.setattr(COUNT, lambda self, model, engine: (next(scores), 0))
    params, asked = small.optimiser(epochs=5), small.selection(epochs=(1, 2, 3, 4), patience=2)
    output, _ = finish(tmp_path, base, small.sft_run(small.sft_examples(30), params, asked, ask=10))
    assert small.table(output, "selection")["correct"].to_pylist() == [3, 2, 1]
    assert (output.summary["epochs"], output.summary["steps"], output.summary["best_epoch"]) == (3, 12, 1)
    assert output.summary["tokens"] == 3 * sum(row.tokens for row in small.sft_examples(30))


def test_a_real_policy_learns_and_is_seen_to(base: Path, tmp_path: Path):
    params = small.optimiser(epochs=40, learning_rate=1e-2)
    asked = small.selection(epochs=(1, 40))
    rows = small.sft_examples(60, seed=7)  # the questions are among them
    output, _ = finish(tmp_path, base, small.sft_run(rows, params, asked, ask=30))
    first, last = small.table(output, "selection")["correct"].to_pylist()
    assert first < 8 < 16 < last
    assert output.summary["best_epoch"] == 40


def test_without_validation_problems_the_last_weights_are_kept_and_the_summary_says_so(base: Path, tmp_path: Path):
    output, _ = finish(tmp_path, base, small.sft_run(small.sft_examples(20), small.optimiser(), small.selection()))
    assert small.table(output, "selection").num_rows == 0
    assert output.summary["kept"] == "the last step's weights: there are no validation problems to choose by"
    assert (output.summary["best_epoch"], output.summary["validation_problems"]) == (None, 0)


@pytest.mark.parametrize("make", [small.sft_run, small.dpo_run])
def test_nothing_to_train_on_leaves_the_model_as_it_is(base: Path, tmp_path: Path, make: Any):
    output, _ = finish(tmp_path, base, make([], small.optimiser()))
    assert (output.summary["trained"], output.summary["rows"], output.summary["steps"]) == (False, 0, 0)
    assert output.summary["reason"] in ("no pairs", "no correct teacher solutions")
    assert small.table(output, "log").num_rows == small.table(output, "selection").num_rows == 0
    weights = load_file(base / "model.safetensors")
    written = load_file(output.files["model/model.safetensors"])
    assert weights.keys() == written.keys()
    assert all(torch.equal(weights[name], written[name]) for name in weights)


def test_a_written_model_is_written_again_with_the_same_bytes(base: Path, tmp_path: Path):
    once, _ = finish(tmp_path / "once", base, small.dpo_run([], small.optimiser()))
    again, _ = finish(tmp_path / "again", once.files["model/config.json"].parent, small.dpo_run([], small.optimiser()))
    assert small.bytes_of(again.files) == small.bytes_of(once.files)


@pytest.mark.parametrize("rank", [None, 4])
def test_what_is_written_loads_with_everything_that_the_base_had(base: Path, tmp_path: Path, rank: int | None):
    run = small.sft_run(small.sft_examples(20), small.optimiser(lora_rank=rank, learning_rate=1e-2))
    output, context = finish(tmp_path, base, run)
    folder = context.scratch / "training" / "model"
    assert {f"model/{path.name}" for path in folder.iterdir()} == set(output.files)
    assert {"model/config.json", "model/generation_config.json", "model/tokenizer.json"} < set(output.files)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is LlamaForCausalLM
    assert model.generation_config.eos_token_id == [1, 2]
    assert AutoTokenizer.from_pretrained(folder)("3 + 4 =")["input_ids"] == small.ids("3 + 4 =")
    assert "local_files_only" not in (folder / "tokenizer_config.json").read_text()
    start = load_file(base / "model.safetensors")
    trained = load_file(output.files["model/model.safetensors"])
    changed = {name for name in start if not torch.equal(start[name], trained[name])}
    if rank is None:
        assert changed == start.keys()
    else:
        assert changed == {name for name in start if "proj" in name}


def test_a_chat_template_is_kept(tmp_path: Path):
    base = small.save_model(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(base)
    output, _ = finish(tmp_path, base, small.sft_run(small.sft_examples(8), small.optimiser(epochs=1)))
    folder = output.files["model/config.json"].parent
    assert AutoTokenizer.from_pretrained(folder).chat_template == tokenizer.chat_template


def test_bfloat16_trains_and_is_written_in_it(base: Path, tmp_path: Path):
    run = small.sft_run(small.sft_examples(30), small.optimiser(dtype="bfloat16"), small.selection(), ask=4)
    output, _ = finish(tmp_path, base, run)
    assert small.losses(output)[-1] < small.losses(output)[0]
    written = load_file(output.files["model/model.safetensors"])
    assert {weight.dtype for weight in written.values()} == {torch.bfloat16}


def test_a_model_that_is_written_wrongly_is_not_handed_on(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start = InitialModel.load(base)
    save = LlamaForCausalLM.save_pretrained

    def damaged(self: LlamaForCausalLM, folder: Path, **rest: Any) -> None:
        save(self, folder, **rest)
        file = folder / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-2000:] = bytes(2000)
        file.write_bytes(content)

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", damaged)
    with pytest.raises(MisstepError, match="differs when it is loaded again"):
        export_model(start, start.model, "float32", [[3, 4, 5]], tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(base: Path, tmp_path: Path):
    start = InitialModel.load(base)
    with torch.no_grad():
        start.model.model.norm.weight[0] = float("nan")
    with pytest.raises(BadInput, match="learningRate"):
        export_model(start, start.model, "float32", [[3, 4, 5]], tmp_path / "model")


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Let every file end at 60 kB, as on a disk that is full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("checkpoint_always", "small_files_only")
def test_a_disk_that_is_full_is_named_whoever_writes(base: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=r"MISSTEP_SCRATCH: .*full") as error:
        finish(tmp_path / "weights", base, RUNS["dpo"]())
    assert error.value.__cause__ is not None
    assert type(error.value.__cause__.__cause__).__name__ == "SafetensorError"
    few = small.sft_run(small.sft_examples(30), small.optimiser(lora_rank=8))  # only the optimizer's file is too large
    with pytest.raises(BadInput, match=r"MISSTEP_SCRATCH: .*full") as error:
        finish(tmp_path / "optimizer", base, few)
    assert error.value.__cause__ is not None
    assert type(error.value.__cause__.__cause__) is RuntimeError


def test_a_scorer_counts_as_correct_only_what_ended_by_itself(base: Path, monkeypatch: pytest.MonkeyPatch):
    from misstep.generation.engine import Completion, FinishReason
    from misstep.training.selection import Question, Score, Scorer

    start = InitialModel.load(base)
    start.model.train()

    class Engine:
        def __init__(self, model: Any, tokenizer: Any, decoding: Any, *, batch_rows: int) -> None:
            assert not model.training
            self.requests: list[Any] = []

        def submit(self, request: Any) -> None:
            self.requests.append(request)

        def results(self) -> Any:
            torch.rand(3), random.random(), np.random.rand()  # what an engine draws is its own
            texts: dict[int, tuple[str, FinishReason]] = {
                0: ("so #### 4", "stop"),
                1: ("so #### 4", "length"),
                2: ("so #### 5", "stop"),
                3: ("so", "stop"),
            }
            for request in reversed(self.requests):
                text, reason = texts[request.request_id]
                yield request, (Completion((), text, reason, 0.0),)

        def close(self) -> None:
            pass

    monkeypatch.setattr("misstep.generation.transformers_engine.TransformersEngine", Engine)
    asked = [Question(f"q{i}", [3], "4") for i in range(4)]
    scorer = Scorer(asked[:3], small.selection(), start.tokenizer, 8, 1, own=asked[3:])
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    assert scorer.score(start.model, 2, 8) == Score(2, 8, 3, 1, 1, 0)
    scorer.close()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert start.model.training
