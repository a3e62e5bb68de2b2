"""Classify an HTTP response of an OpenAI-compatible server: an answer, worth a retry, or a permanent error. No I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from misstep.errors import BadInput
from misstep.synthesis.asks import Ask, Reply
from misstep.synthesis.budget import prompt_guess

FIELD = "spec.teacher.endpoint"
MOST_TOKENS = 10**9
"""A larger number of tokens in one answer is not plausible."""
_WITHOUT_TEXT = ("length", "content_filter")
"""Finish reasons with which an answer may have no text at all."""
_QUOTA = re.compile(r"insufficient_quota|credit balance is too low", re.IGNORECASE)
"""Not "billing": ordinary messages about rate limits link to that page too."""


class TryAgain(Exception):
    """This try gave no answer; another may.

    Attributes:
        reason: for the counts: ``timeout``, ``cut-off-stream``, ``rate-limited``, ...
        retry_after: seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, reason: str, detail: str, retry_after: float | None = None) -> None:
        self.reason, self.detail, self.retry_after = reason, detail, retry_after
        super().__init__(f"{reason}: {detail}")


class Refused(Exception):
    """The server understands the request and refuses it (400, 413, 422)."""


class WantsCompletionTokens(Exception):
    """The server needs ``max_completion_tokens`` instead of ``max_tokens``."""


def check_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return normally if the response may have an answer.

    Raises:
        TryAgain: 408, 409, 425, 429, 5xx.
        Refused: 400, 413, 422.
        WantsCompletionTokens: 400 that says so.
        BadInput: for any other status: the address, the key or the model is wrong.
    """
    if status == 200:
        return
    text = " ".join(body[:2000].decode("utf-8", "replace").split())
    said = f"HTTP {status}{f': {text[:150]}' if text else ''}"
    if status == 429 and _QUOTA.search(text):
        raise BadInput(f"{FIELD}.apiKeyEnv", said, "The account has no money or quota left: top it up and run again.")
    if status == 429:
        raise TryAgain("rate-limited", said, retry_after(headers))
    if status in (408, 409, 425) or status >= 500:
        raise TryAgain("server-error", said, retry_after(headers))
    if status == 400 and "max_completion_tokens" in text:
        raise WantsCompletionTokens
    if status in (400, 413, 422):
        raise Refused(said)
    if status in (401, 403):
        raise BadInput(f"{FIELD}.apiKeyEnv", said, "Set that variable to a key that is valid for this server.")
    if status == 402:
        raise BadInput(f"{FIELD}.apiKeyEnv", said, "The account has no money left: top it up and run again.")
    if status == 404:
        raise BadInput(FIELD, said, "Correct url (the base address, usually ending in /v1) or model.")
    raise BadInput(f"{FIELD}.url", said, "Give the base address of a server with the OpenAI API.")


def read_reply(body: bytes, ask: Ask) -> Reply:
    """Read the answer from a body. Raises TryAgain if there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TryAgain("malformed", f"no JSON ({str(error)[:80]})") from error
    choices = found.get("choices") if isinstance(found, dict) else None
    if not isinstance(choices, list):
        raise TryAgain("malformed", "JSON without choices")
    if not choices:
        raise TryAgain("no-choices", "an empty list of choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise TryAgain("malformed", "a choice without a message")
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) and finish else "stop"
    content = message.get("content")
    if not isinstance(content, str):
        if content is not None or finish not in _WITHOUT_TEXT:
            raise TryAgain("malformed", "a message without text")
        content = ""
    text = clean(content)
    usage = found.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    known = [count for count in counts if isinstance(count, int) and not isinstance(count, bool)]
    if len(known) == 2 and all(0 <= count <= MOST_TOKENS for count in known):
        return Reply(text, finish, known[0], known[1])
    return Reply(text, finish, prompt_guess(ask), -(-len(text.encode()) // 4), estimated=True)


def clean(text: str) -> str:
    """Make a text storable: JSON can contain halves of surrogate pairs and NULs, a UTF-8 table cannot."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a server asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date
    (RFC 9110, 10.2.3); None if it does not say."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or not value:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
