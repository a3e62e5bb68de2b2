"""A model folder without the values of its weights: all that the checks need of a remote model.

Configurations and tokenizer are fetched completely. Of each safetensors file only the header is fetched, some
kilobytes; the rest of the local copy is empty (a sparse file of the right length).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.store.base import Store
    from misstep.store.description import Storage

_LENGTH_BYTES = 8
_MOST_HEADER = 100_000_000
"""The limit of the safetensors format."""
_MOST_SMALL = 200_000_000
"""The most bytes of a configuration or vocabulary; larger files that are not safetensors are left out."""
_PICKLES = (".bin", ".pt", ".pth")


def fetch_skeleton(field: str, uri: str, storage: Storage | None, folder: Path) -> Path:
    """Return a local folder with the model at ``uri``, without the values of its weights.

    Args:
        field: the field that errors name.
        uri: a local path, ``file://``, ``s3://`` or ``hf://org/name@revision``.
        storage: how to reach S3.
        folder: where to write fetched files; not used for a model on this machine.

    Raises:
        BadInput: there is no such model.
        MisstepError: the Hub or the store does not answer.
    """
    if uri.startswith("hf://"):
        return _from_hub(field, uri, folder)
    if uri.startswith("s3://"):
        if storage is None:
            fix = "An Experiment says how to reach S3: put the model into one, and misstep plan checks it."
            raise BadInput(field, uri, fix)
        return _from_store(field, uri, storage, folder)
    from misstep.store.addresses import file_uri_path

    return file_uri_path(uri, field) if uri.startswith("file://") else Path(uri).expanduser()


def _from_store(field: str, uri: str, storage: Storage, folder: Path) -> Path:
    from misstep.store.open import open_store

    store = open_store(storage.model_copy(update={"uri": uri.rstrip("/")}), patient=False)
    entries = [entry for entry in store.list("") if entry.path and not entry.path.endswith("/")]
    if not entries:
        raise BadInput(field, uri, "There is no such folder in the bucket.")
    for entry in entries:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.path.endswith(".safetensors"):
            _write_empty(target, _header_of(store, entry.path, entry.size), entry.size)
        elif entry.path.endswith(_PICKLES) or entry.size > _MOST_SMALL:
            _write_empty(target, b"", entry.size)
        else:
            target.write_bytes(store.get(entry.path))
    return folder


def _header_of(store: Store, path: str, size: int) -> bytes:
    """Return the first bytes of a safetensors file: length and header, or as much as a damaged file has."""
    first = store.get_range(path, 0, min(_LENGTH_BYTES, size))
    length = int.from_bytes(first, "little")
    if len(first) < _LENGTH_BYTES or length > min(_MOST_HEADER, size - _LENGTH_BYTES):
        return first
    return first + store.get_range(path, _LENGTH_BYTES, length)


def _from_hub(field: str, uri: str, folder: Path) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    from misstep.stages.hub import IGNORED, SMALL, cache_folder, explained

    repository, _, revision = uri.removeprefix("hf://").partition("@")
    try:
        api = HfApi()
        names = api.list_repo_files(repository, revision=revision or None)
        small = Path(
            snapshot_download(
                repository,
                revision=revision or None,
                cache_dir=cache_folder(),
                allow_patterns=list(SMALL),
                ignore_patterns=list(IGNORED),
            )
        )
        headers = {
            name: api.parse_safetensors_file_metadata(repository, name, revision=revision or None)
            for name in names
            if name.endswith(".safetensors") and "/" not in name and not name.startswith("consolidated")
        }
    except HFValidationError as error:
        raise BadInput(field, uri, "Write org/name, or org/name@revision.") from error
    except (HTTPError, OSError) as error:  # the client's own errors are one or the other
        raise explained(error, field, uri, repository) from error
    folder.mkdir(parents=True, exist_ok=True)
    for file in small.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    for name, header in headers.items():
        tensors = {
            tensor: {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": list(info.data_offsets)}
            for tensor, info in header.tensors.items()
        }
        _write_header(folder / name, {"__metadata__": header.metadata, **tensors})
    if not headers:
        for name in names:
            if name.endswith(_PICKLES) and "/" not in name:
                _write_empty(folder / name, b"", 0)
    return folder


def _write_header(file: Path, header: Mapping[str, Any]) -> None:
    text = json.dumps({name: held for name, held in header.items() if held}).encode()
    end = max((held["data_offsets"][1] for name, held in header.items() if name != "__metadata__"), default=0)
    start = len(text).to_bytes(_LENGTH_BYTES, "little") + text
    _write_empty(file, start, len(start) + end)


def _write_empty(file: Path, start: bytes, size: int) -> None:
    """Write the start of a sparse file; the rest takes no space on the disk."""
    with file.open("wb") as target:
        target.write(start)
        target.truncate(max(size, len(start)))
