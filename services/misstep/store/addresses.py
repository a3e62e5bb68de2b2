"""Addresses of stores: folders as URIs, and the S3 server that an environment names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from misstep.errors import BadInput


def environments_endpoint(environment: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """Return the environment variable that names an S3 server, and the server's address; None if there is none. The
    order of the variables is botocore's."""
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next(((name, environment[name]) for name in names if environment.get(name)), None)


def file_uri_path(uri: str, field: str = "spec.storage.uri") -> Path:
    """Return the path behind ``file:///folder`` (percent-encoding undone, RFC 8089). Raises BadInput."""
    path = Path(unquote(uri.removeprefix("file://")))
    if not path.is_absolute():
        raise BadInput(field, uri, "Write an absolute path after file://, as in file:///folder.")
    return path
