"""Dropped rows: an error if none is left, a warning if there were many."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from misstep.errors import BadInput
from misstep.plan.params import MANY_DROPPED
from misstep.training.rows import PairRow, Rows, SftRow

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """The most tokens that a row may have: ``maxLength``, or the model's context if that is shorter."""

    max_length: int
    context: int

    @property
    def tokens(self) -> int:
        return min(self.max_length, self.context)

    def field_and_fix(self, longest: int) -> tuple[str, str]:
        """Return what to change so that rows of up to ``longest`` tokens fit."""
        if self.context <= self.max_length:
            fix = f"Its context is {self.context} tokens: use a model with a longer one, or shorter problems."
            return "spec.policy.model", fix
        beyond = f", though the model's context ends at {self.context}" if longest > self.context else ""
        return "maxLength (spec.training)", f"Raise it: the longest row has {longest} tokens{beyond}."


def check_dropped(rows: Rows[SftRow] | Rows[PairRow], limit: Limit) -> None:
    """Log how many rows were dropped and why; it is a warning if there are many.

    Raises:
        BadInput: there were rows, and all of them were too long.
    """
    total = len(rows.rows) + rows.dropped_rows
    if total and rows.dropped.get("too-long") == total:
        refuse_no_rows(rows, limit)
    if rows.dropped_rows:
        share = rows.dropped_rows / total
        level = logging.WARNING if share > MANY_DROPPED else logging.INFO
        text = "%d of %d training rows (%.1f%%) were dropped: %s"
        _log.log(level, text, rows.dropped_rows, total, 100 * share, _reasons(rows, limit))


def refuse_no_rows(rows: Rows[SftRow] | Rows[PairRow], limit: Limit, also: str = "") -> None:
    """Refuse to leave a model untrained; the error names the field that fits the most frequent reason.

    Args:
        also: a further sentence for the error about missing rows.

    Raises:
        BadInput: there is no row.
    """
    if rows.rows:
        return
    most = max(rows.dropped, key=lambda reason: (rows.dropped[reason], reason), default="")
    match most:
        case "too-long":
            field, fix = limit.field_and_fix(rows.longest)
        case "no-end-token":
            field, fix = "spec.policy.model", "Make its tokenizer and generation_config.json agree on the end tokens."
        case "end-token-inside":
            field = "spec.problems.train"
            fix = "Remove text that the model's tokenizer reads as an end token from the solutions."
        case _:
            field, fix = "spec.problems.train", "Give training problems with correct solutions."
    dropped = f"Dropped: {_reasons(rows, limit)}." if rows.dropped else ""
    sentences = filter(None, (dropped, also, fix))
    raise BadInput(field, f"no training row is left of {rows.dropped_rows}", " ".join(sentences))


def _reasons(rows: Rows[SftRow] | Rows[PairRow], limit: Limit) -> str:
    """Return why rows were dropped, as in ``3 too long (more than 64 tokens; the longest has 99), 1 with ...``."""
    words = {
        "too-long": f"too long (more than {limit.tokens} tokens; the longest has {rows.longest})",
        "no-end-token": "without an end token at the end",
        "end-token-inside": "with an end token before the end",
        "empty-side": "with a side of no tokens",
    }
    by_count = sorted(rows.dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {words.get(reason, reason)}" for reason, count in by_count)
