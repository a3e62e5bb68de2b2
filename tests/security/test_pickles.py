"""Someone who can write to a store puts a program into a file of weights, so that it runs when the file is read."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from misstep.artifacts import paths
from misstep.plan.frozen import FrozenStage, Resources
from misstep.unpickling import read_weights_only
from tests.training import small, stages
from tests.training.ranks import World

LONG = stages.sft_params(optimiser=small.optimiser(epochs=2, batch_size=6, micro_batch_size=6))
ALONE = Resources()
ZERO2, ZERO3 = (Resources(cpus=2, processes_per_node=2, zero_stage=stage) for stage in (2, 3))


class Program:
    """What runs where this is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.proof}",)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, small.save_model(folder / "base" / "model"))


def stop_with_a_checkpoint(world: World, stage: FrozenStage) -> None:
    """Run a stage until it has saved one, then end it as a node that is drained does."""
    process = world.start(stage, MISSTEP_CHECKPOINT_SECONDS=0)
    while process.poll() is None and not world.checkpoints(stage):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert world.checkpoints(stage), world.log(stage)


def plant(world: World, stage: FrozenStage, ending: str, proof: Path) -> int:
    """Put a program in place of the newest checkpoint's file with that ending, its hash as the manifest has it."""
    step = world.checkpoints(stage)[-1]
    root = paths.checkpoint(stage.key, step)
    document = json.loads(world.store.get(f"{root}/manifest.json"))
    file = next(file for file in document["files"] if file["file"].endswith(ending))
    evil = world.folder / "evil"
    torch.save({"module": Program(proof), "state": Program(proof)}, evil)
    file.update(size=evil.stat().st_size, sha256=hashlib.sha256(evil.read_bytes()).hexdigest())
    world.store.put_file(f"{root}/{file['path']}", evil)
    world.store.put(f"{root}/manifest.json", json.dumps(document).encode())
    return step


def refused_and_gone_on_without(world: World, stage: FrozenStage, ending: str, proof: Path) -> None:
    stop_with_a_checkpoint(world, stage)
    step = plant(world, stage, ending, proof)
    assert world.run(stage, MISSTEP_CHECKPOINT_SECONDS=3600) == 1, world.log(stage)
    assert not proof.exists(), "the program ran"
    assert f"checkpoint of step {step} is refused: a file would run posix.system" in world.said(stage)
    assert "Check who can write" in world.said(stage)
    assert step not in world.checkpoints(stage)
    assert world.run(stage, MISSTEP_CHECKPOINT_SECONDS=3600) == 0, world.log(stage)
    assert not proof.exists()
    assert world.summary(stage)["steps"] > step


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize("ending", ["optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_of_one_process_holds_a_program(world: World, tmp_path: Path, ending: str) -> None:
    """The code of whoever may write the prefix would run with the training's identity and its GPUs."""
    stage = world.stage(LONG, ALONE, salt=len(ending))
    refused_and_gone_on_without(world, stage, ending, tmp_path / "proof")


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize(
    ("resources", "ending"),
    [
        (ZERO2, "mp_rank_00_model_states.pt"),
        (ZERO2, "zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        (ZERO3, "_rank_00_model_states.pt"),
    ],
    ids=["zero2-model", "zero2-one-rank", "zero3-model"],
)
def test_a_checkpoint_of_deepspeed_holds_a_program(
    world: World, tmp_path: Path, resources: Resources, ending: str
) -> None:
    """DeepSpeed asks torch for ``weights_only=False``."""
    stage = world.stage(LONG, resources, salt=len(ending))
    refused_and_gone_on_without(world, stage, ending, tmp_path / "proof")


LOAD = """
import sys
from misstep.unpickling import read_weights_only
read_weights_only()
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
TorchCheckpointEngine().load(sys.argv[1])
"""


@pytest.mark.parametrize("switched_off", [False, True])
def test_deepspeeds_own_reader_runs_nothing(tmp_path: Path, switched_off: bool) -> None:
    """Also where someone who may set variables of a pod has switched torch's check off."""
    proof = tmp_path / "proof"
    torch.save({"x": Program(proof)}, tmp_path / "states.pt")
    given = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if switched_off else {}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "states.pt")],
        env=os.environ | {"DS_ACCELERATOR": "cpu"} | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UnpicklingError" in done.stderr
    assert not proof.exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_no_form_of_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """torch reads three forms; each is a way to a program."""
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    proof, file = tmp_path / "proof", tmp_path / "weights.bin"
    if form == "pickle":
        file.write_bytes(pickle.dumps(Program(proof)))
    else:
        torch.save(Program(proof), file, _use_new_zipfile_serialization=form == "zip")
    read_weights_only()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=False)
    assert not proof.exists()


class ByName:
    """Pickled as Python 3.11.2 pickles a member of an enumeration: ``getattr(class, name)``."""

    def __init__(self, of: object, name: str) -> None:
        self.given = of, name

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, self.given


def test_checkpoints_that_debians_python_wrote_are_read(tmp_path: Path) -> None:
    """And the way by which its enumerations are read leads to nothing else."""
    code = """
import sys, torch
from misstep.distributed import ranks
from misstep.unpickling import read_weights_only
read_weights_only()
ranks._allow_deepspeeds_own_records()
print(torch.load(sys.argv[1], weights_only=False))
"""
    from deepspeed.runtime.zero.config import ZeroStageEnum

    def read(value: object) -> subprocess.CompletedProcess[str]:
        torch.save({"zero_stage": value}, tmp_path / "states.pt")
        given = os.environ | {"DS_ACCELERATOR": "cpu"}
        command = [sys.executable, "-c", code, str(tmp_path / "states.pt")]
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    assert "<ZeroStageEnum.gradients: 2>" in read(ByName(ZeroStageEnum, "gradients")).stdout
    for reached in (ByName(ZeroStageEnum, "__init_subclass__"), ByName(ZeroStageEnum, "mro"), ByName(Path, "cwd")):
        assert "UnpicklingError" in read(reached).stderr
