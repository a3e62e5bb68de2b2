"""A store in a bucket of any S3-compatible server."""

from __future__ import annotations

import io
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from misstep.errors import BadInput, MisstepError
from misstep.store.base import Entry, MissingError, check_path
from misstep.store.description import Storage
from misstep.store.local import save_stream
from misstep.store.s3_client import make_client
from misstep.store.s3_errors import (
    MISSING,
    Refused,
    code_of,
    endpoint_of,
    note_accepted,
    s3_error,
    status_of,
    was_accepted,
)

_PART = 16 << 20
_UPLOADS_AT_ONCE = 4
_CONFLICTS = 8
_STREAM_TRIES = 5
_NO_CONDITIONS = (
    "The server ignores If-None-Match: it overwrites an existing object. If two pods finish the same block or stage, "
    "the later one would replace what others already read, and finished work would be lost. Use a server that "
    "supports it (AWS, MinIO, Ceph from 19 and versitygw do)."
)
_REFUSES_ALL = (
    "The server refuses every write with If-None-Match, even if the object does not exist: no stage could write its "
    "result. Use a server that supports it (AWS, MinIO, Ceph from 19 and versitygw do)."
)
_BROKEN_STREAM = (aws.HTTPClientError, aws.IncompleteReadError)


class S3Store:
    """Objects are ``prefix/path`` in one bucket, which must exist.

    Args:
        patient: whether to retry for half a minute to a minute while the server is down, as a stage should whose work
            would be lost. Other callers, which ask again anyway or have a user waiting, give up after a second or two,
            or after about 20 if nothing answers.
    """

    def __init__(self, storage: Storage, patient: bool = True, accepted: bool = False) -> None:
        bucket, _, prefix = storage.uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise BadInput("spec.storage.uri", storage.uri, "Write s3://bucket/prefix.")
        self._storage = storage
        self._bucket = bucket
        self._prefix = f"{check_path(prefix.strip('/'))}/" if prefix.strip("/") else ""
        tries, connect, read = (6, 10, 60) if patient else (3, 5, 15)
        self._client, self._identity = make_client(
            storage, attempts=tries, connect_timeout=connect, read_timeout=read, patient=patient
        )
        self._client.meta.events.register("after-call.s3", self._note_accepted)
        if accepted:
            note_accepted(storage)

    @property
    def uri(self) -> str:
        return self._storage.uri.rstrip("/")

    @property
    def client(self) -> Any:
        """boto3's client, for further hooks."""
        return self._client

    def check(self, write: bool = False) -> None:
        client, _ = make_client(self._storage, attempts=2, connect_timeout=5)
        try:
            with self._errors(starting=True):
                page = client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
                _check_is_listing(page)
                if write:
                    self._check_writes(client)
        except (BadInput, Refused):
            raise
        except MisstepError as error:
            fix = "Is the server up, and are host and port right?"
            raise BadInput(*endpoint_of(self._storage), f"{fix} ({error})") from error

    def _check_writes(self, client: Any) -> None:
        """Create an object twice: the second time the server must refuse."""
        target = {"Bucket": self._bucket, "Key": f"{self._prefix}.tmp/probe-{secrets.token_hex(8)}"}

        def created(body: bytes) -> bool:
            try:
                client.put_object(**target, Body=body, IfNoneMatch="*")
            except aws.ClientError as error:
                if status_of(error) != 412:
                    raise
                return False
            return True

        created(b"first")  # if an answer is lost, boto3's own retry is refused: the object exists already
        try:
            if created(b"second"):
                raise BadInput(*endpoint_of(self._storage), _NO_CONDITIONS)
            try:
                kept = client.get_object(**target)["Body"].read() == b"first"
            except aws.ClientError as error:
                if code_of(error) not in MISSING:
                    raise
                kept = False
            if not kept:
                raise BadInput(*endpoint_of(self._storage), _REFUSES_ALL)
        finally:
            client.delete_object(**target)

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._create(
            path, lambda: self._client.put_object(Body=data, **self._target(path, if_absent)), if_absent
        )

    def put_file(self, path: str, local: Path, *, if_absent: bool = False) -> bool:
        if local.stat().st_size > 2 * _PART:
            return self._put_parts(path, local, if_absent)
        with local.open("rb") as body:
            return self._create(
                path, lambda: self._client.put_object(Body=_rewound(body), **self._target(path, if_absent)), if_absent
            )

    def get(self, path: str) -> bytes:
        with self.open_read(path) as file:
            return file.read()

    def get_range(self, path: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        stream = _Stream(lambda offset: self._body(path, start + offset, start + length - 1))
        with io.BufferedReader(stream) as file:
            return file.read()

    @contextmanager
    def open_read(self, path: str) -> Iterator[BinaryIO]:
        with io.BufferedReader(_Stream(lambda offset: self._body(path, offset)), 1 << 20) as file:
            file.peek(1)  # a missing object raises here
            yield file

    def download(self, path: str, local: Path, *, most: int | None = None) -> None:
        with self.open_read(path) as source:
            save_stream(source, local, most)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    if found["Key"].endswith("/") and not found["Size"]:
                        continue  # a console's folder
                    path = found["Key"].removeprefix(self._prefix)
                    if prefix.startswith(".tmp/") or not path.startswith(".tmp/"):
                        yield Entry(path, found["Size"], found["LastModified"].timestamp())

    def exists(self, path: str) -> bool:
        # The object itself sorts before all others whose paths begin with its path.
        with self._errors():
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(path), MaxKeys=1)
        return any(found["Key"] == self._key(path) for found in page.get("Contents", ()))

    def delete(self, path: str) -> None:
        with self._errors():
            # Also accepts names that no stage could have written, so that such objects can be removed.
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + path)

    def local_path(self, path: str) -> Path | None:
        return None

    def _key(self, path: str) -> str:
        return self._prefix + check_path(path)

    def _target(self, path: str, if_absent: bool) -> dict[str, str]:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        return {"Bucket": self._bucket, "Key": self._key(path), **condition}

    @contextmanager
    def _errors(self, starting: bool = False) -> Iterator[None]:
        try:
            yield
        except (aws.ClientError, aws.BotoCoreError, ResponseParserError) as error:
            raise self._error(error, starting) from error

    def _error(self, error: Exception, starting: bool = False) -> MisstepError:
        accepted = not starting and was_accepted(self._storage)
        return s3_error(error, self._storage, self._identity, accepted)

    def _note_accepted(self, http_response: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            note_accepted(self._storage)

    def _create(self, path: str, write: Callable[[], object], if_absent: bool) -> bool:
        """Run a write; 412 means that another writer was first, 409 that two writes collided and this one must be
        retried.

        A 412 is trusted only if the object exists: a wrong 412 would let lost work count as done by another writer.
        """
        for attempt in range(_CONFLICTS):
            with self._errors():
                try:
                    write()
                except aws.ClientError as error:
                    taken = if_absent and status_of(error) == 412
                    if taken and self.exists(path):
                        return False
                    if not (taken or status_of(error) == 409) or attempt == _CONFLICTS - 1:
                        raise
                else:
                    return True
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _put_parts(self, path: str, local: Path, if_absent: bool) -> bool:
        # A manager for each upload, so that no thread of its lives on between uploads, when a process may fork.
        # "classic": the other client sends requests by a library of its own, past our timeouts and tries.
        config = TransferConfig(
            multipart_threshold=_PART,
            multipart_chunksize=_PART,
            max_concurrency=_UPLOADS_AT_ONCE,
            preferred_transfer_client="classic",
        )
        client = _CreatesOnly(self._client) if if_absent else self._client

        def upload() -> None:
            with create_transfer_manager(client, config) as manager:
                manager.upload(str(local), self._bucket, self._key(path)).result()

        return self._create(path, upload, if_absent)

    def _body(self, path: str, start: int, last: int | None = None) -> Any:
        """Return the stream of an object from ``start`` on, or None if it ends before that."""
        try:
            span = {} if start == 0 and last is None else {"Range": f"bytes={start}-{'' if last is None else last}"}
            return self._client.get_object(Bucket=self._bucket, Key=self._key(path), **span)["Body"]
        except aws.ClientError as error:
            if code_of(error) in MISSING:
                raise MissingError(self.uri, path) from error
            if status_of(error) == 416:
                return None
            raise self._error(error) from error
        except (aws.BotoCoreError, ResponseParserError) as error:
            raise self._error(error) from error


def _check_is_listing(page: dict[str, Any]) -> None:
    """Any XML parses as an empty listing, even a web page; only a real listing names its bucket."""
    if "Name" not in page and "IsTruncated" not in page:
        raise MisstepError("this is not an S3 server")


def _rewound(body: BinaryIO) -> BinaryIO:
    body.seek(0)
    return body


class _CreatesOnly:
    """A client that ends an upload in parts only where no object is there.

    boto3's transfer manager takes no If-None-Match (https://github.com/boto/boto3/issues/4366).
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def complete_multipart_upload(self, **arguments: Any) -> Any:
        return self._client.complete_multipart_upload(**arguments, IfNoneMatch="*")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class _Stream(io.RawIOBase):
    """An object read from its start. If the connection breaks, reading resumes where it stopped."""

    def __init__(self, open_at: Callable[[int], Any]) -> None:
        self._open_at = open_at
        self._offset = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        for attempt in range(_STREAM_TRIES):
            if self._body is None:
                self._body = self._open_at(self._offset)
            if self._body is None:
                return b""
            try:
                return bytes(self._body.read(size))
            except _BROKEN_STREAM as error:
                self._body.close()
                self._body = None
                last = error
                time.sleep(random.uniform(0, 0.2 * 2**attempt))
        raise MisstepError(f"the connection to the store broke {_STREAM_TRIES} times: {last}")

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
        super().close()
