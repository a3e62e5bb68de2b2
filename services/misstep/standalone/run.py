"""Credit a file: read, judge, choose, show the cost, credit the blocks that are left, and write the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.artifacts.digest import digest_path
from misstep.artifacts.summary import merge
from misstep.credit.posterior import SolvedRates
from misstep.errors import BadInput
from misstep.inspection.skeleton import fetch_skeleton
from misstep.standalone.blocks import FilePairs, credit_block
from misstep.standalone.choosing import Choice, Chooser
from misstep.standalone.encoding import Encoder, open_encoder
from misstep.standalone.folder import CreditFolder
from misstep.standalone.judging import by_response, judge_file
from misstep.standalone.labels import compare
from misstep.standalone.planning import FilePlan, plan_file
from misstep.standalone.rows import GivenFile, read_file
from misstep.standalone.settings import Settings, check
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier

if TYPE_CHECKING:
    from misstep.credit.scheduler import Scheduler
    from misstep.standalone.blocks import Judgements

Report = Callable[[str], None]
"""Gets lines for a person."""
OnProgress = Callable[[str, int, int], None]
"""Gets what is counted, how many are done, and all."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: it does every ``count``-th block."""

    index: int = 1
    count: int = 1

    def has(self, block: int) -> bool:
        """Return whether a block is this part's."""
        return block % self.count == self.index - 1


def parse_shard(text: str) -> Shard:
    """Read ``2/4``. Raises BadInput."""
    index, _, count = text.partition("/")
    if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return Shard(int(index), int(count))
    raise BadInput("--shard", text, "Write the part and the number of parts, for example 1/4; the first part is 1.")


@dataclass(slots=True)
class _Prepared:
    read: GivenFile
    judged: Judgements
    choice: Choice
    plan: FilePlan
    encoder: Encoder


def dry_run(settings: Settings, report: Report, on_progress: OnProgress) -> FilePlan:
    """Print what a file holds and what crediting it will cost. Writes nothing, and reads no weights."""
    settings = check(settings)
    read = read_file(settings.file, settings.columns, settings.join)
    with tempfile.TemporaryDirectory(prefix="misstep-model-") as scratch:
        model = fetch_skeleton("--model", settings.model, None, Path(scratch) / "model")
        prepared, _ = _prepare(settings, read, _checked(model), None, on_progress)
    _show(prepared, report)
    return prepared.plan


def credit_file(
    settings: Settings, out: Path, shard: Shard, jsonl: bool, report: Report, on_progress: OnProgress
) -> dict[str, Any] | None:
    """Credit a file; go on where earlier runs with the same settings stopped.

    Args:
        out: the output folder.
        shard: which blocks.
        jsonl: also write responses and pairs as JSON lines.

    Returns:
        The summary; None if blocks of other shards are not finished yet.

    Raises:
        BadInput: the file, a column, the model, a setting or the folder cannot be used.
    """
    settings = check(settings)
    read = read_file(settings.file, settings.columns, settings.join)
    model = _model(settings.model)
    folder = CreditFolder(out)
    prepared, prompt = _prepare(settings, read, model, folder, on_progress)
    _show(prepared, report)
    blocks = prepared.plan.blocks
    todo = [number for number in range(blocks) if shard.has(number) and number not in folder.done(blocks)]
    if done := len(folder.done(blocks)):
        report(f"{done:,} of {blocks:,} blocks are finished already")
    if todo:
        per_problem, seed = settings.pairs_per_problem, settings.credit.seed
        made = FilePairs(prepared.choice, prepared.judged, per_problem, seed)
        with _scheduler(settings, model, prepared.choice, on_progress) as scheduler:
            for number in todo:
                problems = prepared.choice.problems[number * settings.block : (number + 1) * settings.block]
                tables, counts = credit_block(scheduler, problems, made)
                folder.keep_block(number, tables, counts)
                on_progress("blocks", len(folder.done(blocks)), blocks)
    left = blocks - len(folder.done(blocks))
    if left:
        report(f"{left:,} blocks of other shards are left; the run that finishes the last one writes the results")
        return None
    return _finish(settings, prepared, prompt, folder, jsonl)


def _prepare(
    settings: Settings, read: GivenFile, model: Path, folder: CreditFolder | None, on_progress: OnProgress
) -> tuple[_Prepared, dict[str, Any]]:
    encoder, prompt = open_encoder(model, settings.prompt, settings.credit)
    if folder is not None:
        folder.open(settings.description(digest_path(model), prompt))
    with _verifier(settings) as verifier:
        judgements = judge_file(read, verifier, folder, lambda done, most: on_progress("judged", done, most))
    verdicts = by_response(read, judgements)
    choice = Chooser(settings.credit, settings.own, encoder.prompt, encoder.response).choose(read, verdicts)
    plan = plan_file(read, judgements, choice, settings.credit, settings.block)
    return _Prepared(read, verdicts, choice, plan, encoder), prompt.model_dump(mode="json")


def _show(prepared: _Prepared, report: Report) -> None:
    taken = ", ".join(f"{option} {name}" for option, name in prepared.read.columns.asked.items())
    report(f"columns: {taken}")
    for line in prepared.plan.lines():
        report(line)
    for line in prepared.choice.differences:
        report(f"  the tokenizer changes text: {line}")


def _finish(
    settings: Settings, prepared: _Prepared, prompt: dict[str, Any], folder: CreditFolder, jsonl: bool
) -> dict[str, Any]:
    """Write the results from all blocks."""
    import pyarrow as pa

    from misstep.credit.refuted import whole_rollouts
    from misstep.credit.trl_rows import TrlRows
    from misstep.standalone.results import RESPONSES, Results

    blocks = prepared.plan.blocks
    tables = {name: folder.table(name, blocks) for name in _TABLES}
    rows = {name: table.to_pylist() if table is not None else [] for name, table in tables.items()}
    results = Results(
        read=prepared.read,
        judged=prepared.judged,
        choice=prepared.choice,
        credited={(row["problem_id"], row["sample"]): row for row in (*rows["negatives"], *rows["positives"])},
        rollouts=whole_rollouts(rows["negatives"], rows["rollouts"]),
        correct_rollouts=whole_rollouts(rows["positives"], rows["positive_rollouts"]),
    )
    responses = pa.Table.from_pylist(list(results.responses()), schema=RESPONSES)
    folder.write("responses", responses)
    for name, found in tables.items():
        if found is not None:
            folder.write(name, found)
    made = TrlRows(prepared.encoder.tokenizer, prepared.encoder.ends, settings.credit.decoding.stop)
    otherwise = {
        "pairs_tokenised_otherwise": _write_trl(folder, "trl-preference", map(made.preference, rows["pairs"])),
        "steps_tokenised_otherwise": _write_trl(folder, "trl-stepwise", results.stepwise_rows(made)),
    }
    if jsonl:
        folder.write_jsonl("responses", responses.to_pylist())
        folder.write_jsonl("pairs", rows["pairs"])
    summary: dict[str, Any] = {
        "file": str(settings.file),
        "model": settings.model,
        "columns": prepared.read.columns.asked,
        "prompt": prompt,
        "settings": settings.credit.model_dump(mode="json"),
        "own": settings.own,
        "plan": prepared.plan.as_json(),
        "credit": merge(folder.summaries(blocks)),
        "trl": otherwise,
        "differences": prepared.choice.differences,
    }
    if settings.columns.labels is not None:
        summary["labels"] = compare(results.labelled())
    folder.write_summary(summary)
    folder.clean()
    return summary


_TABLES = ("negatives", "positives", "prefixes", "rollouts", "positive_rollouts", "pairs")


def _write_trl(folder: CreditFolder, name: str, rows: Iterator[tuple[dict[str, Any], bool]]) -> int:
    """Write rows for TRL; return of how many TRL will make other tokens than those of the file or the rollouts."""
    otherwise = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal otherwise
        for row, same in rows:
            otherwise += not same
            yield row

    folder.write_jsonl(name, counted())
    return otherwise


def _verifier(settings: Settings) -> Verifier:
    credit = settings.credit
    return Verifier(AnswerFormat(credit.answer_format), settings.resources.cpus, credit.timeout_seconds)


@contextmanager
def _scheduler(settings: Settings, model: Path, choice: Choice, on_progress: OnProgress) -> Iterator[Scheduler]:
    from misstep.credit.scheduler import Scheduler
    from misstep.generation.engines import open_engine

    rates = SolvedRates()
    if settings.own:
        rates = SolvedRates.fitted(problem.samples for problem in choice.problems if problem.negatives)
    with _verifier(settings) as verifier:
        engine = open_engine(model, settings.credit.decoding, settings.resources)
        try:
            yield Scheduler(
                settings.credit,
                engine,
                verifier.judge,
                lambda done, most: on_progress("rollouts of this block", done, most),
                rates,
            )
        finally:
            engine.close()


def _model(uri: str) -> Path:
    if uri.startswith("hf://"):
        from misstep.stages.hub import fetch_model

        return fetch_model("--model", uri)
    if uri.startswith("s3://"):
        raise BadInput("--model", uri, "Give a folder on this machine, or hf://org/name.")
    return _checked(Path(uri).expanduser())


def _checked(folder: Path) -> Path:
    from misstep.models.folder import check_folder

    if not (folder / "config.json").is_file():
        fix = "This is no Hugging Face model folder: it has no config.json. Give a folder, or hf://org/name."
        raise BadInput("--model", str(folder), fix)
    check_folder(folder, "--model")
    return folder
