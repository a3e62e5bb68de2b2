"""The results of a file, made from its blocks once all are finished: one row for each response, and rows for TRL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from misstep.credit.block import NEVER_SOLVED
from misstep.credit.refuted import Ids, refuted
from misstep.credit.trl_rows import TrlRows, step_labels
from misstep.standalone.choosing import CORRECT, CREDITED, Choice
from misstep.standalone.labels import Labelled
from misstep.standalone.rows import Given, GivenFile
from misstep.terms.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from misstep.standalone.encoding import Encoded

RESPONSES = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),  # its number among the problem's responses, from 0
        pa.field("row", pa.string(), nullable=False),  # its place in the file
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("extracted", pa.string()),  # the final answer that was read
        pa.field("status", pa.string(), nullable=False),  # credited, or why not
        pa.field("text", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string())),  # L texts, which join to the response's
        pa.field("labels", pa.list_(pa.bool_())),  # L: True before the pit, False at it, null behind it (`step_labels`)
        pa.field("pit", pa.int32()),  # from 1; null where there is none
        pa.field("reason", pa.string()),  # why there is no pit
        pa.field("certainty", pa.float64()),
        pa.field("q", pa.list_(pa.float64())),  # L+1
        pa.field("alive", pa.list_(pa.float64())),  # L+1
        pa.field("solved", pa.list_(pa.int32())),  # L
        pa.field("failed", pa.list_(pa.int32())),  # L
        pa.field("first_error", pa.int32()),  # the step of the given label, from 1
    ]
)
Row = dict[str, Any]
Key = tuple[str, int]


@dataclass(frozen=True)
class Results:
    """Everything that is known of a file when all blocks are finished."""

    read: GivenFile
    judged: Mapping[Key, Judgement]
    choice: Choice
    credited: Mapping[Key, Row]
    """The rows of the tables ``negatives`` and ``positives``."""
    rollouts: Mapping[str, Sequence[Ids]]
    """The correct rollouts of the wrong responses, by problem (`misstep.credit.refuted.whole_rollouts`)."""
    correct_rollouts: Mapping[str, Sequence[Ids]]
    """Those of the correct ones."""

    def responses(self) -> Iterator[Row]:
        """Yield one row for each response of the file, in its order of problems."""
        for key, given in self._each():
            judgement, found = self.judged[key], self.credited.get(key)
            encoded = self.choice.encoded.get(key)
            steps = list(encoded.steps.texts) if encoded is not None and encoded.problem is None else None
            row: Row = {
                "problem_id": key[0],
                "sample": key[1],
                "row": given.where,
                "verdict": judgement.verdict.value,
                "extracted": judgement.extracted,
                "status": self.choice.status[key],
                "text": given.text,
                "steps": steps,
                "labels": self._labels(key),
                "first_error": first_error(given, encoded),
            }
            if found is not None:
                row |= {name: found[name] for name in ("pit", "reason", "certainty", "q", "alive", "solved", "failed")}
            yield row

    def labelled(self) -> Iterator[Labelled]:
        """Yield the responses that have a label."""
        for key, given in self._each():
            if given.label is None:
                continue
            found, status = self.credited.get(key), self.choice.status[key]
            encoded = self.choice.encoded.get(key)
            cut = encoded is not None and encoded.problem is None
            yield Labelled(
                first_error=first_error(given, encoded) if cut else given.label + 1 if given.label >= 0 else None,
                predicted=found["pit"] if found is not None else None,
                known=status in (CREDITED, CORRECT),
                solved=found is None or found["reason"] != NEVER_SOLVED,
            )

    def stepwise_rows(self, made: TrlRows) -> Iterator[tuple[Row, bool]]:
        """Yield TRL's rows of the distinct responses that have labels, each with whether TRL keeps its tokens."""
        seen = set()
        for key, _ in self._each():
            labels, encoded = self._labels(key), self.choice.encoded.get(key)
            if labels is None or encoded is None or (key[0], encoded.token_ids) in seen:
                continue
            seen.add((key[0], encoded.token_ids))
            yield made.stepwise(self.choice.prompts[key[0]], encoded.token_ids, encoded.steps.texts, labels)

    def _labels(self, key: Key) -> list[bool | None] | None:
        """Return the labels of a response's steps; None where nothing is known of them. Of equal responses credit takes
        one; all have its labels."""
        encoded = self.choice.encoded.get(key)
        if encoded is None or encoded.problem is not None:
            return None
        found = self._by_tokens.get((key[0], encoded.token_ids))
        correct = self.judged[key].verdict is Verdict.CORRECT
        pit: int | None = None if found is None else found["pit"]
        passed = False
        if pit is not None:
            rollouts = (self.correct_rollouts if correct else self.rollouts).get(key[0], ())
            passed = refuted(encoded.token_ids, encoded.steps.ends[pit - 1], self._correct[key[0]], rollouts)
        return step_labels(len(encoded.steps.texts), pit, correct, passed)

    @cached_property
    def _by_tokens(self) -> Mapping[tuple[str, tuple[int, ...]], Row]:
        return {(name, tuple(row["token_ids"])): row for (name, _), row in self.credited.items()}

    @cached_property
    def _correct(self) -> Mapping[str, list[Ids]]:
        """Token ids of each problem's correct responses."""
        correct: dict[str, list[Ids]] = {name: [] for name in self.read.problems}
        for key, encoded in self.choice.encoded.items():
            if encoded.problem is None and self.judged[key].verdict is Verdict.CORRECT:
                correct[key[0]].append(encoded.token_ids)
        return correct

    def _each(self) -> Iterator[tuple[Key, Given]]:
        for name, problem in self.read.problems.items():
            for given in problem.responses:
                yield (name, given.sample), given


def first_error(given: Given, encoded: Encoded | None) -> int | None:
    """Return the step that holds a label's given step, from 1; None where no step is wrong."""
    if given.label is None or given.label < 0 or encoded is None or encoded.given is None:
        return None
    return encoded.given[given.label]
