"""An engine whose model is a Python function: characters are tokens, conversations are JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import TemplateError

from misstep.generation.engine import Completion, Request
from tests.synthesis.server import Seen


class Letters:
    """A tokenizer with a token for each character."""

    name_or_path = "letters"

    def __init__(self, chat_template: str | None = "json", system_turns: bool = True) -> None:
        self.chat_template, self.system_turns = chat_template, system_turns

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        if not self.system_turns and turns[0]["role"] == "system":
            raise TemplateError("System role not supported")
        return json.dumps(turns)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}


class ScriptedEngine:
    def __init__(self, teacher: Callable[[Seen], str], tokenizer: Letters, context_length: int = 10_000) -> None:
        self.teacher, self.tokenizer, self.context_length = teacher, tokenizer, context_length
        self.queue: list[Request] = []
        self.batches: list[int] = []
        self.closed = False

    def submit(self, request: Request) -> None:
        self.queue.append(request)

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        self.batches.append(len(self.queue))
        while self.queue:
            request = self.queue.pop()
            turns = json.loads("".join(map(chr, request.prompt_ids)))
            if turns[0]["role"] != "system":
                turns.insert(0, {"role": "system", "content": ""})
            seen = Seen(0.0, {"messages": turns}, {})
            texts = [self.teacher(seen) for _ in request.seeds]
            yield request, tuple(Completion(tuple(map(ord, text)), text, "stop", 0.0) for text in texts)

    def close(self) -> None:
        self.closed = True
