"""Which stores the operator opens with its own identity, and for whom. Pure.

An Experiment says where its stages keep their results. The operator would lend its identity to whoever writes one if it
asked any server that a custom resource names, or any place that its identity may read. So an administrator lists stores
(the chart's value ``stores``), and how a store is reached is taken from there. Without a list only the operator's own
endpoint is asked, for every namespace: all of them are then one domain of trust.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from misstep.artifacts.store import valid_path
from misstep.plan.frozen import Storage
from misstep_operator import messages as say

EVERYONE = "*"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""No ``:``: botocore would take an ARN, and find another server by it."""
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_PORTS = {"http": 80, "https": 443}

Place = tuple[str, ...]
"""A bucket and the parts of a prefix."""


class ListedStore(BaseModel):
    """One entry of the chart's ``stores``."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, strict=True)

    uri: str
    """``s3://BUCKET`` or ``s3://BUCKET/PREFIX``: this place and all that lies below it."""
    endpoint: str | None = None
    """The server's address; the operator's own (of its environment, or AWS) where it is not given."""
    region: str | None = None
    ca_bundle: str | None = None
    """File of the operator's own with the certificates to trust."""
    path_style: bool = False
    namespaces: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Whose Experiments may name it; ``*`` for all."""
    share_work: bool = False
    """Whether these namespaces wait for each other's Jobs where they compute the same stage."""

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
    """The operator does not open a store."""

    why: str
    """For people, with what an administrator can do."""


@dataclass(frozen=True)
class Trust:
    """The stores that the operator opens.

    Args:
        stores: what an administrator has listed; nothing for the operator's own endpoint alone.
        own_endpoint: the address that the operator's environment names; empty for AWS.
    """

    stores: Sequence[ListedStore] = ()
    own_endpoint: str = ""

    def reach(self, namespace: str, wanted: Storage) -> Storage | Unlisted:
        """Return how the operator reaches a store that an Experiment names, or why it does not.

        Endpoint, region, certificates and path style are those of the entry. Without a list they are those of the
        operator's environment; region and path style are then the Experiment's, for the server is the operator's own
        whatever they say.
        """
        place = place_of(wanted.uri)
        if place is None:
            return Unlisted(say.odd_place(wanted.uri))
        uri = "s3://" + "/".join(place)
        if not self.stores:
            return self._own(wanted, uri)
        entry = self._entry(wanted, place)
        if entry is None or not entry.allows(namespace):
            return Unlisted(say.not_listed(namespace, uri, wanted.endpoint))
        return Storage(
            uri=uri,
            endpoint=entry.endpoint,
            region=entry.region,
            path_style=entry.path_style,
            ca_bundle=entry.ca_bundle,
        )

    def shares(self, namespace: str, other: str, wanted: Storage) -> bool:
        """Return whether Experiments of one namespace wait for Jobs of another one that compute the same in a store."""
        place = place_of(wanted.uri)
        entry = self._entry(wanted, place) if place is not None else None
        return entry is not None and entry.share_work and entry.allows(namespace) and entry.allows(other)

    def shares_with_others(self, namespace: str, wanted: Storage) -> bool:
        """Return whether there may be such other namespaces."""
        return self.shares(namespace, namespace, wanted)

    def _entry(self, wanted: Storage, place: Place) -> ListedStore | None:
        """Return the entry that a place belongs to: that of the longest prefix, whoever may name it. A team's part of
        a bucket is then the team's also where the rest of the bucket is everyone's."""
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
            return Unlisted(say.not_own(uri, wanted.endpoint or "", self.own_endpoint))
        if wanted.region is not None and not _REGION.fullmatch(wanted.region):
            return Unlisted(say.odd_region(wanted.region))
        # A bucket before a host of one word, as in `bucket.minio`, is the name of a Service in another namespace.
        one_word = bool(self.own_endpoint) and "." not in (urlsplit(self.own_endpoint).hostname or "")
        return Storage(uri=uri, region=wanted.region, path_style=wanted.path_style or one_word)

    def _server(self, endpoint: str | None) -> str | None:
        """Return whom an address names, in one spelling; empty for AWS, None where it names nobody."""
        address = endpoint or self.own_endpoint
        return server_of(address) if address else ""


def server_of(endpoint: str) -> str | None:
    """Write an address in one way: scheme and host know no case, and each scheme has a port of its own (RFC 3986, 6.2).
    None for what is no address of a server, such as one with a user, a query or a broken port."""
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
    """Split ``s3://bucket/prefix``. None where a server might read it as another place: ``..``, empty parts, and ``%``,
    which some decode twice."""
    if not uri.startswith("s3://"):
        return None
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")  # as the store itself does
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or "%" in prefix or (prefix and not valid_path(prefix)):
        return None
    return (bucket, *(prefix.split("/") if prefix else ()))
