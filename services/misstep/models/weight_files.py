"""Find the files with the weights that transformers reads, and read their headers."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.models.fields import MODEL
from misstep.models.jsons import read_object
from misstep.models.pointers import check_no_pointer
from misstep.store.inside import UnsafeName, check_name

FORMS_OF_WEIGHTS = {
    ".gguf": "GGUF weights (llama.cpp's, usually quantized)",
    ".pth": "weights of Meta's or torch's own layout (*.pth)",
    ".pt": "a torch file (*.pt)",
    ".ckpt": "a training checkpoint (*.ckpt)",
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "an ONNX model",
    ".npz": "NumPy or MLX weights",
}
"""File extension -> what such a file is; these are not read."""
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.(safetensors|bin)$")
_READ = (
    "Misstep reads model.safetensors, or its shards with model.safetensors.index.json, or pytorch_model.bin with its "
    "shards."
)


@dataclass(frozen=True)
class Tensor:
    """The entry of one tensor in a safetensors header."""

    shape: tuple[int, ...]
    dtype: str
    """In the spelling of safetensors: F32, BF16, F8_E4M3."""
    file: str


def weight_files(folder: Path, config: Mapping[str, Any], field: str = MODEL) -> tuple[Path, ...]:
    """Find the files with a model's weights, in transformers' order of preference.

    Args:
        config: the contents of config.json.

    Returns:
        Safetensors files, or torch's ``.bin`` files if there are no others.

    Raises:
        BadInput: there are none, shards are missing, a name leads out of the folder, a file is a Git LFS pointer or a
            broken link, or the folder holds two sets of weights, of which engines would read different ones.
    """
    declared = config.get("transformers_weights")
    names = (declared,) if isinstance(declared, str) else ("model.safetensors", "pytorch_model.bin")
    _check_inside(names, folder / "config.json", "transformers_weights", field)
    for name in names:
        whole, index = folder / name, folder / (name if name.endswith(".index.json") else f"{name}.index.json")
        shards = _shards(index, field) if index.is_file() else ()
        if whole.is_symlink() and not whole.exists():
            raise _absent(folder, [name], field)
        if whole.is_file() and whole != index:
            if shards and set(shards) != {whole}:
                raise BadInput(
                    field,
                    f"two sets of weights: {name} and the shards of {index.name} ({folder})",
                    f"Engines choose differently between them. Delete the one that you do not want: {name}, or the "
                    "shards and their index.",
                )
            check_no_pointer(whole, field)
            if not index.is_file():
                _check_alone(whole, field)
            return (whole,)
        if shards:
            return shards
    raise _none(folder, field)


def _check_alone(file: Path, field: str) -> None:
    """Refuse other safetensors files next to one without an index: vLLM reads all of them, and the last one counts."""
    if file.suffix != ".safetensors":
        return
    others = sorted(path.name for path in file.parent.glob("*.safetensors") if path != file)
    if others := [name for name in others if not name.startswith("consolidated")]:
        raise BadInput(
            field,
            f"{file.name} and other weights in one folder: {', '.join(others[:3])} ({file.parent})",
            f"Engines choose differently between them. Move away all except {file.name}, or delete it.",
        )


def tensors_of(files: Sequence[Path], field: str = MODEL) -> dict[str, Tensor]:
    """Read names, shapes and types of all tensors from the headers of safetensors files; no data.

    Files of torch have no such header: they give no tensors here, but are checked for completeness.

    Raises:
        BadInput: a file is truncated, damaged, or not of the format that its name says.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            found.update(_header(file, field))
        elif not zipfile.is_zipfile(file) and not _is_pickle(file):
            raise BadInput(
                field,
                f"{file.name} is cut off or damaged: {_size(file)} ({file})",
                "Fetch it again, or give the weights as safetensors.",
            )
    return found


def _header(file: Path, field: str) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                part = opened.get_slice(name)
                yield name, Tensor(tuple(part.get_shape()), str(part.get_dtype()), file.name)
    except (SafetensorError, OSError) as error:
        wanted = _length_by_header(file)
        seen = f"{_size(file)} of {wanted:,}" if wanted else _size(file)
        raise BadInput(
            field,
            f"{file.name} is cut off or damaged: {seen} ({file})",
            f"Fetch it again (safetensors: {str(error).splitlines()[0]}).",
        ) from error


def _length_by_header(file: Path) -> int | None:
    """Return how many bytes a safetensors file must have by its header; None if that cannot be read."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > 100_000_000:
                return None
            held = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in held.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return 8 + length + max(ends, default=0)


def _is_pickle(file: Path) -> bool:
    """Return whether a file begins like a file of torch before 1.6."""
    with file.open("rb") as stream:
        return stream.read(2) == b"\x80\x02"


def _size(file: Path) -> str:
    return f"{file.stat().st_size:,} bytes"


def _shards(index: Path, field: str) -> tuple[Path, ...]:
    """Return the files that an index names; all of them exist."""
    parts = read_object(index, field).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise BadInput(field, f"{index.name} has no weight_map ({index})", "Fetch it again.")
    names = sorted(set(parts.values()))
    _check_inside(names, index, "weight_map", field)
    files = [index.parent / name for name in names]
    if absent := [file.name for file in files if not file.is_file()]:
        raise _absent(index.parent, absent, field, of=len(files))
    for file in files:
        check_no_pointer(file, field)
    return tuple(files)


def _check_inside(names: Sequence[str], file: Path, key: str, field: str) -> None:
    """Refuse names of files outside the model's folder: engines would read other people's files.

    Args:
        file: the file that names them, under ``key``.
    """
    try:
        for name in names:
            check_name(name)
    except UnsafeName as error:
        raise BadInput(
            field,
            f"{file.name} names a file in {key} that is not the model's own: {error} ({file})",
            "Weights must be below the model's folder. Fetch the model again, or check who wrote it.",
        ) from error


def _absent(folder: Path, names: Sequence[str], field: str, of: int = 1) -> BadInput:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return BadInput(
        field,
        f"{len(names)} of {of} files with weights are missing: {shown} ({folder})",
        "The folder is not complete: finish the download.",
    )


def _none(folder: Path, field: str) -> BadInput:
    names = sorted(path.name for path in folder.iterdir())
    shards = [match for name in names if (match := _SHARD.match(name)) and match[1] in ("model", "pytorch_model")]
    if shards:
        stem, _, count, ending = shards[0].groups()
        index = f"{stem}.{ending}.index.json"
        return BadInput(
            field,
            f"{len(shards)} of {int(count)} shards of weights, but no {index} ({folder})",
            f"Fetch {index}{'' if len(shards) == int(count) else ' and the missing shards'}.",
        )
    if any(name.endswith((".incomplete", ".part", ".tmp", ".crdownload", ".aria2")) for name in names):
        return BadInput(field, f"no weights, only an unfinished download ({folder})", "Finish the download.")
    others = [name for name in names if name.endswith((".safetensors", ".bin")) and name != "training_args.bin"]
    for suffix, what in FORMS_OF_WEIGHTS.items():
        if held := [name for name in names if name.endswith(suffix)]:
            return BadInput(
                field,
                f"{what}: {held[0]}, but no weights that can be trained ({folder})",
                f"Give the model's full weights in Hugging Face's layout. {_READ}{_conversion(suffix, folder)}",
            )
    if others:
        return BadInput(
            field, f"weights under another name: {others[0]} ({folder})", f"Rename or convert them. {_READ}"
        )
    return BadInput(field, f"there are no weights in {folder}", _READ)


def _conversion(suffix: str, folder: Path) -> str:
    if suffix not in (".pt", ".ckpt", ".pth"):
        return ""
    return (
        " A state dict whose names are transformers' own converts by: python -c \"import torch; from safetensors.torch "
        "import save_file; save_file({k: v.contiguous().clone() for k, v in torch.load('FILE', weights_only=True)"
        f".items()}}, '{folder}/model.safetensors', {{'format': 'pt'}})\""
    )
