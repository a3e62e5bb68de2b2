"""The engine's state of each row of its batch, and of the request that the row belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from misstep.generation.draw import stream_keys
from misstep.generation.engine import Completion, Request

Ints = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Job:
    """A request under way."""

    request: Request
    limit: int
    completions: list[Completion | None]
    """One per sample; None until it is done."""
    started: int = 0
    """How many samples have, or had, a row."""
    done: int = 0


class Rows:
    """The state of the rows in use, 0 to ``used`` - 1, as arrays."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.used = 0
        self.jobs: list[Job | None] = [None] * rows
        self.sample = np.zeros(rows, dtype=np.int64)
        self.key = np.zeros(rows, dtype=np.uint64)
        self.pending = np.zeros(rows, dtype=np.int64)
        """The token to be decoded next."""
        self.position = np.zeros(rows, dtype=np.int64)
        """The position of that token in prompt and response."""
        self.count = np.zeros(rows, dtype=np.int64)
        """Tokens of the response so far."""
        self.limit = np.zeros(rows, dtype=np.int64)
        self.logprob = np.zeros(rows, dtype=np.float64)
        self.tokens = np.zeros((rows, tokens), dtype=np.int64)

    def add(self, samples: Sequence[tuple[Job, int]]) -> None:
        new = slice(self.used, self.used + len(samples))
        prompts = [job.request.prompt_ids for job, _ in samples]
        self.jobs[new] = [job for job, _ in samples]
        self.sample[new] = [sample for _, sample in samples]
        self.key[new] = stream_keys([job.request.seeds[sample] for job, sample in samples])
        self.pending[new] = [prompt[-1] for prompt in prompts]
        self.position[new] = [len(prompt) - 1 for prompt in prompts]
        self.limit[new] = [job.limit for job, _ in samples]
        self.count[new] = 0
        self.logprob[new] = 0.0
        self.used = new.stop

    def append(self, tokens: Ints, logprobs: npt.NDArray[np.float64]) -> None:
        used = self.used
        self.tokens[np.arange(used), self.count[:used]] = tokens
        self.pending[:used] = tokens
        self.logprob[:used] += logprobs
        self.count[:used] += 1
        self.position[:used] += 1

    def response(self, row: int) -> list[int]:
        ids: list[int] = self.tokens[row, : self.count[row]].tolist()
        return ids

    def remove(self, finished: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Fill the gaps of finished rows with rows from the end; return the sources and targets of the moves."""
        left = self.used - int(finished.sum())
        targets = np.flatnonzero(finished[:left])
        sources = left + np.flatnonzero(~finished[left:])
        state = (self.sample, self.key, self.pending, self.position, self.count, self.limit, self.logprob)
        for column in (*state, self.tokens):
            column[targets] = column[sources]
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self.jobs[target] = self.jobs[source]
        self.jobs[left : self.used] = [None] * (self.used - left)
        self.used = left
        return sources, targets
