"""TRL's trainers on rows that are token ids already: what is trained on is what the rows say, to the token.

Three things of TRL's are overridden. Its preparation of data, which tokenises text and appends an end token to
both sides of a pair: on a truncated side that would teach the model to stop there. Its data loader, for batches
that depend on a seed and the epoch alone, so that a resumed run goes on with the same ones. And its cache of
reference log-probabilities, files in a temporary folder, for tensors that go into the checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from trl import DPOTrainer, SFTTrainer

from misstep.errors import BadInput
from misstep.training.rows import IGNORED, PairRow, SftRow
from misstep.training.schedule import MicroBatches
from misstep.training.shared_prefix import SharesPrefixes

if TYPE_CHECKING:
    from misstep.plan.params import OptimiserParams

Batch = dict[str, torch.Tensor]
Reference = tuple[torch.Tensor, torch.Tensor]
"""Log-probabilities of the chosen and of the rejected sides under the reference, nats, by row."""


def collate_sft(rows: Sequence[SftRow], pad_id: int) -> Batch:
    """Pad rows on the right: input_ids, labels, attention_mask, each (rows, longest)."""
    lengths = np.array([row.length for row in rows])
    ids = np.full((len(rows), lengths.max()), pad_id, dtype=np.int64)
    labels = np.full_like(ids, IGNORED)
    for index, row in enumerate(rows):
        ids[index, : row.length] = row.input_ids
        labels[index, row.prompt_tokens : row.length] = row.input_ids[row.prompt_tokens :]
    return _tensors(input_ids=ids, labels=labels, attention_mask=_up_to(lengths))


def collate_pairs(rows: Sequence[PairRow], pad_id: int) -> Batch:
    """Pad pairs on the right, every chosen side before every rejected one: input_ids, attention_mask and
    completion_mask (1 where a token is judged), each (2 x rows, longest)."""
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
    """Ones in the first ``lengths[i]`` columns of row i, else zeros."""
    columns = np.arange(lengths.max() if width is None else width)
    return (columns < lengths[:, None]).astype(np.int64)


def _tensors(**arrays: npt.NDArray[np.int64]) -> Batch:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class _OnRows:
    """What both trainers do otherwise than TRL's; stands before them in the order of methods."""

    args: Any
    accelerator: Any
    state: Any
    _optimiser: OptimiserParams

    def _loader(self, items: Sequence[Any], lengths: Sequence[int], collate: Callable[[Sequence[Any]], Batch]) -> Any:
        optimiser = self._optimiser
        batches = MicroBatches(lengths, optimiser.batch_size, optimiser.micro_batch_size, optimiser.seed)
        return self.accelerator.prepare(
            DataLoader(items, batch_sampler=batches, collate_fn=collate, pin_memory=self.args.dataloader_pin_memory)
        )

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do one micro-batch's forward and backward pass.

        Raises:
            BadInput: the loss is not finite. The same would happen again: it is no failure to retry.
        """
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise BadInput(
                "learningRate (spec.training)",
                self._optimiser.learning_rate,
                f"The loss is {loss.item()} at step {self.state.global_step + 1} of {self.state.max_steps}: training "
                "diverged. Lower the learning rate, or raise warmupPercent.",
            )
        return loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: a checkpoint is for resuming only."""

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
        return self._loader(self._rows, [row.length for row in self._rows], lambda rows: collate_sft(rows, pad))


class DpoOnRows(_OnRows, SharesPrefixes, DPOTrainer):  # type: ignore[misc]
    """Direct preference optimisation against the starting weights.

    The reference's log-probabilities are computed once, before the first step, with the weights that the model starts
    from; ``reference`` holds them, and a resumed run is given them back. No second model is in memory. What both
    sides of a pair begin with is run once, see `misstep.training.shared_prefix`.
    """

    def __init__(
        self, rows: Sequence[PairRow], optimiser: OptimiserParams, reference: Reference | None = None, **kwargs: Any
    ) -> None:
        self._rows, self._optimiser = rows, optimiser
        self.reference = reference
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        columns = {name: [getattr(row, name) for row in rows] for name in names}
        super().__init__(train_dataset=Dataset.from_dict(columns), **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        if self.reference is None:
            self.reference = self._score_rows()
        return dataset

    def _score_rows(self) -> Reference:
        chosen, rejected = torch.zeros(len(self._rows)), torch.zeros(len(self._rows))
        order = sorted(range(len(self._rows)), key=lambda index: -self._rows[index].length)
        for start in range(0, len(order), self._optimiser.micro_batch_size):
            part = order[start : start + self._optimiser.micro_batch_size]
            batch = collate_pairs([self._rows[index] for index in part], self._tokenizer.pad_token_id)
            scores = self.compute_ref_log_probs(self.model, self._prepare_inputs(batch))
            chosen[part], rejected[part] = (side.float().cpu() for side in scores)
        return chosen, rejected

    def get_train_dataloader(self) -> Any:
        assert self.reference is not None, "TRL computes it while it is set up"
        pad = self._tokenizer.pad_token_id
        items = list(zip(self._rows, *self.reference, strict=True))

        def collate(items: Sequence[tuple[PairRow, torch.Tensor, torch.Tensor]]) -> Batch:
            rows, chosen, rejected = zip(*items, strict=True)
            reference = {"ref_chosen_logps": torch.stack(chosen), "ref_rejected_logps": torch.stack(rejected)}
            return collate_pairs(rows, pad) | reference

        return self._loader(items, [row.length for row in self._rows], collate)
