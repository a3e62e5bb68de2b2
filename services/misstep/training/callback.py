"""The trainer's callback, called between steps: progress, scores on validation problems, checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState

from misstep import telemetry
from misstep.distributed.liveness import report_alive, seconds_from
from misstep.distributed.ranks import from_first, world
from misstep.errors import BadInput
from misstep.training.schedule import Schedule
from misstep.training.selection import Score, Scorer, Selection
from misstep.training.tables import log_rows
from misstep.training.weights import save_trained

if TYPE_CHECKING:
    from misstep.stages.context import Checkpoints, LiveLog, Progress
    from misstep.training.trainers import Reference

CHECKPOINT_SECONDS = 30.0
"""Seconds between checkpoints: a killed run loses about this much at most. If ``MISSTEP_CHECKPOINT_SECONDS`` is set, it
replaces this, regardless of the time that a save takes."""
_BEST, _POLICY = "best.safetensors", "policy.safetensors"
_SCORES = TypeAdapter(list[Score])
CHECKPOINT_SHARE = 40
"""After a slow checkpoint the next one waits this many times its duration, so that checkpoints cost at most 2.5% of the
time."""


@dataclass
class Keep:
    """The state of a run in addition to the trainer's own; it is part of the checkpoints."""

    folder: Path
    selection: Selection
    reference: Reference | None = None

    @property
    def best_file(self) -> Path:
        """Weights of the best scoring so far, if there is one."""
        return self.folder / _BEST

    @property
    def policy_file(self) -> Path:
        """Weights of the policy so far, if one is chosen, even if they are the best ones too."""
        return self.folder / _POLICY

    def note(self, score: Score, model: Any) -> None:
        """Add a scoring of the model, and keep its weights if it is the best so far or the policy."""
        self.selection.add(score)
        if self.selection.best is score:
            save_trained(model, self.best_file)
        if self.selection.policy is score:
            save_trained(model, self.policy_file)

    def save(self, checkpoint: Path) -> None:
        """Add the state to a checkpoint; the first rank does this for all."""
        (checkpoint / "selection.json").write_text(json.dumps(self.selection.as_json()))
        for kept, file in ((self.selection.best, _BEST), (self.selection.policy, _POLICY)):
            if kept is not None:
                shutil.copyfile(self.folder / file, checkpoint / file)
        if self.reference is not None:
            chosen, rejected = self.reference
            save_file({"chosen": chosen, "rejected": rejected}, checkpoint / "reference.safetensors")

    def restore(self, checkpoint: Path) -> None:
        """Restore what ``save`` added. Raises any error of reading broken files, also for wrong types."""
        for score in _SCORES.validate_json((checkpoint / "selection.json").read_bytes(), strict=True):
            self.selection.add(score)
        for kept, file in ((self.selection.best, _BEST), (self.selection.policy, _POLICY)):
            if kept is not None and world().first:
                shutil.copyfile(checkpoint / file, self.folder / file)
        reference = checkpoint / "reference.safetensors"
        if reference.is_file():
            saved = load_file(reference)
            self.reference = (saved["chosen"], saved["rejected"])


class TrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Reports progress, scores the epochs of the selection, and triggers checkpoints.

    A checkpoint is taken only directly after a row of the log was written: the trainer's running mean of the loss is
    not part of its state, so otherwise the next row of a resumed run would differ. A scoring comes before the
    checkpoint of its step, since a resumed run does not repeat that step.
    """

    def __init__(
        self,
        schedule: Schedule,
        keep: Keep,
        scorer: Scorer | None,
        scoring_steps: frozenset[int],
        progress: Progress,
        checkpoints: Checkpoints,
        live_log: LiveLog,
        engine: Callable[[], Any],
        learning_rate: float,
        objective: str,
        tokens_per_step: float,
        dropped: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule, self._keep = schedule, keep
        self._scorer, self._scoring_steps = scorer, scoring_steps
        self._progress, self._checkpoints, self._live_log = progress, checkpoints, live_log
        self._engine, self._learning_rate = engine, learning_rate
        self._objective, self._tokens_per_step = objective, tokens_per_step
        self._clock = clock
        self._every = seconds_from("MISSTEP_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS)
        self._share = 0 if "MISSTEP_CHECKPOINT_SECONDS" in os.environ else CHECKPOINT_SHARE
        self._next_checkpoint = clock() + self._every
        self._save_began = 0.0
        self.begun = False
        """Whether a step of this attempt has begun. By then the checkpoint that it resumed from has been read."""
        self._detail: dict[str, float | str] = {"dropped": dropped} if dropped else {}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        self._progress.update(state.global_step, state.max_steps, "steps", **self._detail)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        self.begun = True

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **rest: Any
    ) -> None:
        step = state.global_step
        if world().first:
            telemetry.STEPS.inc()
            telemetry.TRAINED_TOKENS.inc(self._tokens_per_step)
        self._refuse_skipped(step, state.max_steps)
        if step in self._scoring_steps:
            control.should_log = True
            self._score(step, model)
            control.should_training_stop |= self._keep.selection.exhausted
        if step == state.max_steps:
            control.should_log = True
            control.should_training_stop = True
        self._progress.update(step, state.max_steps, "steps", **self._detail)
        may_save = control.should_log and not control.should_training_stop
        if may_save and from_first(self._clock() >= self._next_checkpoint):
            report_alive("writing")
            control.should_save = True
            self._save_began = self._clock()

    def _refuse_skipped(self, step: int, steps: int) -> None:
        """DeepSpeed skips a step whose gradients are not finite, logs it, and continues."""
        if getattr(self._engine(), "skipped_steps", 0):
            raise BadInput(
                "learningRate (spec.training)",
                self._learning_rate,
                f"The gradients are not finite at step {step} of {steps}: training diverged. Lower the learning rate, "
                "or raise warmupPercent.",
            )

    def _score(self, step: int, model: Any) -> None:
        if self._scorer is None:
            return
        policy = model.get_base_model() if hasattr(model, "get_base_model") else model
        score = self._scorer.score(policy, step // self._schedule.steps_per_epoch, step, self._engine())
        self._keep.note(score, model)
        self._detail["validation"] = score.correct / score.problems
        if score.train_problems:
            self._detail["train"] = score.train_correct / score.train_problems

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **rest: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._detail["loss"] = logs["loss"]
            if world().first:
                telemetry.LOSS.labels(self._objective).set(logs["loss"])
                self._live_log.publish(log_rows(state.log_history), map(asdict, self._keep.selection.scores))

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if world().first:
            self._keep.save(folder)
        self._checkpoints.save(state.global_step, folder)
        if world().local_rank == 0:
            shutil.rmtree(folder)
        report_alive("training")
        ended = self._clock()
        self._next_checkpoint = ended + max(self._every, self._share * (ended - self._save_began))
