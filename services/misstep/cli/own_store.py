"""The store of an Experiment in a cluster, reached with the caller's own keys: only at a server that the caller names.

Who may create Experiments chooses ``spec.storage`` in the plan. Its ``endpoint`` would be sent requests that the
caller's keys have signed, and its ``caBundle`` is a path in a pod, not on this machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.errors import BadInput
from misstep.store.addresses import environments_endpoint

if TYPE_CHECKING:
    from misstep.store.description import Storage


def own_storage(storage: Storage, endpoint: str | None, ca_bundle: str | None, command: str) -> Storage:
    """Return a plan's storage with the server and the authorities that the caller names, and none that the plan names.

    Args:
        endpoint: of the option; without it AWS, or the server that the caller's environment names.
        command: what to run again with ``--endpoint``, for the error's text.

    Raises:
        BadInput: the plan names a server that neither the option nor the environment does, a folder of this machine,
            or the option a file that is not there.
    """
    if not storage.uri.startswith("s3://"):
        raise BadInput("storage of the plan", storage.uri, "A cluster's store is s3://BUCKET/PREFIX: nothing is read.")
    if ca_bundle is not None and not Path(ca_bundle).is_file():
        raise BadInput("--ca-bundle", ca_bundle, "There is no such file: name a PEM file of this machine.")
    named = storage.endpoint
    _, own = environments_endpoint() or ("", "")
    if endpoint is None and named is not None and named.rstrip("/") != own.rstrip("/"):
        raise BadInput(
            "endpoint of the plan",
            named,
            "Whoever wrote the Experiment chose this server, and requests that your keys sign would be sent there. If "
            f"you trust it: {command} --endpoint {shlex.quote(named)}. The variable AWS_ENDPOINT_URL serves too"
            + (f"; yours is {own}." if own else "."),
        )
    return storage.model_copy(update={"endpoint": endpoint, "ca_bundle": ca_bundle})


@contextmanager
def options_for_fields() -> Iterator[None]:
    """Name the options where the store's errors name fields of the spec, which count for nothing here."""
    options = {"spec.storage.caBundle": "--ca-bundle", "spec.storage.endpoint": "--endpoint"}
    try:
        yield
    except BadInput as error:
        if error.field not in options:
            raise
        fix = error.fix.replace(error.field, options[error.field])
        raise BadInput(options[error.field], error.value, fix) from error
