"""An engine whose model is a Python function: conversations reach it as JSON, by a real tokenizer of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from transformers import PreTrainedTokenizerFast

from misstep.generation.engine import Completion, Request
from misstep.generation.text import decode, encode
from tests.generation.tiny import byte_tokenizer
from tests.synthesis.server import Seen

AS_JSON = "{{ messages | tojson }}"
WITHOUT_SYSTEM_TURNS = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + AS_JSON
)


def json_tokenizer(chat_template: str | None = AS_JSON) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each byte, whose chat template writes the messages as JSON."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template
    return tokenizer


class ScriptedEngine:
    def __init__(
        self, teacher: Callable[[Seen], str], tokenizer: PreTrainedTokenizerFast, context_length: int = 10_000
    ) -> None:
        self.teacher, self.tokenizer, self.context_length = teacher, tokenizer, context_length
        self.end_ids = frozenset({tokenizer.eos_token_id})
        self.queue: list[Request] = []
        self.batches: list[int] = []
        self.closed = False

    def submit(self, request: Request) -> None:
        self.queue.append(request)

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        self.batches.append(len(self.queue))
        while self.queue:
            request = self.queue.pop()
            turns = json.loads(decode(self.tokenizer, request.prompt_ids))
            if turns[0]["role"] != "system":
                turns.insert(0, {"role": "system", "content": ""})
            seen = Seen(0.0, {"messages": turns}, {})
            texts = [self.teacher(seen) for _ in request.seeds]
            yield request, tuple(Completion(tuple(encode(self.tokenizer, text)), text, "stop", 0.0) for text in texts)

    def close(self) -> None:
        self.closed = True
