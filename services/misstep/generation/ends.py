"""Which tokens end a response."""

from __future__ import annotations

from typing import Any

from misstep.errors import BadInput
from misstep.generation.text import encode

_MARK = "misstep answers here"


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of every special token: those with a role, and added tokens without a role that are marked
    special, as ends of turns often are."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(marked | set(tokenizer.all_special_ids))


def configured_ends(generation_config: Any) -> tuple[int, ...]:
    """Return the end ids that generation_config.json names: one, several or none."""
    given = getattr(generation_config, "eos_token_id", None)
    several = given if isinstance(given, list | tuple) else [given]
    return tuple(int(i) for i in several if i is not None)


def end_ids(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """Collect every token at which sampling stops: the folder's end ids, the tokenizer's end of text, and the token
    that its chat template puts behind an answer.

    Raises:
        BadInput: an end id belongs to ordinary text.
    """
    configured = configured_ends(generation_config)
    for number in configured:
        if number < len(tokenizer) and _is_text(tokenizer, number):
            text = tokenizer.decode([number])
            raise BadInput(
                "spec.policy.model",
                f"eos_token_id {number} (generation_config.json, else config.json) is the text {text!r}",
                "Sampling would stop inside a response, at the first such token. Remove it there; put a text that "
                "ends a "
                "response into spec.sampling.stop.",
            )
    ends = {*configured, tokenizer.eos_token_id}
    ends.add(end_of_turn_id(tokenizer, special_ids(tokenizer) | ends))
    return frozenset(int(i) for i in ends if i is not None)


def end_of_turn_id(tokenizer: Any, ends: frozenset[int]) -> int | None:
    """Return the token that a chat template puts after an answer, if it is one of ``ends``; else None."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    try:
        _, found, tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_MARK)
    # A template may raise anything for these turns; if a prompt needs it, ChatTemplate reports what is wrong.
    except Exception:  # noqa: BLE001
        return None
    return first_end(tokenizer, tail, ends) if found else None


def first_end(tokenizer: Any, tail: str, ends: frozenset[int]) -> int | None:
    """Return the token with which a text begins, ignoring white space, if it is one of ``ends``; else None."""
    ids = encode(tokenizer, tail.lstrip())
    return ids[0] if ids and ids[0] in ends else None


def _is_text(tokenizer: Any, number: int) -> bool:
    """Return whether a token is ordinary text: neither special nor added, or an added run of white space (Gemma's
    newlines)."""
    if number in special_ids(tokenizer):
        return False
    added = tokenizer.added_tokens_decoder.get(number)
    return added is None or not str(added).strip()
