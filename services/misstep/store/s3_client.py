"""A boto3 client for the store: normal credential chain, identity logged once, secrets never."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore import exceptions as aws
from botocore.config import Config
from botocore.loaders import Loader

from misstep.errors import BadInput
from misstep.store.description import Storage
from misstep.store.s3_errors import endpoint_of, no_credentials, s3_error

_log = logging.getLogger(__name__)
_logged: set[tuple[str, str]] = set()
_descriptions = Loader()
"""What clients read of S3, once a process: megabytes for each client otherwise, and an operator has many."""
_AWAY = {500, 502, 503, 504}
_TRIES_WHILE_AWAY = 9
_LONGEST_WAIT = 15.0


def make_client(
    storage: Storage, attempts: int, connect_timeout: float, read_timeout: float = 60, patient: bool = False
) -> tuple[Any, str]:
    """Return an S3 client and a description of the identity that it uses. Raises BadInput and MisstepError.

    Checksums are requested only where S3 requires them, since older compatible servers refuse the newer ones; manifests
    contain our own.

    Args:
        attempts: how often botocore's standard mode sends a request: within a second or two, longer if throttled.
        patient: whether to retry for half a minute to a minute while there is no server, or none behind a proxy.
    """
    if storage.ca_bundle is not None and not Path(storage.ca_bundle).is_file():
        fix = (
            "There is no such file; name a PEM file. In a cluster, mount it into stages with "
            "spec.cluster.defaults.volumes."
        )
        raise BadInput("spec.storage.caBundle", storage.ca_bundle, fix)
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=16,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if storage.path_style else None,
    )
    try:
        core = botocore.session.get_session()
        session = boto3.Session(botocore_session=core)
        core.register_component("data_loader", _descriptions)  # after the session, which adds a folder to its loader
        credentials = session.get_credentials()
        if credentials is None:
            raise no_credentials()
        access_key = credentials.get_frozen_credentials().access_key
        identity = f"access key ...{access_key[-4:]} from {credentials.method}"
        client = session.client(
            "s3",
            endpoint_url=storage.endpoint,
            region_name=storage.region,
            verify=storage.ca_bundle,
            config=config,
        )
    except aws.BotoCoreError as error:
        raise s3_error(error, storage, "unknown") from error
    except ValueError as error:
        raise BadInput(*endpoint_of(storage), f"Write https://host:port ({error}).") from error
    if patient:
        client.meta.events.register_first("needs-retry.s3", _wait_while_away)
    if (storage.uri, identity) not in _logged:
        _logged.add((storage.uri, identity))
        _log.info("store opened: %s at %s with %s", storage.uri, client.meta.endpoint_url, identity)
    return client, identity


def _wait_while_away(
    attempts: int, response: tuple[Any, Any] | None, caught_exception: Exception | None, **_: object
) -> float | None:
    """Return the seconds to wait before sending a request again; None leaves it to botocore.

    botocore's own waits begin at 50 ms in every mode, which is too short for a restarting server. Timeouts are left to
    botocore, since each of them has taken long enough.
    """
    if caught_exception is not None:
        no_server = isinstance(caught_exception, aws.ConnectionError | aws.ConnectionClosedError)
        away = no_server and not isinstance(caught_exception, aws.SSLError)
    else:
        away = response is not None and response[0].status_code in _AWAY
    if not away or attempts >= _TRIES_WHILE_AWAY:
        return None
    return random.uniform(0.5, 1) * min(2.0 ** (attempts - 2), _LONGEST_WAIT)
