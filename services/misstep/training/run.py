"""One training run from its rows to an artifact: resume, train, choose the weights, write the model, report."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from misstep.artifacts.output import Output
from misstep.distributed.liveness import report_alive
from misstep.distributed.ranks import barrier, gather, world
from misstep.errors import MisstepError
from misstep.plan.kinds import StageKind
from misstep.plan.params import FEW_STEPS, OptimiserParams, PolicyParams, SelectionParams
from misstep.stages.context import StageContext
from misstep.stages.overtrained import measured, warning
from misstep.training.arguments import lora_config
from misstep.training.callback import Keep, TrainingCallback
from misstep.training.cpu_speed import cheaper_steps
from misstep.training.disk import full_disk_is_named
from misstep.training.export import InitialModel, export_model
from misstep.training.ids import check_ids, embeddings_of, pad_inside
from misstep.training.memory import out_of_memory_is_noted
from misstep.training.resume import check_reference, check_sound, check_weights, is_to_blame, reason
from misstep.training.rows import PairRow, Rows, SftRow
from misstep.training.schedule import Schedule, make_schedule
from misstep.training.selection import Question, Score, Scorer, Selection, explain_policy
from misstep.training.shown import shown_rows
from misstep.training.tables import log_table, selection_table
from misstep.training.weights import load_trained, save_trained

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run that a stage requests: rows, settings, and a trainer for them with its arguments.

    For the summary: ``sources`` counts examples by origin, ``left_out`` counts what never became a row by reason, and
    ``nothing`` says why the model is unchanged if there are no rows.
    """

    rows: Rows[SftRow] | Rows[PairRow]
    optimiser: OptimiserParams
    selection: SelectionParams | None
    questions: Sequence[Question]
    trainer: Callable[..., Any]
    """One of ``misstep.training.trainers``."""
    arguments: Callable[[Schedule, Path], Any]
    nothing: str
    policy: PolicyParams | None = None
    """How the policy is chosen; None if only the best model is kept."""
    own: Sequence[Question] = ()
    """Training problems for that choice."""
    sources: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, Any]:
        """The part of the summary that is known before training."""
        dropped = {**self.left_out, **self.rows.dropped}
        counts: dict[str, Any] = {"rows": len(self.rows.rows), "dropped": dict(sorted(dropped.items()))}
        if self.rows.dropped_rows:
            counts["rows_dropped"] = (
                self.rows.dropped_rows
            )  # the examples and pairs among them that could not become rows
        return counts | ({"sources": dict(self.sources)} if self.sources else {})


def train(ctx: StageContext, start: InitialModel, run: Run) -> Output:
    """Train the start model on the run's rows, or write it unchanged if there are none.

    On a CPU with a fixed number of threads, equal inputs give equal bytes, even if the run was killed and resumed.

    Raises:
        BadInput: token ids without an embedding, settings that cannot work, a loss that is not finite, a full disk.
        MisstepError: the written model differs when it is loaded.
    """
    check_ids(run.rows.rows, run.questions, start.tokenizer, embeddings_of(start.model))
    torch.set_num_threads(ctx.threads)
    disable_progress_bar()
    folder = ctx.scratch / "training"
    with full_disk_is_named(ctx.scratch):
        if world().local_rank == 0:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        barrier()
        if run.rows.rows:
            return _train(ctx, start, run, folder)
        _log.warning("nothing to train on: %s", run.nothing)
        return _leave_as_it_is(start, run, folder)


def _train(ctx: StageContext, start: InitialModel, run: Run, folder: Path) -> Output:
    too_many = ctx.checkpoints.out_of_memory()
    schedule = make_schedule(len(run.rows.rows), run.optimiser, world().processes, too_many)
    if schedule.steps < FEW_STEPS:
        _log.warning("only %d optimiser steps: raise epochs, or lower batchSize (spec.training)", schedule.steps)
    if too_many is not None:
        _log.warning("an earlier attempt ran out of memory: micro-batches now have %d rows", schedule.micro_batch)
    scorer = None
    if run.selection is not None and run.questions:
        batch_rows = ctx.stage.resources.batch_rows
        scorer = Scorer(run.questions, run.selection, start.tokenizer, batch_rows, ctx.threads, run.own)
    longest = max(row.length for row in run.rows.rows)
    try:
        with out_of_memory_is_noted(ctx.checkpoints, schedule.micro_batch, longest):
            trainer, keep = _fit(ctx, start, run, schedule, scorer, folder)
    finally:
        if scorer is not None:
            scorer.close()
    report_alive("writing")
    best, policy = keep.selection.best, keep.selection.policy
    files: dict[str, Path] = {}
    probe = _probe(start, run)
    if policy is not None and policy is not best:
        beside = _model_with(keep.policy_file, start, trainer, spare=True)
        files |= export_model(start, beside, run.optimiser.dtype, probe, folder / "policy") if world().first else {}
    trained = _model_with(_weights_to_keep(trainer, keep), start, trainer)
    if not world().first:
        return Output()
    files |= export_model(start, trained, run.optimiser.dtype, probe, folder / "model")
    if policy is not None and run.policy is not None:
        _log_policy(policy, run.policy)
    log = log_table(trainer.state.log_history)
    scores = keep.selection.scores
    steps = trainer.state.global_step
    summary = {
        "trained": True,
        **run.counts,
        "steps": steps,
        "tokens": sum(row.tokens for row in run.rows.rows) * (steps // schedule.steps_per_epoch),
        "epochs": steps // schedule.steps_per_epoch,
        "final_loss": log["loss"][-1].as_py(),
        "kept": _what_is_kept(run, best is not None),
        "best_epoch": best.epoch if best else None,
        "best_correct": best.correct if best else None,
        "validation_problems": len(run.questions),
        **({} if policy is None else {"policy": _about_policy(policy)}),
        "shown": shown_rows(run.rows.rows, start.tokenizer),
    }
    return Output(tables={"log": log, "selection": selection_table(scores, best, policy)}, files=files, summary=summary)


def _fit(
    ctx: StageContext, start: InitialModel, run: Run, schedule: Schedule, scorer: Scorer | None, folder: Path
) -> tuple[Any, Keep]:
    found, keep = _resume(ctx, run, folder)
    if found is not None:
        _log.info("resuming at step %d of %d", found[0], schedule.steps)
    scoring = schedule.scoring_steps(run.selection.epochs) if run.selection else frozenset()
    tokenizer = start.trainers_tokenizer()
    pad_inside(start.model, tokenizer)
    with cheaper_steps(start.model):
        trainer = run.trainer(
            run.rows.rows,
            run.optimiser,
            model=start.model,
            args=run.arguments(schedule, folder / "trainer"),
            processing_class=tokenizer,
            peft_config=lora_config(run.optimiser),
            **({} if keep.reference is None else {"reference": keep.reference}),
        )
        keep.reference = getattr(trainer, "reference", None)
        if world().zero_stage is not None and not trainer.is_deepspeed_enabled:
            raise MisstepError("accelerate has ignored DeepSpeed: each rank would train its own model")
        trainer.remove_callback(PrinterCallback)
        callback = TrainingCallback(
            schedule,
            keep,
            scorer,
            scoring,
            ctx.progress,
            ctx.checkpoints,
            ctx.live_log,
            engine=lambda: trainer.model_wrapped,
            learning_rate=run.optimiser.learning_rate,
            objective="dpo" if ctx.stage.kind is StageKind.DPO else "sft",
            tokens_per_step=sum(row.tokens for row in run.rows.rows) / schedule.steps_per_epoch,
            dropped=run.rows.dropped_rows,
        )
        trainer.add_callback(callback)
        try:
            if found is not None:
                _check_kept(keep, trainer.model)
            trainer.train(resume_from_checkpoint=None if found is None else str(found[1]))
        except Exception as error:
            if found is None or callback.begun or not is_to_blame(error):
                raise
            raise ctx.checkpoints.refuse(found[0], reason(error)) from error
    return trainer, keep


def _resume(ctx: StageContext, run: Run, folder: Path) -> tuple[tuple[int, Path] | None, Keep]:
    """Return the newest sound checkpoint and its saved state; unsound ones are refused.

    Ranks check them together: either all ranks use a checkpoint, or none does.
    """
    while True:
        keep = Keep(folder, Selection(run.selection.patience if run.selection else None, run.policy))
        found = ctx.checkpoints.newest()
        if found is None:
            return None, keep
        why, failed = None, None
        try:
            check_sound(*found)
            keep.restore(found[1])
            check_reference(keep.reference, len(run.rows.rows) if ctx.stage.kind is StageKind.DPO else 0)
        except Exception as error:  # noqa: BLE001 (broken files raise what they like)
            failed, why = error, reason(error) if is_to_blame(error) else None
        reasons = [each for each in gather(why) if each is not None]
        if failed is not None and why is None:
            raise failed
        if not reasons:
            return found, keep
        if world().first:
            _log.error("%s", ctx.checkpoints.refuse(found[0], reasons[0]))


def _check_kept(keep: Keep, model: Any) -> None:
    """Check the weights of a checkpoint that are read only after the last step."""
    for kept, file in ((keep.selection.best, keep.best_file), (keep.selection.policy, keep.policy_file)):
        if kept is not None and world().first:
            check_weights(file, model)


def _weights_to_keep(trainer: Any, keep: Keep) -> Path | None:
    """Return a file with the best weights, or with the last ones if no checkpoint was scored; None if the model in
    memory already has them."""
    if keep.selection.best is not None:
        return keep.best_file
    if not world().sharded:
        return None
    last = keep.folder / "last.safetensors"
    save_trained(trainer.model, last)
    return last


def _model_with(weights: Path | None, start: InitialModel, trainer: Any, *, spare: bool = False) -> Any:
    """Return the trained model with the weights of a file; None on every rank except the first.

    Exporting a model with adapters merges them, after which it cannot be trained; with ``spare`` a copy of such a model
    is returned.
    """
    if not world().first:
        return None
    model = start.load_whole() if world().sharded else trainer.model
    if spare and hasattr(model, "merge_and_unload"):
        model = copy.deepcopy(model)
    if weights is not None:
        load_trained(model, weights)
    return model


def _about_policy(policy: Score) -> dict[str, Any]:
    """Log which checkpoint is the policy, and how well it knows its own training problems."""
    return {
        "epoch": policy.epoch,
        "validation_problems": policy.problems,
        "validation_correct": policy.correct,
        "train_problems": policy.train_problems,
        "train_correct": policy.train_correct,
    }


def _log_policy(policy: Score, params: PolicyParams) -> None:
    text, as_asked = explain_policy(policy, params)
    _log.log(logging.INFO if as_asked else logging.WARNING, "%s", text)
    known = measured({"policy": _about_policy(policy)})
    if known is not None and known.by_heart:
        _log.warning("%s", warning("the policy", known))


def _leave_as_it_is(start: InitialModel, run: Run, folder: Path) -> Output:
    if not world().first:
        return Output()
    model = start.load_whole() if world().sharded else start.model
    files = export_model(start, model, run.optimiser.dtype, _probe(start, run), folder / "model")
    summary = {
        "trained": False,
        "reason": run.nothing,
        **run.counts,
        "steps": 0,
        "tokens": 0,
        "epochs": 0,
        "kept": "the start model, unchanged",
        "validation_problems": len(run.questions),
    }
    return Output(tables={"log": log_table([]), "selection": selection_table([], None)}, files=files, summary=summary)


def _probe(start: InitialModel, run: Run) -> list[Sequence[int]]:
    """Token ids to compare models on: training rows, else questions, else the end token."""
    rows = [row.input_ids if isinstance(row, SftRow) else row.prompt_ids for row in run.rows.rows[:4]]
    probe: list[Sequence[int]] = [row.tolist() for row in rows]
    probe += [question.prompt_ids for question in run.questions[:4]]
    return probe or [[start.tokenizer.eos_token_id]]


def _what_is_kept(run: Run, chosen: bool) -> str:
    if chosen:
        return "the best on validation problems"
    if run.selection is None:
        return "the last step's weights"
    return "the last step's weights: there are no validation problems to choose by"
