"""The engine that needs only transformers: continuous batching of an in-memory causal language model.

Rows join the batch as others finish. Prompts of similar length are prefilled together, once for all samples of a
request. Finished rows leave at once. Keys and values are in fixed buffers (`decoders`).

Reproducibility: a sample is a function of (model, prompt, seed, decoding). The same requests in the same order with the
same ``batch_rows`` and threads give the same bits. In a batch of another shape matrix products round differently, by
about 1e-6 in a response's log-probability. A sample then differs if a draw is that close to the border between two
tokens or, at temperature 0, if the two likeliest tokens are that close. In float32 this is rare: none of 60,000 samples
(1.1 million tokens) on the quickstart's task differed between batches of 512 and of 64 rows. In bfloat16 it is common.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from misstep import telemetry
from misstep.errors import BadInput
from misstep.generation.agreement import decoder_for
from misstep.generation.decoders import Decoder
from misstep.generation.draw import choose, uniforms
from misstep.generation.ends import end_ids
from misstep.generation.engine import Completion, Request, Usage, token_limit
from misstep.generation.loading import check_end_token, context_length_of, load_model
from misstep.generation.row_cache import Ints
from misstep.generation.rows import Job, Rows
from misstep.generation.scoring import token_logprobs
from misstep.generation.stops import StopStrings, end_table
from misstep.generation.text import decode_continuation

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from misstep.plan.params import DecodingParams

_REFILL_SHARE = 8
"""Rows join when at least one in this many rows is free: with fewer, a prefill's fixed cost would dominate on a small
model."""


class TransformersEngine:
    """Continue prompts with a Hugging Face causal language model.

    Args:
        model: used in its own dtype and on its own device; put into evaluation mode while results are read.
        tokenizer: its Hugging Face tokenizer.
        decoding: temperature (0 is greedy), top_p, the limit of new tokens, stop strings.
        batch_rows: samples decoded at once. Memory is needed for that many rows of prompt and response, not for all
            queued requests.

    Raises:
        BadInput: the tokenizer has no end token, the context length is unknown, or the model cannot give a text's next
            token (`misstep.generation.agreement`).
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, decoding: DecodingParams, *, batch_rows: int) -> None:
        check_end_token(tokenizer)
        self._model = model
        self._tokenizer = tokenizer
        self._decoding = decoding
        self._batch_rows = batch_rows
        self._context = context_length_of(model.config, tokenizer)
        self._vocabulary = model.config.get_text_config(decoder=True).vocab_size
        self._ends = end_ids(tokenizer, model.generation_config)
        self._is_end = end_table(self._ends, self._vocabulary)
        self._stops = StopStrings(tokenizer, decoding.stop, self._vocabulary)
        with evaluating(model):
            self._decoder: Decoder = decoder_for(model, batch_rows)
        self._rows = Rows(batch_rows, min(decoding.max_new_tokens, self._context))
        self._queue: list[tuple[int, int, Job]] = []
        self._complete: deque[Job] = deque()
        self._submitted = 0
        self._usage = Usage()

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def end_ids(self) -> frozenset[int]:
        return self._ends

    @property
    def context_length(self) -> int:
        return self._context

    @property
    def usage(self) -> Usage:
        return self._usage

    @property
    def overlaps(self) -> bool:
        """False: the same requests in the same order give the same bits, also after a restart between two blocks."""
        return False

    @property
    def batch_rows(self) -> int:
        return self._batch_rows

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Read the texts in batches of similar length, without a cache."""
        with evaluating(self._model):
            return token_logprobs(self._model, texts)

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            BadInput: the prompt is empty, leaves no room in the context, or holds ids outside the vocabulary.
        """
        limit = token_limit(request, self._context, self._vocabulary, self._decoding.max_new_tokens)
        job = Job(request, limit, [None] * len(request.seeds))
        telemetry.PENDING_SAMPLES.inc(len(request.seeds))
        if limit < 1 or not request.seeds:
            job.completions = [Completion((), "", "length", 0.0)] * len(request.seeds)
            self._complete.append(job)
            return
        # Longest first: buffers get their full width at once, and similar lengths are next to each other.
        heapq.heappush(self._queue, (-len(request.prompt_ids), self._submitted, job))
        self._submitted += 1

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        """Yield requests as they complete, until nothing is queued; more may be submitted meanwhile.

        If an iteration stops early, the next one continues it.

        Raises:
            MisstepError: the model's logits are not finite.
        """
        with evaluating(self._model):
            while self._queue or self._rows.used or self._complete:
                self._join()
                if self._rows.used:
                    self._decode()
                while self._complete:
                    job = self._complete.popleft()
                    completions = tuple(c for c in job.completions if c is not None)
                    telemetry.count_samples(completions)
                    yield job.request, completions
            self._decoder.clear()

    def close(self) -> None:
        """Drop all queued requests, the buffers and the model."""
        self._queue.clear()
        self._complete.clear()
        telemetry.PENDING_SAMPLES.set(0)
        self._rows.used = 0
        self._decoder.clear()
        del self._model, self._decoder

    def _join(self) -> None:
        """Give free rows to queued samples, if enough rows are free."""
        used, joins = self._rows.used, self._decoder.joins
        free = self._batch_rows - used
        if used and not (joins and free >= max(1, self._batch_rows // _REFILL_SHARE)):
            return
        fresh: list[tuple[Job, int]] = []
        forks: list[tuple[Job, int]] = []
        sources: list[int] = []
        columns = 0
        while self._queue and free:
            job = self._queue[0][2]
            prompt = job.request.prompt_ids
            if fresh and not joins and len(prompt) != len(fresh[0][0].request.prompt_ids):
                break
            begun = job.started > 0 and job in self._rows.jobs[:used]
            samples = [(job, i) for i in range(job.started, min(len(job.request.seeds), job.started + free))]
            job.started += len(samples)
            free -= len(samples)
            if job.started == len(job.request.seeds):
                heapq.heappop(self._queue)
            columns = max(columns, len(prompt) + job.limit)
            if begun:  # a row with the same prompt still has its keys and values
                source = self._rows.jobs.index(job)
            else:
                source = used + len(fresh)
                fresh.append(samples.pop(0))
            forks += samples
            sources += [source] * len(samples)
        if fresh:
            self._decoder.prefill(used, [job.request.prompt_ids for job, _ in fresh], columns)
        usage = Usage(
            sum(len(job.request.prompt_ids) for job, _ in (*fresh, *forks)),
            sum(len(job.request.prompt_ids) - 1 for job, _ in forks),  # the last token is a row's first decoding step
        )
        self._usage += usage
        telemetry.count_prompt_tokens(usage.prefill_tokens, usage.cached_prefill_tokens)
        if forks:
            targets = used + len(fresh) + np.arange(len(forks))
            lengths = np.array([len(job.request.prompt_ids) - 1 for job, _ in forks])
            self._decoder.fork(np.array(sources), targets, lengths)
        self._rows.add([*fresh, *forks])

    def _decode(self) -> None:
        """Append one token to every row, and remove finished rows."""
        rows, used = self._rows, self._rows.used
        logits = self._decoder.step(rows.pending[:used], rows.position[:used])
        draws = uniforms(rows.key[:used], rows.count[:used])
        tokens, logprobs = choose(logits, draws, self._decoding.temperature, self._decoding.top_p)
        rows.append(tokens, logprobs)
        ended = self._is_end[tokens]
        if self._decoding.stop:
            ended |= self._stops.completed(tokens, rows.response)
        finished = ended | (rows.count[:used] >= rows.limit[:used])
        if finished.any():
            self._collect(np.flatnonzero(finished), ended)
            sources, targets = rows.remove(finished)
            self._decoder.move(sources, targets, rows.position[targets], rows.used)

    def _collect(self, finished: Ints, ended: npt.NDArray[np.bool_]) -> None:
        for row in finished.tolist():
            job = self._rows.jobs[row]
            assert job is not None
            ids = self._rows.response(row)
            text = decode_continuation(self._tokenizer, ids[:-1] if ids[-1] in self._ends else ids)
            job.completions[self._rows.sample[row]] = Completion(
                token_ids=tuple(ids),
                text=self._stops.cut(text) if self._decoding.stop else text,
                finish_reason="stop" if ended[row] else "length",
                logprob=float(self._rows.logprob[row]),
            )
            job.done += 1
            if job.done == len(job.completions):
                self._complete.append(job)


def load_engine(
    model_folder: Path, decoding: DecodingParams, *, batch_rows: int, threads: int | None = None, gpus: int = 0
) -> TransformersEngine:
    """Load a Hugging Face model folder into an engine.

    Args:
        threads: torch's threads, for the whole process; None does not change them.
        gpus: with any, the model runs on the first one that the process sees.

    Raises:
        BadInput: the folder has no model that loads completely, no tokenizer, or a tokenizer without an end token; the
            dtype is not supported; or torch finds no GPU.
    """
    if gpus and not torch.cuda.is_available():
        fix = f"torch {torch.__version__} finds no GPU here: use 0, or a torch built for this machine's driver."
        raise BadInput("spec.resources.sample.gpus (or credit.gpus)", gpus, fix)
    if threads is not None:
        torch.set_num_threads(threads)
    model, tokenizer = load_model(model_folder, decoding.dtype)
    if gpus:
        model.to("cuda")
    return TransformersEngine(model, tokenizer, decoding, batch_rows=batch_rows)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Disable dropout inside the block, and restore the model's mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
