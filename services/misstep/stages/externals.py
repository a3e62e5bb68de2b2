"""Bring data and models from outside to this machine."""

from __future__ import annotations

from pathlib import Path

from misstep.artifacts.digest import digest_path
from misstep.artifacts.disk import disk_errors
from misstep.artifacts.store import file_uri_path, open_store
from misstep.errors import BadInput
from misstep.plan.frozen import External, Storage


def fetch_external(role: str, external: External, storage: Storage, folder: Path) -> Path:
    """Return a local path of an external's bytes: in place where they lie on this machine, else below ``folder``.

    Raises BadInput where they are not there, cannot be fetched, or are not those that the plan was made with.
    """
    field, uri = f"external {role}", external.uri
    if uri.startswith("hf://"):
        return _from_hub(field, uri, is_model=role.startswith("model"))
    if uri.startswith("s3://"):
        path = _from_s3(field, uri, storage, folder / role)
    else:
        path = file_uri_path(uri, field) if uri.startswith("file://") else Path(uri)
    if external.digest.startswith("sha256:") and digest_path(path, field) != external.digest:
        raise BadInput(field, uri, "Its contents have changed since the plan was made: run the experiment again.")
    return path


def _from_s3(field: str, uri: str, storage: Storage, folder: Path) -> Path:
    """Download an object, or all objects below a prefix. Endpoint and credentials are the storage's."""
    parent, _, name = uri.rstrip("/").rpartition("/")
    store = open_store(storage.model_copy(update={"uri": parent}))
    found = [entry.path for entry in store.list(name) if entry.path == name or entry.path.startswith(f"{name}/")]
    if not found:
        raise BadInput(field, uri, "There is no such object or folder in the bucket.")
    with disk_errors("scratch folder", str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for path in found:
        store.download(path, folder / path)
    return folder / name


def _from_hub(field: str, uri: str, is_model: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = uri.removeprefix("hf://").removeprefix("datasets/").partition("@")
    try:
        folder = snapshot_download(repository, revision=revision or None, repo_type="model" if is_model else "dataset")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        fix = f"It could not be fetched ({str(error).splitlines()[0]}). Give a local folder instead."
        raise BadInput(field, uri, fix) from error
    return Path(folder)
