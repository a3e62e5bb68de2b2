"""The engine for GPUs and long responses: vLLM, in the stage's own process.

Each sample is a separate vLLM request with its own seed, so it does not depend on the rest of the batch (up to
floating-point ties: batches of other shapes round differently). Samples of one prompt, and prompts with a common
beginning, share their prefill through vLLM's prefix cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep import telemetry
from misstep.errors import BadInput
from misstep.generation.ends import end_ids
from misstep.generation.engine import Completion, FinishReason, Request, Usage, token_limit
from misstep.generation.loading import check_end_token, load_generation_config
from misstep.generation.stops import StopStrings
from misstep.generation.text import decode_continuation
from misstep.generation.tokenizers import load_tokenizer
from misstep.generation.vllm_setup import close_vllm, open_vllm
from misstep.models.folder import check_folder

if TYPE_CHECKING:
    from misstep.plan.frozen import Resources
    from misstep.plan.params import DecodingParams

_SEED_BITS = (1 << 63) - 1
"""vLLM takes seeds as signed 64-bit numbers."""
_LEAST_TEMPERATURE = 0.01


@dataclass(slots=True, eq=False)
class _Job:
    """A request under way."""

    request: Request
    completions: list[Completion | None]
    left: int


@dataclass(slots=True, eq=False)
class _Sample:
    """A sample in progress: one vLLM request."""

    job: _Job
    index: int
    token_ids: list[int] = field(default_factory=list)


class VllmEngine:
    """Continue prompts with vLLM.

    Args:
        model_folder: a Hugging Face model folder.
        decoding: temperature (0 is greedy), top_p, the limit of new tokens, stop strings, further engine arguments.
        resources: GPUs and their share of memory, or cores and memory; ``batch_rows`` is how many samples vLLM
            decodes at once.

    Raises:
        BadInput: vLLM is not installed, does not support the model, refuses an argument, lacks a GPU, or has too
            little memory; or the tokenizer has no end token.
    """

    def __init__(self, model_folder: Path, decoding: DecodingParams, resources: Resources) -> None:
        check_folder(model_folder, "model")
        self._tokenizer = load_tokenizer(model_folder)
        check_end_token(self._tokenizer)
        if 0 < decoding.temperature < _LEAST_TEMPERATURE:
            raise BadInput(
                "spec.sampling.temperature (or evaluation.temperature)",
                decoding.temperature,
                f"vLLM raises lower values to {_LEAST_TEMPERATURE}: use that, or 0, which is greedy.",
            )
        self._engine = open_vllm(model_folder, decoding, resources)
        config = self._engine.model_config
        self._decoding = decoding
        self._batch_rows = resources.batch_rows
        self._context = int(config.max_model_len)
        self._vocabulary = int(config.get_vocab_size())
        ends = end_ids(self._tokenizer, load_generation_config(model_folder))
        self._ends = frozenset(end for end in ends if end < self._vocabulary)
        self._stops = StopStrings(self._tokenizer, decoding.stop, self._vocabulary)
        self._samples: dict[str, _Sample] = {}
        self._complete: deque[_Job] = deque()
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
        """True: which samples share a batch depends on the machine's speed anyway."""
        return True

    @property
    def batch_rows(self) -> int:
        return self._batch_rows

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Let vLLM read each text as a prompt and report its tokens' log-probabilities. Samples that are queued go on
        meanwhile."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        reading = SamplingParams(
            temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        reads: dict[str, int] = {}
        for at, (prompt, response) in enumerate(texts):
            # vLLM generates a token after what it reads, and must have room for it.
            whole = [*prompt, *response][: self._context - 1]
            if len(whole) > len(prompt):
                name = str(self._submitted)
                self._submitted += 1
                reads[name] = at
                (rendered,) = self._engine.renderer.render_cmpl([{"prompt_token_ids": whole}])
                self._engine.add_request(name, rendered, reading)
        found: list[list[float]] = [[0.0] * len(response) for _, response in texts]
        while reads:
            for output in self._engine.step():
                if output.request_id in reads:
                    at = reads.pop(output.request_id)
                    begin = len(texts[at][0])
                    given = zip(output.prompt_logprobs[begin:], output.prompt_token_ids[begin:], strict=True)
                    values = [scored[token].logprob for scored, token in given]
                    found[at][: len(values)] = values
                else:
                    self._take(output)
        return found

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            BadInput: the prompt is empty, leaves no room in the context, or holds ids outside the vocabulary.
        """
        limit = token_limit(request, self._context, self._vocabulary, self._decoding.max_new_tokens)
        job = _Job(request, [None] * len(request.seeds), len(request.seeds))
        telemetry.PENDING_SAMPLES.inc(len(request.seeds))
        if limit < 1 or not request.seeds:
            job.completions = [Completion((), "", "length")] * len(request.seeds)
            self._complete.append(job)
            return
        (prompt,) = self._engine.renderer.render_cmpl([{"prompt_token_ids": list(request.prompt_ids)}])
        for index, seed in enumerate(request.seeds):
            name = str(self._submitted)
            self._submitted += 1
            self._samples[name] = _Sample(job, index)
            self._engine.add_request(name, prompt, self._sampling(seed, limit))

    def _sampling(self, seed: int, limit: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        decoding = self._decoding
        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=seed & _SEED_BITS if decoding.temperature else None,
            max_tokens=limit,
            stop_token_ids=sorted(self._ends),
            detokenize=False,
            # Stop strings are checked here, token by token: vLLM decodes a response together with its prompt, which
            # gives another text with many tokenizers.
            output_kind=RequestOutputKind.DELTA if decoding.stop else RequestOutputKind.FINAL_ONLY,
        )

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        """Yield requests as they complete, until nothing is queued; more may be submitted meanwhile.

        If an iteration stops early, the next one continues it.
        """
        while self._complete or self._samples:
            while self._complete:
                job = self._complete.popleft()
                completions = tuple(c for c in job.completions if c is not None)
                telemetry.count_samples(completions)
                yield job.request, completions
            if self._samples:
                for output in self._engine.step():
                    self._take(output)

    def close(self) -> None:
        """Drop all queued requests, end vLLM and its worker processes, and free its memory."""
        self._engine.abort_request(list(self._samples))
        self._samples.clear()
        self._complete.clear()
        telemetry.PENDING_SAMPLES.set(0)
        close_vllm(self._engine)

    def _take(self, output: Any) -> None:
        """Add the output of one step to a sample."""
        sample = self._samples.get(output.request_id)
        if sample is None:  # it reached a stop string in the previous step
            return
        (new,) = output.outputs
        if self._decoding.stop:
            for token in new.token_ids:
                sample.token_ids.append(token)
                if self._stops.completes(sample.token_ids):
                    if not output.finished:
                        self._engine.abort_request([output.request_id])
                    self._collect(output, "stop")
                    return
        else:
            sample.token_ids.extend(new.token_ids)
        if output.finished:
            self._collect(output, "stop" if new.finish_reason == "stop" else "length")

    def _collect(self, output: Any, reason: FinishReason) -> None:
        sample = self._samples.pop(output.request_id)
        job, ids = sample.job, sample.token_ids
        text = decode_continuation(self._tokenizer, ids[:-1] if ids[-1] in self._ends else ids)
        job.completions[sample.index] = Completion(
            token_ids=tuple(ids),
            text=self._stops.cut(text) if self._decoding.stop else text,
            finish_reason=reason,
        )
        usage = Usage(len(job.request.prompt_ids), output.num_cached_tokens or 0)
        self._usage += usage
        telemetry.count_prompt_tokens(usage.prefill_tokens, usage.cached_prefill_tokens)
        job.left -= 1
        if not job.left:
            self._complete.append(job)
