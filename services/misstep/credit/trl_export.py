"""Write the pairs or the credit of an Experiment as rows of text for TRL.

Artifacts hold the token ids of prompts, so their text needs the policy's tokenizer. It is in the artifact of the policy
that sampled the responses.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from misstep.artifacts.export import appears_when_done, reader_of
from misstep.artifacts.files import fetch
from misstep.artifacts.manifest import NotCommittedError, read_manifest
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

Form = Literal["trl-preference", "trl-stepwise"]
_KINDS = {"trl-preference": StageKind.PAIRS, "trl-stepwise": StageKind.CREDIT}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def export_trl(store: Store, key: str, form: Form, out: Path, tokenizer: Path | None = None) -> tuple[int, int]:
    """Write rows that TRL reads, as JSON lines.

    ``trl-preference`` is made from an artifact of pairs. ``trl-stepwise`` is made from one of credit: a row for each
    wrong response that has a pit that no correct response refutes, up to the pit, and one for each distinct correct
    sample, up to its lucky step if credit found one that no other refutes.

    Args:
        out: the file; it must not exist yet.
        tokenizer: a model folder; None takes the policy's from the store.

    Returns:
        The number of rows, and of those whose tokens TRL will make otherwise than they were sampled.

    Raises:
        BadInput: an artifact of another kind, no tokenizer, another model's tokenizer, or ``out`` exists.
        NotCommittedError: the artifact, or one that it was made from, is not in the store.
    """
    manifest = read_manifest(store, key)
    if manifest is None:
        raise NotCommittedError(key)
    if manifest.kind is not _KINDS[form]:
        what = "a pairs artifact" if form == "trl-preference" else "a credit artifact"
        raise BadInput("--format", form, f"It is made from {what}; {key} is one of {manifest.kind.value}.")
    with (
        appears_when_done(out) as partial,
        reader_of(store) as reader,
        tempfile.TemporaryDirectory(prefix="misstep-tokenizer-") as scratch,
    ):
        folder = tokenizer or _policy_tokenizer(store, reader, key, Path(scratch))
        source = _Source(reader, key, folder)
        rows = otherwise = 0
        with partial.open("w", encoding="utf-8") as file:
            for row, same in source.pairs() if form == "trl-preference" else source.steps():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                rows, otherwise = rows + 1, otherwise + (not same)
    return rows, otherwise


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


class _Source:
    """The artifacts that the rows come from.

    Args:
        reader: of the store.
        key: of pairs or credit.
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

    def pairs(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield a row for each pair, and whether TRL's tokens of prompt and chosen side are those of the pair."""
        for row in self._rows(self._key, "pairs"):
            yield self._made.preference(row)

    def steps(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield a row for each wrong response with a pit and each distinct correct sample, and whether TRL's tokens of
        prompt and response are those of the response."""
        prompts: dict[str, list[int]] = {}
        verdicts = self._correct()
        correct: dict[str, dict[tuple[int, ...], None]] = {}
        for row in self._rows(self._manifest.inputs["samples"], "samples"):
            prompts.setdefault(row["problem_id"], row["prompt_ids"])
            if row["finish_reason"] == "stop" and (row["problem_id"], row["sample"]) in verdicts:
                correct.setdefault(row["problem_id"], {}).setdefault(tuple(row["token_ids"]))
        for row in self._pits("negatives", "rollouts", correct):
            labels = step_labels(len(row["step_texts"]), row["pit"], correct=False)
            assert labels is not None
            yield self._made.stepwise(prompts[row["problem_id"]], row["token_ids"], row["step_texts"], labels)
        lucky = {
            (row["problem_id"], tuple(row["token_ids"])): row["pit"]
            for row in self._pits("positives", "positive_rollouts", correct)
        }
        params = self._manifest.params
        pieces = TokenPieces(self._tokenizer, self._ends)
        cutter = StepCutter(pieces, params["step_rule"], params["max_steps"], self._stop)
        for problem, found in correct.items():
            for ids in found:
                steps = cutter.cut(ids).texts
                labels = step_labels(len(steps), lucky.get((problem, ids)), correct=True)
                assert labels is not None
                yield self._made.stepwise(prompts[problem], ids, steps, labels)

    def _pits(
        self, table: str, rollouts: str, correct: Mapping[str, Collection[tuple[int, ...]]]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table that have a pit that no correct response refutes."""
        blamed = {row["problem_id"] for row in self._rows(self._key, table) if row["pit"] is not None}
        credited = (row for row in self._rows(self._key, table) if row["problem_id"] in blamed)
        drawn = whole_rollouts(credited, self._rows(self._key, rollouts))
        for row in self._rows(self._key, table):
            if row["pit"] is not None and not row_refuted(row, correct.get(row["problem_id"], ()), drawn):
                yield row

    def _correct(self) -> set[tuple[str, int]]:
        verdicts = self._rows(self._manifest.inputs["verdicts"], "verdicts")
        return {(row["problem_id"], row["sample"]) for row in verdicts if row["verdict"] == Verdict.CORRECT.value}

    def _rows(self, key: str, table: str) -> Iterator[dict[str, Any]]:
        for batch in self._reader.batches(key, table):
            yield from batch.to_pylist()
