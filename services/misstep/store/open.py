"""Open a store by its URI."""

from __future__ import annotations

from misstep.errors import BadInput
from misstep.store.addresses import file_uri_path
from misstep.store.base import Store
from misstep.store.description import Storage


def open_store(storage: Storage, *, patient: bool = True, accepted: bool = False) -> Store:
    """Open the store behind ``file:///folder`` or ``s3://bucket/prefix``; nothing is contacted or created yet.

    Args:
        patient: whether to wait long for a server that does not answer (``S3Store``).
        accepted: whether the server is known to have accepted such requests before: then a refusal may be temporary and
            is not BadInput.

    Raises BadInput for any other URI, and for S3 without credentials or with a malformed endpoint.
    """
    if storage.uri.startswith("file://"):
        from misstep.store.local import LocalStore

        return LocalStore(file_uri_path(storage.uri))
    if storage.uri.startswith("s3://"):
        from misstep.store.s3 import S3Store

        return S3Store(storage, patient, accepted)
    raise BadInput("spec.storage.uri", storage.uri, "Write file:///folder or s3://bucket/prefix.")
