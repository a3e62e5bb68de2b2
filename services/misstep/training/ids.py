"""Check token ids against the model's embeddings. A tokenizer may have more tokens than the model, or fewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from misstep.errors import BadInput
from misstep.training.rows import PairRow, SftRow

if TYPE_CHECKING:
    from misstep.training.selection import Question


def embeddings_of(model: Any) -> int:
    """Return how many token ids a model knows, even if its weights are sharded over processes."""
    size: int = model.config.get_text_config(decoder=True).vocab_size
    return min(size, getattr(model.get_input_embeddings(), "num_embeddings", size))


def check_ids(rows: Sequence[SftRow | PairRow], questions: Sequence[Question], tokenizer: Any, embeddings: int) -> None:
    """Check every id of every training row and of every validation problem's prompt.

    An id that only the tokenizer does not know is allowed: models are also sampled with such ids.

    Raises:
        BadInput: the model has no embedding for an id.
    """
    for where, ids in _all_ids(rows, questions):
        outside = ids[(ids < 0) | (ids >= embeddings)]
        if len(outside):
            found = int(outside[0])
            raise BadInput(
                "spec.policy.model",
                f"token {token_text(tokenizer, found)!r} of {where} has the id {found}, and the model has "
                f"{embeddings} token embeddings",
                "Use the tokenizer that the model was trained with, or resize the model's embeddings to "
                f"{max(len(tokenizer), found + 1)} (resize_token_embeddings) and save both.",
            )


def pad_inside(model: Any, tokenizer: Any) -> None:
    """Set a padding token of a trainer's tokenizer for which the model has an embedding.

    Padding is masked, so any token will do. The model's padding embedding is trained like all others, since real text
    may contain that token.
    """
    embeddings = embeddings_of(model)
    model.get_input_embeddings().padding_idx = None
    tokens = (tokenizer.pad_token_id, tokenizer.eos_token_id, *range(embeddings))
    inside = (i for i in tokens if i is not None and 0 <= i < embeddings)
    tokenizer.pad_token = next(text for i in inside if (text := token_text(tokenizer, i)) is not None)


def token_text(tokenizer: Any, token_id: int) -> str | None:
    """Return the tokenizer's spelling of a token id, or None if it does not know the id."""
    try:
        token: str | None = tokenizer.convert_ids_to_tokens(token_id)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None
    return token


def _all_ids(rows: Sequence[SftRow | PairRow], questions: Iterable[Question]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for index, row in enumerate(rows):
        parts = (row.input_ids,) if isinstance(row, SftRow) else (row.prompt_ids, row.chosen_ids, row.rejected_ids)
        yield from ((f"training row {index}", ids) for ids in parts)
    for question in questions:
        yield f"the prompt of problem {question.problem_id}", np.asarray(question.prompt_ids)
