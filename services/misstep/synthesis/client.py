"""Send requests to an OpenAI-compatible endpoint, with rate limits, retries and a journal."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import httpx2
from anyio import to_thread
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from misstep import telemetry
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import Endpoint
from misstep.plan.params import DecodingParams
from misstep.synthesis.asks import Answer, Ask, NoReply, Reply
from misstep.synthesis.budget import prompt_guess
from misstep.synthesis.journal import Journal
from misstep.synthesis.monitor import TeacherMonitor
from misstep.synthesis.pacing import Pacer
from misstep.synthesis.responses import FIELD, Refused, TryAgain, WantsCompletionTokens, check_status, read_reply

TRIES = 6
"""Tries of one request, each after a longer wait."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_RETRY_AFTER = 600.0
"""If a server asks to wait longer than this, the stage ends; answers so far are kept."""
MAX_BODY_BYTES = 16 * 2**20


class Client:
    """One shard's client of an endpoint. Use it in one event loop, as an asynchronous context manager.

    Args:
        shards: the number of shards that share concurrency and rates.

    Raises:
        BadInput: the variable for the API key is not set.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        decoding: DecodingParams,
        shards: int,
        journal: Journal,
        monitor: TeacherMonitor,
    ) -> None:
        self._model, self._decoding, self._journal, self._monitor = model, decoding, journal, monitor
        self._timeout = endpoint.timeout_seconds
        self.concurrency = max(1, endpoint.concurrency // shards)
        self._slots = asyncio.Semaphore(self.concurrency)
        self._pacer = Pacer(
            _rate(endpoint.requests_per_minute, shards),
            _rate(endpoint.tokens_per_minute, shards),
        )
        limits = httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        self._http = httpx2.AsyncClient(headers=_headers(endpoint.api_key_env), timeout=self._timeout, limits=limits)
        self._url = f"{endpoint.url}/chat/completions"
        self._limit_name = "max_tokens"
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._any_answer = False
        self._counts: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def take_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return, and reset, the counts of requests (``asked``, ``reused``, ``failed``, ``estimated``) and of failed
        tries by reason."""
        found = dict(self._counts), dict(self._retries)
        self._counts.clear()
        self._retries.clear()
        return found

    async def ask(self, ask: Ask) -> Answer:
        """Return the answer to one request, from the journal if it is there.

        Raises BadInput if the endpoint cannot be used, MisstepError if it is down or asks to wait too long.
        """
        name = self._journal.name(ask)
        same = self._under_way.get(name)
        if same is not None:  # two drafts have the same question
            return _shared(await asyncio.shield(same))
        future = self._under_way[name] = asyncio.ensure_future(self._find_or_ask(ask))
        try:
            return await future
        finally:
            future.cancel()
            del self._under_way[name]

    async def _find_or_ask(self, ask: Ask) -> Answer:
        found = await to_thread.run_sync(self._journal.find, ask)
        if found is not None:
            self._counts["reused"] += 1
            return found
        async with self._slots:
            try:
                reply = await self._insist(ask)
            except TryAgain as last:
                self._counts["failed"] += 1
                return NoReply("no-reply", str(last))
            except Refused as refusal:
                if not self._any_answer:  # it refuses the first request: probably it would refuse all of this run
                    raise BadInput(
                        FIELD, str(refusal), "Correct what the server names; check model first."
                    ) from refusal
                self._counts["failed"] += 1
                return NoReply("refused", str(refusal))
        self._any_answer = True
        self._counts["asked"] += 1
        self._counts["estimated"] += reply.estimated
        telemetry.count_prompt_tokens(reply.prompt_tokens, 0)
        telemetry.GENERATED_TOKENS.inc(reply.generated_tokens)
        return await to_thread.run_sync(self._journal.keep, ask, reply)

    async def _insist(self, ask: Ask) -> Reply:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(TRIES),
            wait=_wait,
            before_sleep=self._note_retry,
            reraise=True,
        )
        return await retrying(self._try, ask)

    async def _try(self, ask: Ask) -> Reply:
        await self._pacer.turn(prompt_guess(ask) + self._decoding.max_new_tokens)
        try:
            try:
                reply = await self._post(ask)
            except WantsCompletionTokens:
                if self._limit_name == "max_completion_tokens":
                    raise Refused("HTTP 400: it takes neither max_tokens nor max_completion_tokens") from None
                self._limit_name = "max_completion_tokens"
                reply = await self._post(ask)
        except TryAgain as failure:
            self._monitor.failed(failure.reason, failure.detail)
            raise
        self._monitor.answered()
        return reply

    async def _post(self, ask: Ask) -> Reply:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": role, "content": content} for role, content in ask.messages],
            "temperature": self._decoding.temperature,
            self._limit_name: self._decoding.max_new_tokens,
        }
        try:
            # httpx2's own timeouts are between bytes: a server that sends slowly would never reach them.
            async with asyncio.timeout(self._timeout), self._http.stream("POST", self._url, json=body) as response:
                content = await _limited(response)
                check_status(response.status_code, response.headers, content)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise TryAgain("timeout", f"no complete answer in {self._timeout:g} s") from error
        except httpx2.ConnectError as error:
            raise TryAgain("unreachable", f"{self._url}: {error}") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise TryAgain("cut-off-stream", str(error) or type(error).__name__) from error
        except httpx2.InvalidURL as error:
            raise BadInput(f"{FIELD}.url", self._url, f"This is not a valid address: {error}.") from error
        return read_reply(content, ask)

    async def _note_retry(self, state: RetryCallState) -> None:
        failure = _failure_of(state)
        self._retries[failure.reason] += 1
        if failure.retry_after is None:
            return
        if failure.retry_after > LONGEST_RETRY_AFTER:
            raise MisstepError(
                f"{FIELD}: the server asks to wait {failure.retry_after:.0f} s ({failure.detail}). Answers so far "
                "are kept: run again then."
            ) from failure
        self._pacer.pause(failure.retry_after)  # it applies to all requests, not only to this one


def _rate(over_all_shards: int | None, shards: int) -> float | None:
    return None if over_all_shards is None else over_all_shards / shards


def _failure_of(state: RetryCallState) -> TryAgain:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, TryAgain)
    return failure


def _wait(state: RetryCallState) -> float:
    asked = _failure_of(state).retry_after
    return asked if asked is not None else _backoff(state)


_backoff = wait_exponential_jitter(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS, jitter=FIRST_WAIT_SECONDS)


async def _limited(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_BODY_BYTES:
            raise TryAgain("too-large", f"an answer of more than {MAX_BODY_BYTES >> 20} MiB")
    return bytes(content)


def _shared(answer: Answer) -> Answer:
    if isinstance(answer, NoReply):
        return answer
    return Reply(**{name: getattr(answer, name) for name in Reply.__slots__ if name != "reused"}, reused=True)


def _headers(api_key_env: str | None) -> dict[str, str]:
    if api_key_env is None:
        return {}
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        fix = "This environment variable is not set or empty: put the API key into it."
        raise BadInput(f"{FIELD}.apiKeyEnv", api_key_env, fix)
    if not key.isascii() or not key.isprintable():
        raise BadInput(f"{FIELD}.apiKeyEnv", api_key_env, "The value of this variable cannot be an API key.")
    return {"Authorization": f"Bearer {key}"}
