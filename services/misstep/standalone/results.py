"""The results of a file, made from its blocks once all are finished: one row for each response, and rows for TRL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from misstep.credit.block import NEVER_SOLVED
from misstep.credit.trl_rows import PromptText, preference_row, refuted, stepwise_row
from misstep.standalone.choosing import CREDITED, RIGHT, Choice
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
        pa.field("labels", pa.list_(pa.bool_())),  # L: True before the pit, False at it, null behind it
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


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that is known of a file when all blocks are finished."""

    read: GivenFile
    judged: Mapping[Key, Judgement]
    choice: Choice
    credited: Mapping[Key, Row]
    """The rows of the tables ``negatives`` and ``positives``."""

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
                "labels": None,
                "first_error": first_error(given, encoded),
            }
            if found is not None:
                row |= {name: found[name] for name in ("pit", "reason", "certainty", "q", "alive", "solved", "failed")}
                row["labels"] = step_labels(len(found["step_texts"]), found["pit"], found["reason"])
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
                known=status in (CREDITED, RIGHT),
                solved=found is None or found["reason"] != NEVER_SOLVED,
            )

    def preference_rows(self, pairs: pa.Table | None, text: PromptText) -> Iterator[Row]:
        """Yield TRL's rows of the pairs."""
        for pair in pairs.to_pylist() if pairs is not None else ():
            yield preference_row(text.of(pair["prompt_ids"]), pair["chosen_text"], pair["rejected_text"])

    def stepwise_rows(self, text: PromptText) -> Iterator[Row]:
        """Yield TRL's rows of the wrong responses that have a pit, and of the distinct right ones."""
        seen = set()
        rights: dict[str, list[tuple[int, ...]]] = {name: [] for name in self.read.problems}
        for key, encoded in self.choice.encoded.items():
            if encoded.problem is None and self.judged[key].verdict is Verdict.CORRECT:
                rights[key[0]].append(encoded.token_ids)
        for key, _ in self._each():
            cut, found = self.choice.encoded.get(key), self.credited.get(key)
            if cut is None or cut.problem is not None:
                continue
            right = self.judged[key].verdict is Verdict.CORRECT
            pit = None if right or found is None else found["pit"]
            if pit is not None and refuted(cut.token_ids, cut.steps.ends[pit - 1], rights[key[0]]):
                continue
            again = (key[0], cut.token_ids) in seen
            seen.add((key[0], cut.token_ids))
            if not again and (right or pit is not None):
                yield stepwise_row(text.of(self.choice.prompts[key[0]]), cut.steps.texts, pit)

    def _each(self) -> Iterator[tuple[Key, Given]]:
        for name, problem in self.read.problems.items():
            for given in problem.responses:
                yield (name, given.sample), given


def first_error(given: Given, encoded: Encoded | None) -> int | None:
    """Return the step that holds a label's given step, from 1; None where all steps are right."""
    if given.label is None or given.label < 0 or encoded is None or encoded.given is None:
        return None
    return encoded.given[given.label]


def step_labels(steps: int, pit: int | None, reason: str | None) -> list[bool | None] | None:
    """Return whether each step is before the pit (True), is the pit (False) or is behind it (None: not known); None for
    all where the problem was never solved."""
    if reason is not None:
        return None
    if pit is None:
        return [True] * steps
    return [*([True] * (pit - 1)), False, *([None] * (steps - pit))]
