"""Store every answer of an endpoint before it is used, so that no request is paid for twice.

A record's path depends only on the request (model, conversation, sampling, index), not on the stage: so a killed run, a
retry on another node, another budget or another number of solutions find existing answers. ``docs/teachers.md``
describes the format.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, ValidationError

from misstep.artifacts import paths
from misstep.errors import BadInput
from misstep.plan.params import DecodingParams
from misstep.store.base import MissingError, Store
from misstep.synthesis.asks import Ask, Reply


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    text: str
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    estimated: bool


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    response: _Response


class Journal:
    """The answers of one model, in a store. Several processes may use it at once: of two answers to one request the
    first stays."""

    def __init__(self, store: Store, model: str, decoding: DecodingParams) -> None:
        self._store = store
        self._about = {
            "model": model,
            "temperature": decoding.temperature,
            "max_new_tokens": decoding.max_new_tokens,
        }

    def name(self, ask: Ask) -> str:
        """Return the path of the answer to a request."""
        text = json.dumps(self._request(ask), sort_keys=True, separators=(",", ":"))
        return paths.teacher_request(hashlib.sha256(text.encode()).hexdigest())

    def find(self, ask: Ask) -> Reply | None:
        """Return an answer that was paid for before, or None. Raises BadInput if its record cannot be read."""
        path = self.name(ask)
        try:
            record = _Record.model_validate_json(self._store.get(path))
        except MissingError:
            return None
        except ValidationError as error:
            fix = "This is not a record of an answer. Remove this object: the request is then made again."
            raise BadInput(path, error.errors()[0]["msg"], fix) from error
        return Reply(**record.response.model_dump(), reused=True)

    def keep(self, ask: Ask, reply: Reply) -> Reply:
        """Store an answer durably, and return the one that counts: this one or, if another process was first, the
        other's."""
        response = _Response(
            text=reply.text,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            generated_tokens=reply.generated_tokens,
            estimated=reply.estimated,
        )
        record = {"format": 1, "request": self._request(ask), "response": response.model_dump()}
        if self._store.put(self.name(ask), json.dumps(record, ensure_ascii=False).encode(), if_absent=True):
            return reply
        return self.find(ask) or reply

    def _request(self, ask: Ask) -> dict[str, object]:
        return {**self._about, "messages": [list(message) for message in ask.messages], "index": ask.index}
