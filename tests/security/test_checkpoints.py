"""Someone who can write to a store plants a checkpoint with matching hashes, to end a training permanently or to make
it read files elsewhere on the node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from misstep.errors import BadInput, MisstepError
from misstep.training import callback
from misstep.training.export import InitialModel
from misstep.training.resume import UnsoundError, check_sound, is_to_blame
from misstep.training.run import Run, train
from tests.training import small
from tests.training.test_run import finish, same

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.save_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoint at each step; score by what the weights are."""

    def count(self: Any, model: Any, engine: Any) -> tuple[int, int]:
        return int(1e6 * sum(weight.abs().sum().item() for weight in model.parameters())) % 17, 0

    monkeypatch.setattr(callback, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(callback, "CHECKPOINT_SHARE", 0)
    monkeypatch.setattr("misstep.training.selection.Scorer._count_correct", count)


def sft() -> Run:
    return small.sft_run(small.sft_examples(30), small.optimiser(), small.selection(), ask=16)


def dpo() -> Run:
    return small.dpo_run(small.pair_examples(30), small.optimiser())


def cut(name: str) -> Damage:
    def act(folder: Path) -> None:
        body = (folder / name).read_bytes()
        (folder / name).write_bytes(body[: len(body) // 2])

    return act


def holds(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def state(**changes: Any) -> Damage:
    def act(folder: Path) -> None:
        file = folder / "trainer_state.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return act


def other_best(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "best.safetensors")


def transposed_optimizer(folder: Path) -> None:
    held = torch.load(folder / "optimizer.pt", weights_only=True)
    held["param_groups"] = held["param_groups"][:1]
    torch.save(held, folder / "optimizer.pt")


def reference_of_others(folder: Path) -> None:
    save_file({"chosen": torch.zeros(3), "rejected": torch.zeros(3)}, folder / "reference.safetensors")


SOUND_AT_FIRST_SIGHT: dict[str, Damage] = {
    "optimizer-cut": cut("optimizer.pt"),
    "optimizer-of-others": transposed_optimizer,
    "random-states-cut": cut("rng_state.pth"),
    "scheduler-text": holds("scheduler.pt", "no"),
    "best-of-others": other_best,
}
UNSOUND: dict[str, Damage] = {
    "scores-no-list": holds("selection.json", '{"a": 1}'),
    "scores-of-text": holds("selection.json", '[{"epoch": 1, "step": 1, "problems": "x", "correct": 1}]'),
    "scores-absent": without("selection.json"),
    "best-absent": without("best.safetensors"),
    "state-no-json": holds("trainer_state.json", "{"),
    "state-of-another-step": state(global_step=10**6),
    "state-with-another-log": state(log_history=[{"loss": "x"}]),
    "weights-cut": cut("model.safetensors"),
    "reference-of-others": reference_of_others,
    "tag-outside": holds("latest", "../../../other/global_step3"),
    "index-outside": holds("model.safetensors.index.json", '{"weight_map": {"w": "../../other/model.safetensors"}}'),
}


def two_checkpoints(folder: Path, base: Path, run: Callable[[], Run]) -> small.FolderContext:
    """Have a run die after some steps."""
    context = small.context(folder, run())

    class DiedError(Exception):
        pass

    def update(done: int, *_: Any, **__: Any) -> None:
        if done >= 8:
            raise DiedError

    context.progress.update = update  # type: ignore[method-assign]
    with pytest.raises(DiedError):
        train(context, InitialModel.load(base), run())
    return small.context(folder, run())


@pytest.mark.parametrize("name", UNSOUND)
def test_the_attempt_resumes_from_the_checkpoint_before(base: Path, tmp_path: Path, name: str) -> None:
    """Two of them at once, since each attempt counts."""
    run = sft
    context = two_checkpoints(tmp_path, base, run)
    steps = sorted(context.checkpoints.root.glob("[0-9]*"))
    for folder in steps[-2:]:
        UNSOUND[name](folder)
    output = train(context, InitialModel.load(base), run())
    assert [step for step, _ in context.checkpoints.refused] == [int(folder.name) for folder in reversed(steps[-2:])]
    assert output.summary["trained"]
    assert min(context.checkpoints.saved) == int(steps[-3].name) + 1, "it restarted"


@pytest.mark.parametrize("name", SOUND_AT_FIRST_SIGHT)
def test_the_next_attempt_resumes_without_it(base: Path, tmp_path: Path, name: str) -> None:
    context = two_checkpoints(tmp_path, base, sft)
    *_, newest = sorted(context.checkpoints.root.glob("[0-9]*"))
    SOUND_AT_FIRST_SIGHT[name](newest)
    with pytest.raises(MisstepError, match=f"checkpoint of step {int(newest.name)} is refused"):
        train(context, InitialModel.load(base), sft())
    again = small.context(tmp_path, sft())
    assert train(again, InitialModel.load(base), sft()).summary["trained"]
    assert again.checkpoints.refused == []
    assert min(again.checkpoints.saved) == int(newest.name), "it restarted"


def test_a_reference_of_other_pairs(base: Path, tmp_path: Path) -> None:
    context = two_checkpoints(tmp_path / "died", base, dpo)
    *_, newest = sorted(context.checkpoints.root.glob("[0-9]*"))
    assert load_file(newest / "reference.safetensors")["chosen"].shape == (30,)
    reference_of_others(newest)
    output = train(context, InitialModel.load(base), dpo())
    assert context.checkpoints.refused == [
        (int(newest.name), "reference.safetensors does not belong to this stage's pairs")
    ]
    whole, _ = finish(tmp_path / "whole", base, dpo())
    same(whole, output)


@pytest.mark.parametrize(
    "tag",
    [
        "../../other",
        "/etc",
        "global_step3/../../x",
        "global_step3\nx",
        "global_step\u0663",
        "global_step",
        "global_step4",
        "",
    ],
)
def test_deepspeeds_tag_leads_out_of_the_checkpoint(tmp_path: Path, tag: str) -> None:
    """DeepSpeed would read another model's shards from the node's disk."""
    (tmp_path / "global_step3").mkdir()
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 3, "log_history": []}))
    (tmp_path / "latest").write_text("global_step3\n")
    check_sound(3, tmp_path)
    (tmp_path / "latest").write_text(tag)
    with pytest.raises(UnsoundError, match="latest"):
        check_sound(3, tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory"),
        OSError(28, "No space left on device"),
        BadInput("a", "b", "c"),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"),
        torch.distributed.DistBackendError("NCCL error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_good_checkpoint_is_not_blamed(error: Exception) -> None:
    """No attack: a node that goes away while others resume."""
    assert not is_to_blame(error)
