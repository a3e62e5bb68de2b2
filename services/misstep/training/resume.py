"""Check whether training can resume from a checkpoint: it comes from a store, where matching hashes show only that it
is complete."""

from __future__ import annotations

import errno
import json
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from transformers import TrainerState

from misstep.errors import MisstepError
from misstep.store.inside import check_name
from misstep.training.memory import is_out_of_memory
from misstep.training.tables import log_table

if TYPE_CHECKING:
    from misstep.training.trainers import Reference

_TAG = re.compile(r"global_step[0-9]+")
"""The pattern of DeepSpeed's folder name in a checkpoint of the trainer."""
_THIS_MACHINES = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}
_GLOO = re.compile(r"\[\S*gloo/")
"""The beginning of gloo's messages when a peer is lost."""
_MOST_TEXT = 200


class UnsoundError(ValueError):
    """A checkpoint that Misstep cannot have written. Its text says why."""


def check_sound(step: int, folder: Path) -> None:
    """Check the parts that a trainer would trust, or fail on only later: paths, the state, the headers of weights.

    Raises UnsoundError, and any error of reading broken files.
    """
    _check_tag(folder / "latest")
    for index in folder.rglob("*.index.json"):
        for name in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()):
            check_name(name)
    for weights in folder.rglob("*.safetensors"):
        with safe_open(weights, framework="pt"):
            pass
    state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
    if state.global_step != step:
        raise UnsoundError(f"trainer_state.json is of step {str(state.global_step)[:20]}")
    log_table(state.log_history)


def _check_tag(latest: Path) -> None:
    """DeepSpeed appends the contents of ``latest`` to the checkpoint's path, and reads there."""
    if not latest.exists():
        return
    tag = latest.read_bytes()[:_MOST_TEXT].decode(errors="replace").strip()
    if not _TAG.fullmatch(tag):
        raise UnsoundError(f"`latest` holds {tag!r}; DeepSpeed writes global_step and a number")
    if not (latest.parent / tag).is_dir():
        raise UnsoundError(f"`latest` names {tag}, but the checkpoint has no such folder")


def check_weights(file: Path, model: torch.nn.Module) -> None:
    """Check that a file has a tensor for each trained parameter of the model. Raises UnsoundError."""
    with safe_open(file, framework="pt") as opened:
        found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    for name, weight in model.named_parameters():
        shape = tuple(getattr(weight, "ds_shape", weight.shape))  # with ZeRO-3 ``shape`` is empty
        if weight.requires_grad and found.get(name) != shape:
            raise UnsoundError(f"{file.name} lacks {name}, or has another shape of it than the model")


def check_reference(reference: Reference | None, pairs: int) -> None:
    """Check that there is a reference for each pair; without pairs none is written. Raises UnsoundError."""
    if reference is not None and any(part.shape != (pairs,) for part in reference):
        raise UnsoundError("reference.safetensors does not belong to this stage's pairs")


def is_to_blame(error: Exception) -> bool:
    """Return whether an error during restoring comes from the checkpoint's contents, and not from memory, a device or a
    disk of this machine, a lost rank, or settings that we refuse ourselves."""
    if isinstance(error, MisstepError | torch.distributed.DistError | torch.AcceleratorError):
        return False
    if isinstance(error, OSError) and error.errno in _THIS_MACHINES:
        return False
    return not (is_out_of_memory(error) or _GLOO.match(str(error)))


def reason(error: Exception) -> str:
    """Return a sentence that says what is wrong with a checkpoint."""
    if isinstance(error, UnsoundError):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        asked = f"a file would run {found[1]}" if found else "a file cannot be read as weights"
        return f"{asked}, and only weights are read from a store"
    said = " ".join(str(error).split())[:_MOST_TEXT]
    return f"it cannot be restored ({type(error).__name__}: {said})"
