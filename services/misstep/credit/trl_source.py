"""Read the pairs, the credit or the judged samples of an Experiment as rows of text for TRL.

Artifacts hold the token ids of prompts, so their text needs the policy's tokenizer. It is in the artifact of the policy
that sampled the responses.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from misstep.artifacts.files import fetch
from misstep.credit.pieces import TokenPieces
from misstep.credit.refuted import row_refuted, whole_rollouts
from misstep.credit.steps import StepCutter
from misstep.credit.trl_rows import TrlRows, step_labels
from misstep.errors import BadInput
from misstep.generation.ends import end_ids
from misstep.generation.fingerprint import check_tokenizer
from misstep.generation.loading import load_generation_config
from misstep.generation.tokenizers import load_tokenizer
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from misstep.store.inside import inside
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    from misstep.artifacts.reader import Reader

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


class TrlRow(NamedTuple):
    """One row."""

    row: dict[str, Any]
    """The columns that TRL reads."""
    about: dict[str, Any]
    """Further facts: of a pair ``problem_id``, ``layout``, ``pit``, ``chosen_source``, ``rejected_complete`` and
    ``weight``; of credited steps ``problem_id``, ``correct``, ``pit`` and ``values``, the value Q after each step, or
    None; of a sample ``problem_id``, ``sample``, ``verdict`` and ``extracted``."""
    same: bool
    """Whether TRL's tokens of the text are those that were sampled: of prompt and chosen side, or of prompt and
    response."""


class TrlSource:
    """The artifacts that the rows come from.

    Args:
        reader: of the store.
        key: of pairs, credit or verdicts.
        folder: the tokenizer's.
    """

    def __init__(self, reader: Reader, key: str, folder: Path) -> None:
        self._reader, self._key = reader, key
        self._manifest = reader.manifest(key)
        self._tokenizer = load_tokenizer(folder)
        samples = reader.manifest(self._manifest.inputs["samples"])
        check_tokenizer(self._tokenizer, "samples", samples.summary)
        self._stop = tuple(samples.params.get("decoding", {}).get("stop", ()))
        self._ends = end_ids(self._tokenizer, load_generation_config(folder))
        self._made = TrlRows(self._tokenizer, self._ends, self._stop)
        self.left_out: Counter[str] = Counter()
        """Why samples became no row -> samples; complete once the rows are read."""

    @classmethod
    @contextmanager
    def open(cls, store: Store, reader: Reader, key: str, tokenizer: Path | None = None) -> Iterator[TrlSource]:
        """Open an artifact.

        Args:
            tokenizer: a model folder; None takes the policy's from the store.

        Raises:
            BadInput: no tokenizer, or another model's.
            NotCommittedError: an artifact that this one was made from is not in the store.
        """
        with tempfile.TemporaryDirectory(prefix="misstep-tokenizer-") as scratch:
            yield cls(reader, key, tokenizer or _policy_tokenizer(store, reader, key, Path(scratch)))

    def rows(self) -> Iterator[TrlRow]:
        """Yield the rows: of pairs one for each pair; of credit one for each wrong response that has a pit that no
        correct response refutes, up to the pit, and one for each distinct correct sample, up to its lucky step if
        credit found one that no other refutes; of verdicts one for each sample that ended by itself and was judged
        right or wrong."""
        match self._manifest.kind:
            case StageKind.PAIRS:
                return self._pairs()
            case StageKind.CREDIT:
                return self._steps()
            case _:
                return self._judged()

    def _pairs(self) -> Iterator[TrlRow]:
        columns = ("problem_id", "layout", "pit", "chosen_source", "rejected_complete", "weight")
        for pair in self._read(self._key, "pairs"):
            row, same = self._made.preference(pair)
            yield TrlRow(row, {name: pair[name] for name in columns}, same)

    def _steps(self) -> Iterator[TrlRow]:
        prompts: dict[str, list[int]] = {}
        right = {at for at, row in self._verdicts().items() if row["verdict"] == Verdict.CORRECT.value}
        correct: dict[str, dict[tuple[int, ...], None]] = {}
        for row in self._read(self._manifest.inputs["samples"], "samples"):
            prompts.setdefault(row["problem_id"], row["prompt_ids"])
            if row["finish_reason"] == "stop" and (row["problem_id"], row["sample"]) in right:
                correct.setdefault(row["problem_id"], {}).setdefault(tuple(row["token_ids"]))

        for row in self._pits("negatives", "rollouts", correct):
            at = _response(row)
            yield self._credited(at, prompts[at[0]], row["step_texts"], row["pit"], row["q"], correct=False)
        lucky = {_response(row): row["pit"] for row in self._pits("positives", "positive_rollouts", correct)}
        values = {_response(row): row["q"] for row in self._read(self._key, "positives")}
        params = self._manifest.params
        pieces = TokenPieces(self._tokenizer, self._ends)
        cutter = StepCutter(pieces, params["step_rule"], params["max_steps"], self._stop)
        for problem, found in correct.items():
            for ids in found:
                at = problem, ids
                texts = cutter.cut(ids).texts
                yield self._credited(at, prompts[problem], texts, lucky.get(at), values.get(at, []), correct=True)

    def _credited(
        self,
        at: tuple[str, tuple[int, ...]],
        prompt_ids: Sequence[int],
        steps: Sequence[str],
        pit: int | None,
        q: Sequence[float | None],
        correct: bool,
    ) -> TrlRow:
        """Make the row of one response; ``q`` is empty where it was not credited."""
        labels = step_labels(len(steps), pit, correct)
        assert labels is not None
        row, same = self._made.stepwise(prompt_ids, at[1], steps, labels)
        known = len(row["labels"])
        values = list(q[1 : known + 1]) or [None] * known
        return TrlRow(row, {"problem_id": at[0], "correct": correct, "pit": pit, "values": values}, same)

    def _judged(self) -> Iterator[TrlRow]:
        verdicts = self._verdicts()
        labels = {Verdict.CORRECT.value: True, Verdict.WRONG.value: False}
        for sample in self._read(self._manifest.inputs["samples"], "samples"):
            verdict = verdicts[sample["problem_id"], sample["sample"]]
            label = labels.get(verdict["verdict"])
            if sample["finish_reason"] != "stop":
                self.left_out["cut off at the token limit"] += 1
            elif label is None:
                self.left_out[verdict["verdict"]] += 1
            else:
                row, same = self._made.unpaired(sample, label)
                names = ("problem_id", "sample", "verdict", "extracted")
                yield TrlRow(row, {name: verdict[name] for name in names}, same)

    def _pits(
        self, table: str, rollouts: str, correct: Mapping[str, Collection[tuple[int, ...]]]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table that have a pit that no correct response refutes."""
        blamed = {row["problem_id"] for row in self._read(self._key, table) if row["pit"] is not None}
        credited = (row for row in self._read(self._key, table) if row["problem_id"] in blamed)
        drawn = whole_rollouts(credited, self._read(self._key, rollouts))
        for row in self._read(self._key, table):
            if row["pit"] is not None and not row_refuted(row, correct.get(row["problem_id"], ()), drawn):
                yield row

    def _verdicts(self) -> dict[tuple[str, int], dict[str, Any]]:
        key = self._manifest.inputs.get("verdicts", self._key)
        return {(row["problem_id"], row["sample"]): row for row in self._read(key, "verdicts")}

    def _read(self, key: str, table: str) -> Iterator[dict[str, Any]]:
        for batch in self._reader.batches(key, table):
            yield from batch.to_pylist()


def _response(row: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    return row["problem_id"], tuple(row["token_ids"])


def _policy_tokenizer(store: Store, reader: Reader, key: str, folder: Path) -> Path:
    """Fetch the files of the policy's tokenizer, without weights."""
    manifest = reader.manifest(key)
    samples = reader.manifest(manifest.inputs["samples"])
    policy = manifest.inputs.get("policy") or samples.inputs.get("policy") or samples.inputs.get("model")
    found = reader.manifest(policy) if policy else None
    prefix = found.policy_prefix() if found else ""
    files = found.files(prefix) if found else {}
    if found is None or not files:
        fix = "Name the folder of the model that sampled the responses with --tokenizer DIR."
        raise BadInput("--tokenizer", "not given, and the policy's is not in the store", fix)
    for name, part in files.items():
        if not name.endswith(_WEIGHTS):
            target = inside(folder, name.removeprefix(prefix), found.key)
            fetch(store, f"{found.key}/{part.path}", part.size, part.sha256, target, link=False)
    return folder
