"""Tokens per second of the transformers engine against `model.generate`; its memory; how far batches change samples.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/generation.py
    PYTHONPATH=services python benchmarks/generation.py --model DIR --questions FILE.jsonl --rows 16 --threads 2 \\
        --sequences 64 --samples 4 --max-new-tokens 200 --queues

Both sides sample the same prompts at temperature 1 and stop at the same end tokens, in batches of the same number
of rows; `generate` gets the prompts sorted by length, so that its batches hold like lengths. Rounds alternate, since
other work on the machine changes its speed; the ratio is the median over rounds. Seconds of the processor are shown
beside those of the clock for the same reason. Then the same samples are drawn in batches of another size and compared,
and memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import GenerationConfig

from misstep.generation.engine import Request
from misstep.generation.seeds import sample_seed
from misstep.generation.transformers_engine import TransformersEngine, load_engine
from misstep.plan.params import DecodingParams
from misstep.problems.strides import generate

BASE = Path(__file__).parents[1] / "examples" / "quickstart-base"


def prompts_of(options: argparse.Namespace, tokenizer: Any, count: int) -> list[list[int]]:
    """Tokenise questions: of the file, else of the quickstart's task; repeated cyclically if there are too few."""
    if options.questions:
        lines = options.questions.read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["question"] + "\n" for line in lines[:count]]
    else:
        texts = [problem.question + "\n" for problem in generate("validation", min(count, 2000), seed=0)]
    ids = tokenizer(texts)["input_ids"]
    return [ids[i % len(ids)] for i in range(count)]


def with_engine(engine: TransformersEngine, prompts: list[list[int]], samples: int, round_: int) -> int:
    """Sample every prompt with the engine; return the generated tokens."""
    for i, prompt in enumerate(prompts):
        engine.submit(Request(i, prompt, [sample_seed(round_, i, j) for j in range(samples)]))
    return sum(len(c.token_ids) for _, completions in engine.results() for c in completions)


def with_generate(
    model: Any, tokenizer: Any, prompts: list[list[int]], samples: int, options: argparse.Namespace, round_: int
) -> int:
    """Sample every prompt with `model.generate`; return the generated tokens, end tokens included."""
    torch.manual_seed(round_)
    end = model.generation_config.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config = GenerationConfig(
        do_sample=True, top_k=0, top_p=1.0, max_new_tokens=options.max_new_tokens, eos_token_id=end, pad_token_id=pad
    )
    ends = torch.tensor(end).reshape(-1)
    rows = sorted((prompt for prompt in prompts for _ in range(samples)), key=len)
    tokens = 0
    for start in range(0, len(rows), options.rows):
        batch = rows[start : start + options.rows]
        width = max(map(len, batch))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        with torch.inference_mode():
            new = model.generate(ids, attention_mask=mask, generation_config=config)[:, width:]
        ended = torch.isin(new, ends).cumsum(1)
        tokens += int((ended - torch.isin(new, ends).long() == 0).sum())
    return tokens


def now() -> float:
    """Return the process's CPU seconds; on a GPU the clock's, once all that was started there has ended."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Return tokens per second of wall time, and per second of CPU time."""
    clock, processor = time.perf_counter(), time.process_time()
    tokens = work()
    return tokens / (time.perf_counter() - clock), tokens / (time.process_time() - processor)


def compare(options: argparse.Namespace, engine: TransformersEngine, samples: int) -> None:
    """Print both sides' rates, round by round, and the median ratios."""
    model, tokenizer = engine._model, engine.tokenizer
    prompts = prompts_of(options, tokenizer, options.sequences // samples)
    ratios: list[tuple[float, float]] = []
    print(f"{len(prompts)} prompts x {samples}, batches of {options.rows}, {options.threads} threads")
    print("         engine tok/s       generate tok/s     ratio")
    print("round    clock  processor   clock  processor   clock  processor")
    for round_ in range(options.rounds + 1):
        ours = timed(partial(with_engine, engine, prompts, samples, round_))
        theirs = timed(partial(with_generate, model, tokenizer, prompts, samples, options, round_))
        if round_:  # the first warms both up
            ratio = (ours[0] / theirs[0], ours[1] / theirs[1])
            ratios.append(ratio)
            print(
                f"{round_:5} {ours[0]:8.0f} {ours[1]:10.0f} {theirs[0]:8.0f} {theirs[1]:10.0f}"
                f" {ratio[0]:7.2f} {ratio[1]:10.2f}"
            )
    clock, processor = (median(side) for side in zip(*ratios, strict=True))
    print(f"median ratio: {clock:.2f} by the clock, {processor:.2f} by the processor\n", flush=True)


def compare_batches(options: argparse.Namespace) -> None:
    """Print how many samples differ between batches of two sizes."""
    found: list[dict[tuple[int, int], tuple[int, ...]]] = []
    for rows in (options.rows, max(1, options.rows // 3)):
        engine = engine_of(options, rows)
        for i, prompt in enumerate(prompts_of(options, engine.tokenizer, options.sequences // 4)):
            engine.submit(Request(i, prompt, [sample_seed(0, i, j) for j in range(16)]))
        results = ((request.request_id, completions) for request, completions in engine.results())
        found.append({(i, j): c.token_ids for i, completions in results for j, c in enumerate(completions)})
    one, other = found
    differ = sum(one[name] != other[name] for name in one)
    tokens = sum(map(len, one.values()))
    print(f"{differ} of {len(one)} samples ({tokens} tokens) differ between batches of {options.rows} and {rows} rows")


def peak(options: argparse.Namespace) -> None:
    """Print this process's peak memory after this many queued requests."""
    engine = engine_of(options, options.rows)
    prompts = prompts_of(options, engine.tokenizer, options.peak)
    before = peak_mib()
    with_engine(engine, prompts, 1, 0)
    print(f"{options.peak:6} queued requests: peak {peak_mib():.0f} MiB, {before:.0f} MiB before decoding")


def peak_mib() -> float:
    """Return this process's peak memory; that of its parent does not count."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def engine_of(options: argparse.Namespace, rows: int) -> TransformersEngine:
    """Load the model into an engine with this many rows."""
    decoding = DecodingParams(
        engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=options.max_new_tokens
    )
    return load_engine(options.model, decoding, batch_rows=rows, threads=options.threads)


def main() -> None:
    """Run the comparison, then measure memory in separate processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BASE)
    parser.add_argument("--questions", type=Path, help="JSONL with a column `question`")
    parser.add_argument("--sequences", type=int, default=2048, help="prompts times samples")
    parser.add_argument("--samples", type=int, nargs="*", default=[1, 16], help="of each prompt; one comparison each")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=45)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queues", type=int, nargs="*", default=[2000, 20000], help="memory: requests queued at once")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options)
        return
    engine = engine_of(options, options.rows)
    for samples in options.samples:
        compare(options, engine, samples)
    compare_batches(options)
    for queued in options.queues:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peak", str(queued)], check=True)


if __name__ == "__main__":
    main()
