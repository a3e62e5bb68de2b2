"""Which stores the operator opens with its own identity, and for whom. Pure.

An Experiment names the store of its stages. If the operator read any server that a custom resource names, or any place
that its identity may read, the authors of Experiments could use that identity. So an administrator lists stores (the
chart's value ``stores``), and the operator connects as the list says. Without a list it reads only its own endpoint,
for every namespace: all namespaces then trust each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from misstep.store.base import valid_path
from misstep.store.description import Storage
from misstep_operator import messages

EVERYONE = "*"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""Without ``:``, since botocore would read it as an ARN and find another server by it."""
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_PORTS = {"http": 80, "https": 443}

Place = tuple[str, ...]
"""A bucket and the parts of a prefix."""


class ListedStore(BaseModel):
    """One entry of the chart's ``stores``."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, strict=True)

    uri: str
    """``s3://BUCKET`` or ``s3://BUCKET/PREFIX``: this place and everything below it."""
    endpoint: str | None = None
    """The server's address. By default the operator's own, from its environment, or AWS."""
    region: str | None = None
    ca_bundle: str | None = None
    """A file in the operator's pod with the certificates to trust."""
    path_style: bool = False
    namespaces: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Namespaces whose Experiments may name it. ``*`` means all."""
    share_work: bool = False
    """Whether these namespaces wait for each other's Jobs that compute the same stage."""

    @field_validator("endpoint", "region", "ca_bundle")
    @classmethod
    def _empty_is_none(cls, text: str | None) -> str | None:
        return text or None

    @field_validator("uri")
    @classmethod
    def _is_a_place(cls, uri: str) -> str:
        if place_of(uri) is None:
            raise ValueError("write s3://BUCKET or s3://BUCKET/PREFIX, without `.`, `..`, `//` and `%`")
        return uri

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, text: str | None) -> str | None:
        if text is not None and server_of(text) is None:
            raise ValueError("write https://HOST or https://HOST:PORT")
        return text

    def allows(self, namespace: str) -> bool:
        """Return whether Experiments of a namespace may name this store."""
        return EVERYONE in self.namespaces or namespace in self.namespaces


@dataclass(frozen=True)
class Unlisted:
    """The operator may not open a store."""

    why: str
    """The reason, with what an administrator can do."""


@dataclass(frozen=True)
class Trust:
    """The stores that the operator opens.

    Args:
        stores: what an administrator has listed. Empty for the operator's own endpoint alone.
        own_endpoint: the address in the operator's environment. Empty for AWS.
    """

    stores: Sequence[ListedStore] = ()
    own_endpoint: str = ""

    def reach(self, namespace: str, wanted: Storage) -> Storage | Unlisted:
        """Return how the operator connects to an Experiment's store, or why it may not.

        Endpoint, region, certificates and path style come from the list. Without a list, endpoint and certificates come
        from the operator's environment, and region and path style from the Experiment, since they do not change the
        server.
        """
        place = place_of(wanted.uri)
        if place is None:
            return Unlisted(messages.store_uri_ambiguous(wanted.uri))
        uri = "s3://" + "/".join(place)
        if not self.stores:
            return self._own(wanted, uri)
        entry = self._entry(wanted, place)
        if entry is None or not entry.allows(namespace):
            return Unlisted(messages.store_not_listed(namespace, uri, wanted.endpoint))
        return Storage(
            uri=uri,
            endpoint=entry.endpoint,
            region=entry.region,
            path_style=entry.path_style,
            ca_bundle=entry.ca_bundle,
        )

    def shares(self, namespace: str, other: str, wanted: Storage) -> bool:
        """Return whether Experiments of one namespace wait for Jobs of another that compute the same stage."""
        place = place_of(wanted.uri)
        entry = self._entry(wanted, place) if place is not None else None
        return entry is not None and entry.share_work and entry.allows(namespace) and entry.allows(other)

    def shares_with_others(self, namespace: str, wanted: Storage) -> bool:
        """Return whether there may be other namespaces to wait for."""
        return self.shares(namespace, namespace, wanted)

    def _entry(self, wanted: Storage, place: Place) -> ListedStore | None:
        """Return the entry with the longest prefix of a place, whoever may name it.

        A team's part of a bucket is then the team's own, also where the rest of the bucket is everyone's.
        """
        server = self._server(wanted.endpoint)
        found: tuple[Place, ListedStore] | None = None
        for entry in self.stores:
            there = place_of(entry.uri)
            assert there is not None
            if server is None or self._server(entry.endpoint) != server or place[: len(there)] != there:
                continue
            if found is None or len(there) > len(found[0]):
                found = there, entry
            elif len(there) == len(found[0]):  # the same place twice: for other namespaces
                both = tuple(dict.fromkeys(found[1].namespaces + entry.namespaces))
                share = found[1].share_work and entry.share_work
                found = there, found[1].model_copy(update={"namespaces": both, "share_work": share})
        return None if found is None else found[1]

    def _own(self, wanted: Storage, uri: str) -> Storage | Unlisted:
        server = self._server(wanted.endpoint)
        if server is None or server != self._server(None):
            return Unlisted(messages.store_not_own(uri, wanted.endpoint or "", self.own_endpoint))
        if wanted.region is not None and not _REGION.fullmatch(wanted.region):
            return Unlisted(messages.store_region_wrong(wanted.region))
        # With a host of one word, `bucket.minio` would be the name of a Service in another namespace.
        one_word = bool(self.own_endpoint) and "." not in (urlsplit(self.own_endpoint).hostname or "")
        return Storage(uri=uri, region=wanted.region, path_style=wanted.path_style or one_word)

    def _server(self, endpoint: str | None) -> str | None:
        """Return the server of an address in one spelling: empty for AWS, None where it is not an address."""
        address = endpoint or self.own_endpoint
        return server_of(address) if address else ""


def server_of(endpoint: str) -> str | None:
    """Return an address in one spelling: lower case, with the scheme's default port (RFC 3986, 6.2).

    None for what is not the address of a server, such as one with a user, a query or a wrong port.
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    host = (parts.hostname or "").rstrip(".")
    if not host or "@" in parts.netloc or parts.query or parts.fragment or re.search(r"[\s\\%]|\.\.", endpoint):
        return None
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def place_of(uri: str) -> Place | None:
    """Split ``s3://bucket/prefix``.

    None where a server might read it as another place: ``..``, empty parts, or ``%``, which some servers decode twice.
    """
    if not uri.startswith("s3://"):
        return None
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")  # as the store itself does
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or "%" in prefix or (prefix and not valid_path(prefix)):
        return None
    return (bucket, *(prefix.split("/") if prefix else ()))
