"""TRL's trainers on rows of token ids: training uses exactly the tokens of the rows.

Five parts of TRL are overridden. The preparation of data: it tokenises text and appends an end token to both sides of a
pair, which on a truncated side would teach the model to stop there. The data loader: batches must depend on a seed and
the epoch only, so that a resumed run continues with the same ones. The cache of reference log-probabilities: they must
go into the checkpoints, not into files in a temporary folder. The learning rates: TRL's first one is zero. DPO's loss,
where pairs have weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from trl import DPOTrainer, SFTTrainer
from trl.models import prepare_deepspeed

from misstep.distributed.liveness import report_alive
from misstep.distributed.ranks import gather, gather_rows, total, world
from misstep.errors import BadInput
from misstep.training.learning_rate import rate_share
from misstep.training.rows import IGNORED, PairRow, SftRow
from misstep.training.schedule import MicroBatches
from misstep.training.shared_prefix import SharesPrefixes

if TYPE_CHECKING:
    from misstep.plan.params import OptimiserParams

Batch = dict[str, torch.Tensor]
Reference = tuple[torch.Tensor, torch.Tensor]
"""Log-probabilities of the chosen and of the rejected sides under the reference, nats, by row."""


def collate_sft(rows: Sequence[SftRow], pad_id: int) -> Batch:
    """Pad rows on the right; return input_ids, labels, attention_mask, each (rows, longest)."""
    lengths = np.array([row.length for row in rows])
    ids = np.full((len(rows), lengths.max()), pad_id, dtype=np.int64)
    labels = np.full_like(ids, IGNORED)
    for index, row in enumerate(rows):
        ids[index, : row.length] = row.input_ids
        labels[index, row.prompt_tokens : row.length] = row.input_ids[row.prompt_tokens :]
    return _tensors(input_ids=ids, labels=labels, attention_mask=_up_to(lengths))


def collate_pairs(rows: Sequence[PairRow], pad_id: int) -> Batch:
    """Pad pairs on the right, all chosen sides before all rejected ones; return input_ids, attention_mask and
    completion_mask (1 for judged tokens), each (2 x rows, longest)."""
    sides = [(row.prompt_ids, row.chosen_ids) for row in rows] + [(row.prompt_ids, row.rejected_ids) for row in rows]
    starts = np.array([len(prompt) for prompt, _ in sides])
    ends = starts + np.array([len(side) for _, side in sides])
    ids = np.full((len(sides), ends.max()), pad_id, dtype=np.int64)
    for index, (prompt, side) in enumerate(sides):
        ids[index, : starts[index]] = prompt
        ids[index, starts[index] : ends[index]] = side
    mask = _up_to(ends)
    judged = mask - _up_to(starts, mask.shape[1])
    return _tensors(input_ids=ids, attention_mask=mask, completion_mask=judged)


def _up_to(lengths: npt.NDArray[np.int64], width: int | None = None) -> npt.NDArray[np.int64]:
    """Return ones in the first ``lengths[i]`` columns of row i, else zeros."""
    columns = np.arange(lengths.max() if width is None else width)
    return (columns < lengths[:, None]).astype(np.int64)


def _tensors(**arrays: npt.NDArray[np.int64]) -> Batch:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class _OnRows:
    """The overrides of both trainers: a mixin before TRL's classes."""

    args: Any
    accelerator: Any
    state: Any
    optimizer: Any
    lr_scheduler: LambdaLR | None
    _optimiser: OptimiserParams

    def _loader(self, items: Sequence[Any], lengths: Sequence[int], collate: Callable[[Sequence[Any]], Batch]) -> Any:
        optimiser, ranks = self._optimiser, world()
        micro = self.args.per_device_train_batch_size
        batches = MicroBatches(lengths, optimiser.batch_size, micro, optimiser.seed, ranks.rank, ranks.processes)
        loader = DataLoader(
            items, batch_sampler=batches, collate_fn=collate, pin_memory=self.args.dataloader_pin_memory
        )
        if ranks.zero_stage is None:
            return self.accelerator.prepare(loader)
        # The batches are already this rank's: accelerate must not distribute them again.
        return prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the forward and backward pass of one micro-batch.

        Raises:
            BadInput: the loss is not finite. A retry would give the same result.
        """
        report_alive("training")
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise BadInput(
                "learningRate (spec.training)",
                self._optimiser.learning_rate,
                f"The loss is {loss.item()} at step {self.state.global_step + 1} of {self.state.max_steps}: training "
                "diverged. Lower the learning rate, or raise warmupPercent.",
            )
        return loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Set the learning rates of `misstep.training.learning_rate`. DeepSpeed gets no schedule."""
        if self.lr_scheduler is None:
            name, warmup = self._optimiser.schedule, self.args.warmup_steps
            self.lr_scheduler = LambdaLR(
                self.optimizer if optimizer is None else optimizer,
                lambda step: rate_share(name, step, num_training_steps, warmup),
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no model card: a checkpoint is only for resuming."""

    def _send_telemetry(self) -> None:
        """Tell nobody."""


class SftOnRows(_OnRows, SFTTrainer):  # type: ignore[misc]
    """Supervised fine-tuning: the mean loss over all response tokens of a step's rows."""

    def __init__(self, rows: Sequence[SftRow], optimiser: OptimiserParams, **kwargs: Any) -> None:
        self._rows, self._optimiser = rows, optimiser
        columns = {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
        super().__init__(train_dataset=Dataset.from_dict(columns), **kwargs)

    def get_train_dataloader(self) -> Any:
        pad = self._tokenizer.pad_token_id

        def collate(rows: Sequence[SftRow]) -> Batch:
            if rows:
                return collate_sft(rows, pad)
            without_loss = collate_sft(self._rows[:1], pad)
            return without_loss | {"labels": torch.full_like(without_loss["labels"], IGNORED)}

        return self._loader(self._rows, [row.length for row in self._rows], collate)


class _Kept:
    """A forward pass whose last outputs stay at hand."""

    outputs: Any = None

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def __call__(self, **kwargs: Any) -> Any:
        self.outputs = self._forward(**kwargs)
        return self.outputs


class DpoOnRows(_OnRows, SharesPrefixes, DPOTrainer):  # type: ignore[misc]
    """Direct preference optimisation against the starting weights, with a weight for each pair.

    TRL has no such weights. Where those of the rows differ, the loss is computed here, from the outputs of TRL's own
    forward pass (`_weighted`); where they are equal, it is TRL's.

    The reference's log-probabilities are computed once, before the first step, with the starting weights. ``reference``
    holds them, and a resumed run gets them back, so no second model is in memory. The common prefix of a pair is run
    once, see `misstep.training.shared_prefix`.
    """

    _kept: _Kept

    def __init__(
        self, rows: Sequence[PairRow], optimiser: OptimiserParams, reference: Reference | None = None, **kwargs: Any
    ) -> None:
        self._rows, self._optimiser = rows, optimiser
        self.reference = reference
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        columns = {name: [getattr(row, name) for row in rows] for name in names}
        super().__init__(train_dataset=Dataset.from_dict(columns), **kwargs)
        assert self.args.loss_type[0] == "sigmoid", "the loss that `_weighted` computes with the first weight"
        self._weights_of_losses: list[float] = list(self.args.loss_weights)
        self._unequal = len({row.weight for row in rows}) > 1
        self._shares: deque[tuple[float, float]] = deque()
        """For each remaining micro-batch of the step, its share of the step's pairs and of the chosen tokens, both by
        weight."""
        self._weights: deque[torch.Tensor] = deque()
        """For each remaining micro-batch of the step, the weights of its pairs."""
        self._in_empty_batch = False
        if world().processes > 1:
            self.accelerator.gather = self._gather_rows

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Fetch a step's micro-batches, and compute their shares of the step's pairs and chosen tokens."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        counts = [batch.pop("counts").tolist() for batch in batches]
        self._weights.extend(batch.pop("weights") for batch in batches)
        pairs, tokens = total(*(sum(column) for column in zip(*counts, strict=True)))
        self._shares.extend((own_pairs / pairs, own_tokens / tokens) for own_pairs, own_tokens in counts)
        return batches, items

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the passes of one micro-batch. A step's loss is the weighted mean over its pairs (for the log-likelihood:
        over its chosen tokens), even if micro-batches and ranks have different numbers of them: TRL takes the mean of
        each micro-batch, and the trainer the mean of these."""
        means = world().processes * self.current_gradient_accumulation_steps
        pairs, tokens = self._shares.popleft()
        shares = (pairs * means, tokens * means)[: len(self._weights_of_losses)]
        self.loss_weights = [share * weight for share, weight in zip(shares, self._weights_of_losses, strict=True)]
        self._in_empty_batch = pairs == 0
        return super().training_step(*args, **kwargs)

    def _forward_of(self, model: Any) -> Any:
        self._kept = _Kept(super()._forward_of(model))
        return self._kept

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        """Return the micro-batch's loss. Where weights differ, TRL's own is computed only for its forward pass and its
        log lines, and is not used."""
        loss = super()._compute_loss(model, inputs, return_outputs)
        weights, outputs, self._kept.outputs = self._weights.popleft(), self._kept.outputs, None
        if not self._unequal:
            return loss
        loss = self._weighted(outputs.log_probs, inputs, weights.to(loss.device))
        return loss + self.router_aux_loss_coef * outputs.aux_loss if self.aux_loss_enabled else loss

    def _weighted(self, log_probs: torch.Tensor, inputs: Batch, weights: torch.Tensor) -> torch.Tensor:
        """Return the micro-batch's loss. With w the pairs' weights, l their losses, n their chosen tokens and m the
        sums of these tokens' negative log-likelihoods: sum(w l) / sum(w), and sum(w m) / sum(w n) for the
        log-likelihood.

        Args:
            log_probs: (2 x pairs, width - 1), zero for tokens that are not judged, chosen sides first.
            weights: one a pair.
        """
        chosen, rejected = log_probs.sum(1).chunk(2)
        margin = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        preference = -functional.logsigmoid(self.beta * margin)
        loss: torch.Tensor = self.loss_weights[0] * (weights * preference).sum() / weights.sum()
        if len(self.loss_weights) > 1:
            tokens = inputs["completion_mask"].chunk(2)[0].sum(1)
            loss = loss - self.loss_weights[1] * (weights * chosen).sum() / (weights * tokens).sum()
        return loss

    def _gather_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Replace accelerate's ``gather``, which needs the same number of rows from every rank."""
        if values.dim() == 0:
            return gather_rows(values[None])
        return gather_rows(values[:0] if self._in_empty_batch else values)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        if self.reference is None:
            self.reference = self._score_rows()
        return dataset

    def _score_rows(self) -> Reference:
        chosen, rejected = torch.zeros(len(self._rows)), torch.zeros(len(self._rows))
        order = sorted(range(len(self._rows)), key=lambda index: -self._rows[index].length)
        micro, ranks = self.args.per_device_train_batch_size, world()
        parts = [order[start : start + micro] for start in range(0, len(order), micro)]
        # Sharded weights are gathered by all ranks together, so each rank needs the same number of parts; the last rows
        # are repeated if necessary.
        for part in [parts[min(first + ranks.rank, len(parts) - 1)] for first in range(0, len(parts), ranks.processes)]:
            report_alive("training")
            batch = collate_pairs([self._rows[index] for index in part], self._tokenizer.pad_token_id)
            scores = self.compute_ref_log_probs(self._scored_model, self._prepare_inputs(batch))
            chosen[part], rejected[part] = (side.float().cpu() for side in scores)
        for index, (theirs, other) in enumerate(gather((chosen, rejected))):
            for part in parts[index :: ranks.processes]:
                chosen[part], rejected[part] = theirs[part], other[part]
        return chosen, rejected

    @cached_property
    def _scored_model(self) -> Any:
        """The model with the starting weights, ready to run: DeepSpeed places and gathers them itself."""
        return prepare_deepspeed(self.model, self.accelerator) if self.is_deepspeed_enabled else self.model

    def get_train_dataloader(self) -> Any:
        assert self.reference is not None, "TRL computes it while it is set up"
        pad = self._tokenizer.pad_token_id
        items = list(zip(self._rows, *self.reference, strict=True))
        stand_in = items[:1]
        most = max(row.weight for row in self._rows)  # equal weights become 1, which rounds nothing

        def collate(items: Sequence[tuple[PairRow, torch.Tensor, torch.Tensor]]) -> Batch:
            rows, chosen, rejected = zip(*(items or stand_in), strict=True)
            own = [(row.weight / most, len(row.chosen_ids)) for row, _, _ in items]
            counts = [sum(weight for weight, _ in own), sum(weight * tokens for weight, tokens in own)]
            reference = {"ref_chosen_logps": torch.stack(chosen), "ref_rejected_logps": torch.stack(rejected)}
            weights = torch.tensor([row.weight / most for row in rows])
            counted = {"counts": torch.tensor(counts, dtype=torch.float64), "weights": weights}
            return collate_pairs(rows, pad) | reference | counted

        return self._loader(items, [row.length for row in self._rows], collate)
