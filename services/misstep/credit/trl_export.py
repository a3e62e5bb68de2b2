"""Write the pairs, the credit or the judged samples of an Experiment as rows of text for TRL, as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args

from misstep.artifacts.export import appears_when_done, reader_of
from misstep.artifacts.manifest import NotCommittedError, read_manifest
from misstep.credit.trl_source import TrlSource
from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from misstep.store.base import Store

Form = Literal["trl-preference", "trl-stepwise", "trl-unpaired"]
FORMS: tuple[Form, ...] = get_args(Form)
KIND_OF: dict[Form, StageKind] = {
    "trl-preference": StageKind.PAIRS,
    "trl-stepwise": StageKind.CREDIT,
    "trl-unpaired": StageKind.VERIFY,
}
"""The kind of stage whose artifact the rows are made from."""


def export_trl(store: Store, key: str, form: Form, out: Path, tokenizer: Path | None = None) -> tuple[int, int]:
    """Write rows that TRL reads, as JSON lines.

    Args:
        key: an artifact of pairs for ``trl-preference``, of credit for ``trl-stepwise``, of verdicts for
            ``trl-unpaired`` (`TrlSource` says which rows).
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
    if manifest.kind is not KIND_OF[form]:
        fix = f"It is made from a {KIND_OF[form].value} artifact; {key} is one of {manifest.kind.value}."
        raise BadInput("--format", form, fix)
    with (
        appears_when_done(out) as partial,
        reader_of(store) as reader,
        TrlSource.open(store, reader, key, tokenizer) as source,
    ):
        rows = otherwise = 0
        with partial.open("w", encoding="utf-8") as file:
            for found in source.rows():
                file.write(json.dumps(found.row, ensure_ascii=False) + "\n")
                rows, otherwise = rows + 1, otherwise + (not found.same)
    return rows, otherwise
