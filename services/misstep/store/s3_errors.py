"""Convert answers of S3 and errors of botocore into errors that name the field to fix.

BadInput is used only if no retry can help: a stage that ends with it is never started again.
"""

from __future__ import annotations

import os

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from misstep.errors import BadInput, MisstepError
from misstep.store.addresses import environments_endpoint
from misstep.store.base import UnreachableError
from misstep.store.description import Storage

_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "XAdminUserNotFound"}
_OUTDATED = {"RequestExpired", "TokenRefreshRequired"}
_RIGHTS = "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_FOREIGN = {"404", "405", "MethodNotAllowed", "NotImplemented", "501"}
_AUTHORITIES = "AWS_CA_BUNDLE"
_REGIONAL = "the region's own endpoint"
_MOST_ACCEPTED = 4096
_accepted: dict[tuple[str | None, str], None] = {}
"""Stores that have accepted a request of this process, by endpoint and URI, with whatever keys it had then."""
MISSING = {"NoSuchKey", "NotFound"}


class Refused(MisstepError):
    """Credentials that have expired, or that the store accepted before and refuses now, or a wrong clock: a retry, or
    another machine, may succeed."""


def note_accepted(storage: Storage) -> None:
    """Record that a store has accepted a request of this process."""
    _accepted[storage.endpoint, storage.uri] = None
    while len(_accepted) > _MOST_ACCEPTED:  # an operator opens many: drop the oldest
        _accepted.pop(next(iter(_accepted)), None)


def was_accepted(storage: Storage) -> bool:
    """Return whether a store has accepted a request of this process: then its keys were right, and a refusal may be
    temporary."""
    return (storage.endpoint, storage.uri) in _accepted


def code_of(error: aws.ClientError) -> str:
    """Return S3's error code, such as ``NoSuchKey``, or the HTTP status if the server sent no error document."""
    return str(error.response.get("Error", {}).get("Code") or status_of(error))


def status_of(error: aws.ClientError) -> int:
    """Return the HTTP status."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def s3_error(error: Exception, storage: Storage, identity: str, accepted: bool = False) -> MisstepError:
    """Turn a botocore error into ours.

    Args:
        identity: a description of the credentials, without the secret.
        accepted: whether the server has accepted a request of this process before. Then no refusal is BadInput: keys,
            tokens and policies get replaced, and each replacement takes a moment.
    """
    if isinstance(error, aws.ClientError):
        return _answered(error, storage, identity, accepted)
    field, endpoint = endpoint_of(storage)
    text = str(error)
    if isinstance(error, aws.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in text:
            given = storage.ca_bundle is None and os.environ.get(_AUTHORITIES)
            where = _AUTHORITIES if given else "spec.storage.caBundle"
            fix = f"The server's certificate is not trusted: name the file of its authority in {where}."
            return BadInput(where, given or storage.ca_bundle, fix)
        if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
            return BadInput(field, endpoint, "The server uses http at this address, not https.")
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        own_server = endpoint != _REGIONAL and not storage.path_style
        hint = " A server without a host name per bucket needs pathStyle: true." if own_server else ""
        return UnreachableError(f"{field}: no answer from {endpoint} ({text}).{hint}")
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return no_credentials()
    if isinstance(error, ResponseParserError):
        return BadInput(field, endpoint, "This is not an S3 server.")
    if isinstance(error, aws.ParamValidationError):
        return BadInput("spec.storage.uri", storage.uri, "Write s3://bucket/prefix with a valid bucket name.")
    return MisstepError(f"{storage.uri}: {text}")


def endpoint_of(storage: Storage) -> tuple[str, str]:
    """Return the field or variable that gives the server's address, and the address."""
    if storage.endpoint is not None:
        return "spec.storage.endpoint", storage.endpoint
    return environments_endpoint() or ("spec.storage.endpoint", _REGIONAL)


def no_credentials() -> BadInput:
    """Return the error for a credential chain that found no credentials."""
    fix = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod's service account a role."
    return BadInput("credentials for S3", "none found", fix)


def _answered(error: aws.ClientError, storage: Storage, identity: str, accepted: bool) -> MisstepError:
    code, operation = code_of(error), error.operation_name
    message = error.response.get("Error", {}).get("Message", "")
    if code == "NoSuchBucket":
        return BadInput("spec.storage.uri", storage.uri, "There is no such bucket: create it, or correct its name.")
    if code.startswith("Expired") or code in _OUTDATED:
        # Never BadInput: the next pod gets the credentials that the Secret or the cloud then has.
        fix = "Renew them; a new process reads them again."
        return Refused(f"credentials for S3: those of {identity} have expired ({code}). {fix}")
    refused = code in _CREDENTIALS or code in _DENIED or status_of(error) in (401, 403)
    if refused and accepted and code != "RequestTimeTooSkewed":
        fix = "Were the keys or the permissions changed? A new process reads them again."
        return Refused(
            f"credentials for S3: {identity} was accepted before and is refused now ({operation}: {code} {message}). "
            f"{fix} It needs {_RIGHTS}."
        )
    if code in _CREDENTIALS:
        return BadInput("credentials for S3", identity, f"The server refuses them ({code}): set the right ones.")
    if code == "RequestTimeTooSkewed":
        # Not BadInput: the next pod may run on a machine with a correct clock.
        return Refused("This machine's clock differs from the S3 server's by many minutes: set it.")
    if code in _DENIED or status_of(error) in (401, 403):
        fix = (
            f"{operation} is denied to {identity} ({code} {message}); allow it {_RIGHTS} (without the last, absent "
            "objects look forbidden)."
        )
        return BadInput("spec.storage.uri", storage.uri, fix)
    if code in _REGION:
        return BadInput("spec.storage.region", storage.region, f"The bucket is in another region: {message}")
    if code in _FULL or status_of(error) == 507:
        return BadInput("spec.storage.uri", storage.uri, f"The store is full ({code}): free space or raise its quota.")
    if code in _FOREIGN:
        fix = f"{operation} got {code} {message}: this is not an S3 server, or it lacks what Misstep needs."
        return BadInput(*endpoint_of(storage), fix)
    return MisstepError(f"{storage.uri}: {operation} failed: {code} {message}")
