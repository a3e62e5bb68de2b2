"""Requests to a teacher and its replies, for every kind of teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Message = tuple[str, str]
"""(role, content)"""
Step = Literal["write", "check", "solve"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a conversation that the teacher continues. ``index`` distinguishes equal conversations."""

    messages: tuple[Message, ...]
    step: Step
    index: int = 0

    @property
    def size(self) -> int:
        """Bytes of the conversation in UTF-8."""
        return sum(len(content.encode()) for _, content in self.messages)


@dataclass(frozen=True, slots=True)
class Reply:
    """A completed answer, usable or not: it was paid for."""

    text: str
    finish_reason: str
    """``stop``, ``length``, or another reason that an endpoint gives."""
    prompt_tokens: int
    generated_tokens: int
    estimated: bool = False
    """The tokens are an estimate, because the endpoint did not report them."""
    reused: bool = False
    """Kept from an earlier run, or shared with an equal request of this run."""


@dataclass(frozen=True, slots=True)
class NoReply:
    """There is no answer to this request: every try failed, or the endpoint refuses it."""

    reason: Literal["no-reply", "refused"]
    detail: str


Answer = Reply | NoReply


class AnswerMonitor(Protocol):
    """Is told of every answer whether it could be used; raises where the teacher is of no use."""

    def usable(self, answer: Answer) -> None: ...
    def unusable(self, answer: Answer, reason: str) -> None: ...
