"""Write the pairs or the credit of an Experiment as rows of text for TRL.

Artifacts hold the token ids of prompts, so their text needs the policy's tokenizer. It is in the artifact of the policy
that sampled the responses.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from misstep.artifacts.export import appears_when_done, reader_of
from misstep.artifacts.files import fetch
from misstep.artifacts.manifest import NotCommittedError, read_manifest
from misstep.credit.pieces import TokenPieces
from misstep.credit.steps import StepCutter
from misstep.credit.trl_rows import PromptText, preference_row, refuted, stepwise_row
from misstep.errors import BadInput
from misstep.generation.ends import end_ids
from misstep.generation.fingerprint import check_tokenizer
from misstep.generation.loading import load_generation_config
from misstep.generation.stops import before_stop
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
    wrong response that has a pit that no right sample refutes, up to the pit, and one for each distinct right sample.

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
    prefix = "policy/" if found and found.files("policy/") else "model/"
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
        self._text = PromptText(self._tokenizer)

    def pairs(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield a row for each pair, and whether TRL's tokens of prompt and chosen side are those of the pair."""
        for row in self._rows(self._key, "pairs"):
            prompt = self._text.of(row["prompt_ids"])
            same = self._text.same(row["prompt_ids"], prompt, self._body(row["chosen_ids"]), row["chosen_text"])
            yield preference_row(prompt, row["chosen_text"], before_stop(row["rejected_text"], self._stop)), same

    def steps(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield a row for each wrong response with a pit and each distinct right sample, and whether TRL's tokens of
        prompt and response are those of the response."""
        prompts: dict[str, list[int]] = {}
        right = self._right()
        right_ids: dict[str, dict[tuple[int, ...], None]] = {}
        for row in self._rows(self._manifest.inputs["samples"], "samples"):
            prompts.setdefault(row["problem_id"], row["prompt_ids"])
            if row["finish_reason"] == "stop" and (row["problem_id"], row["sample"]) in right:
                right_ids.setdefault(row["problem_id"], {}).setdefault(tuple(row["token_ids"]))
        for row in self._rows(self._key, "negatives"):
            end = row["step_ends"][row["pit"] - 1] if row["pit"] is not None else None
            if end is not None and not refuted(row["token_ids"], end, right_ids.get(row["problem_id"], ())):
                yield self._row(prompts[row["problem_id"]], row["token_ids"], row["step_texts"], row["pit"])
        params = self._manifest.params
        pieces = TokenPieces(self._tokenizer, self._ends)
        cutter = StepCutter(pieces, params["step_rule"], params["max_steps"], self._stop)
        for problem, found in right_ids.items():
            for ids in found:
                yield self._row(prompts[problem], ids, cutter.cut(ids).texts, None)

    def _row(self, prompt_ids: Any, token_ids: Any, steps: Any, pit: int | None) -> tuple[dict[str, Any], bool]:
        prompt = self._text.of(prompt_ids)
        texts = [before_stop(step, self._stop) for step in steps]
        same = self._text.same(prompt_ids, prompt, self._body(token_ids), "".join(texts))
        return stepwise_row(prompt, texts, pit), same

    def _body(self, token_ids: Any) -> list[int]:
        return [*token_ids[:-1]] if token_ids and token_ids[-1] in self._ends else [*token_ids]

    def _right(self) -> set[tuple[str, int]]:
        verdicts = self._rows(self._manifest.inputs["verdicts"], "verdicts")
        return {(row["problem_id"], row["sample"]) for row in verdicts if row["verdict"] == Verdict.CORRECT.value}

    def _rows(self, key: str, table: str) -> Iterator[dict[str, Any]]:
        for batch in self._reader.batches(key, table):
            yield from batch.to_pylist()
