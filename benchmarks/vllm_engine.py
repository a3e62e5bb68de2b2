"""Time of the `sample` stage with vLLM relative to one plain `LLM.generate`, and prefix cache hits of credit's
rollouts.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/vllm_engine.py
    PYTHONPATH=services python benchmarks/vllm_engine.py --wide --samples 1 --rounds 3 --no-credit

The model is the quickstart's, of 0.3 million parameters, or with ``--wide`` a random one of 5 million.

Both sides sample the same prompts with the same seeds and sampling parameters, in batches of the same size and with the
same engine arguments; both make token ids of prompts and texts of responses, with the same tokenizer. Each runs in a
fresh process, in turn, since other work on the machine changes its speed. The stage's time begins once the engine
stands, and ends with its commit: prompts, progress, Parquet files and receipts are in it. `generate` is given all
prompts at once, and its time begins when its engine stands. Starting the engine is shown apart. Seconds of the
processor stand beside those of the clock, as other work disturbs them less; steps are vLLM's passes over a batch, which
nothing disturbs. Every side first does a little unmeasured, the stage as a whole stage: vLLM does some things once,
with its first request, and a stage's process imports its libraries once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from misstep.artifacts.manifest import read_manifest
from misstep.generation.seeds import sample_seed
from misstep.plan import params as p
from misstep.plan.frozen import External, FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.stages.shell import run_stage
from misstep.store.description import Storage
from misstep.store.open import open_store

ROOT = Path(__file__).parents[1]
BASE = ROOT / "examples" / "quickstart-base"
EXAMPLE = ("start 5. add 2, 3 times.", "5 7 9 11\n#### 11")
SEED = 0
WARM_UP = 8
"""Prompts that each side samples before it is timed."""


def decoding_of(options: argparse.Namespace) -> p.DecodingParams:
    """Return the decoding settings of both sides."""
    return p.DecodingParams(
        engine="vllm", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=options.max_new_tokens
    )


def resources_of(options: argparse.Namespace) -> Resources:
    """Return the resources of both sides."""
    return Resources(cpus=options.threads, memory_mib=2048, batch_rows=options.rows)


def prompt_of(options: argparse.Namespace) -> p.PromptParams:
    """Build prompts like the quickstart, or with an example before them."""
    return p.PromptParams(style="plain", template="{question}\n", examples=(EXAMPLE,) if options.few_shot else ())


def wide_model(folder: Path) -> Path:
    """Write a random Llama of 5 million parameters with the quickstart's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=49, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=4, head_dim=64, max_position_embeddings=128, pad_token_id=0, bos_token_id=None,
        eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in BASE.glob("token*.json"):
        shutil.copy(file, folder)
    return folder


def count_steps() -> list[int]:
    """Count vLLM's steps in this process from now on."""
    from vllm.v1.engine.llm_engine import LLMEngine

    count, step = [0], LLMEngine.step

    def counting(self: LLMEngine) -> Any:
        count[0] += 1
        return step(self)

    LLMEngine.step = counting
    return count


def problems_of(storage: Storage, count: int) -> FrozenStage:
    """Return the stage that puts this many problems into a store."""
    source = p.SourceParams(format="strides", generator_seed=0, limit=count)
    params = p.ProblemsParams(
        train=source, test=source, validation=None, held_out=0, answer_format="hash", overlap_ngram=8,
        bad_gold_percent=1, verifier="benchmark",
    )  # fmt: skip
    return _stage(StageKind.PROBLEMS, params, storage)


def _stage(kind: StageKind, params: p.Params, storage: Storage, **more: Any) -> FrozenStage:
    frozen = params.model_dump(mode="json")
    key = stage_key(kind, frozen, more.get("inputs", {}), more.get("externals", {}))
    return FrozenStage(kind=kind, name=f"{kind.value}-benchmark", key=key, params=frozen, storage=storage, **more)


def stage_side(options: argparse.Namespace) -> dict[str, float]:
    """Run the sample stage on a store of problems; its engine is opened and warmed up before timing."""
    from misstep.generation import sample
    from misstep.generation.engines import open_engine

    storage = Storage(uri=options.store.as_uri())
    params = p.SampleParams(
        split="test",
        subset=None,
        samples=options.samples,
        seed=SEED,
        prompt=prompt_of(options),
        decoding=decoding_of(options),
    )
    began = time.perf_counter()
    engine = open_engine(options.model, decoding_of(options), resources_of(options))
    start = time.perf_counter() - began
    mock.patch.object(engine, "close").start()  # both stages use it
    mock.patch.object(sample, "open_engine", lambda *_: engine).start()
    more: dict[str, Any] = {
        "block_rows": options.block_rows,
        "externals": {"model": External(uri=str(options.model), digest="base")},
        "resources": resources_of(options),
    }
    with tempfile.TemporaryDirectory() as folder:
        small = Storage(uri=Path(folder).as_uri())
        run_stage(warm_up := problems_of(small, WARM_UP))
        run_stage(_stage(StageKind.SAMPLE, params, small, inputs={"problems": warm_up.key}, **more))
    problems = problems_of(storage, options.prompts)
    stage = _stage(StageKind.SAMPLE, params, storage, inputs={"problems": problems.key}, **more)
    steps = count_steps()
    clock, processor = time.perf_counter(), time.process_time()
    result = run_stage(stage)
    seconds = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor, "start": start}
    assert result.manifest is not None
    return seconds | {"tokens": result.manifest.summary["generated_tokens"], "steps": steps[0]}


def bare_side(options: argparse.Namespace) -> dict[str, float]:
    """Give vLLM's own `LLM` all prompts of the store's problems in one call."""
    from vllm import LLM, SamplingParams

    from misstep.artifacts.reader import Reader
    from misstep.generation.ends import end_ids
    from misstep.generation.loading import load_config, load_generation_config
    from misstep.generation.prompts import PromptBuilder
    from misstep.generation.tokenizers import load_tokenizer
    from misstep.generation.vllm_setup import engine_arguments, set_environment

    set_environment(resources_of(options))
    storage = Storage(uri=options.store.as_uri())
    problems = problems_of(storage, options.prompts)
    table = Reader(open_store(storage), options.store).table(problems.key, "problems")
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    tokenizer = load_tokenizer(options.model)
    builder = PromptBuilder(tokenizer, prompt_of(options))
    ends = sorted(end_ids(tokenizer, load_generation_config(options.model)))
    mask = (1 << 63) - 1
    draws = [
        SamplingParams(
            temperature=1.0, seed=sample_seed(SEED, "test", row["problem_id"], sample) & mask, stop_token_ids=ends,
            max_tokens=options.max_new_tokens, detokenize=False,
        )
        for row in rows
        for sample in range(options.samples)
    ]  # fmt: skip
    began = time.perf_counter()
    arguments = engine_arguments(options.model, decoding_of(options), resources_of(options), load_config(options.model))
    llm = LLM(**arguments)
    start = time.perf_counter() - began
    llm.generate([{"prompt_token_ids": list(range(5, 30))}] * WARM_UP, draws[:WARM_UP], use_tqdm=False)
    steps = count_steps()
    clock, processor = time.perf_counter(), time.process_time()
    ids = [builder.prompt_ids(row["question"]) for row in rows]
    prompts = [{"prompt_token_ids": one} for one in ids for _ in range(options.samples)]
    outputs = llm.generate(prompts, draws, use_tqdm=False)
    tokenizer.batch_decode([output.outputs[0].token_ids for output in outputs])
    seconds = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor, "start": start}
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return seconds | {"tokens": tokens, "steps": steps[0]}


def measured(options: argparse.Namespace, side: str) -> dict[str, float]:
    """Run one side in its own process, on its own store."""
    with tempfile.TemporaryDirectory() as folder:
        run_stage(problems_of(Storage(uri=Path(folder).as_uri()), options.prompts))
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--store", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(options: argparse.Namespace) -> None:
    """Print both sides' seconds, round by round, and the medians and ranges of their ratio."""
    what = f"{options.prompts} prompts, {options.samples} samples of each"
    print(f"{what}, batches of {options.rows}, blocks of {options.block_rows} prompts", flush=True)
    print("              stage seconds                 generate seconds          stage/generate")
    print("round    clock  processor  start      clock  processor  start      clock  processor  steps    tokens")
    ratios = []
    for round_ in range(options.rounds):
        sides = ("stage", "bare") if round_ % 2 else ("bare", "stage")
        found = {side: measured(options, side) for side in sides}
        ours, theirs = found["stage"], found["bare"]
        ratio = (ours["clock"] / theirs["clock"], ours["processor"] / theirs["processor"])
        ratios.append(ratio)
        print(
            f"{round_ + 1:5} {ours['clock']:8.2f} {ours['processor']:10.2f} {ours['start']:6.1f}"
            f" {theirs['clock']:10.2f} {theirs['processor']:10.2f} {theirs['start']:6.1f}"
            f" {ratio[0]:10.3f} {ratio[1]:10.3f}  {ours['steps']}/{theirs['steps']}"
            f"  {ours['tokens']:.0f}/{theirs['tokens']:.0f}",
            flush=True,
        )
    for name, values in zip(("clock", "processor"), zip(*ratios, strict=True), strict=True):
        print(f"ratio by the {name}: median {median(values):.3f}, {min(values):.3f} to {max(values):.3f}", flush=True)


def credit(options: argparse.Namespace) -> None:
    """Sample, verify and credit problems in one store, and print the cache hits of the rollouts' prompts."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(uri=Path(folder).as_uri())
        run_stage(problems := problems_of(storage, options.credit_problems))
        model = {"model": External(uri=str(options.model), digest="base")}
        common: dict[str, Any] = {"externals": model, "resources": resources_of(options)}
        decoding = decoding_of(options)
        subset = p.SubsetParams(size=options.credit_problems, seed=0)
        sampling = p.SampleParams(
            split="train", subset=subset, samples=8, seed=SEED, prompt=prompt_of(options), decoding=decoding
        )
        inputs = {"problems": problems.key}
        run_stage(samples := _stage(StageKind.SAMPLE, sampling, storage, inputs=inputs, **common))
        inputs |= {"samples": samples.key}
        verify = p.VerifyParams(answer_format="hash", timeout_seconds=2.0, verifier="benchmark")
        run_stage(verdicts := _stage(StageKind.VERIFY, verify, storage, inputs=inputs))
        params = p.CreditParams(
            estimator="full-scan", rollouts=8, best_of=5, negatives_per_problem=2, max_negatives=None, max_steps=20,
            step_rule="lines", answer_format="hash", timeout_seconds=2.0, decoding=decoding, seed=SEED,
        )  # fmt: skip
        inputs |= {"verdicts": verdicts.key}
        common["externals"] = {"policy": model["model"]}
        run_stage(credited := _stage(StageKind.CREDIT, params, storage, inputs=inputs, **common))
        manifest = read_manifest(open_store(storage), credited.key)
    assert manifest is not None
    found = manifest.summary
    read, cached = found["prefill_tokens"], found["cached_prefill_tokens"]
    print(
        f"credit of {options.credit_problems} problems{' with an example' if options.few_shot else ''}: "
        f"{found['prefixes']} prefixes, {found['rollouts']} rollouts, {read} prompt tokens, "
        f"{cached} of them cached ({cached / max(read, 1):.0%})"
    )


def main() -> None:
    """Compare, then credit; or be one side of the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=4, help="of each prompt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--block-rows", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--few-shot", action="store_true", help="put an example before each question")
    parser.add_argument("--credit-problems", type=int, default=60)
    parser.add_argument("--no-credit", action="store_true")
    parser.add_argument("--wide", action="store_true", help="a random model of 5 million parameters")
    parser.add_argument("--model", type=Path, default=BASE, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=("stage", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(stage_side(options) if options.side == "stage" else bare_side(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.wide:
            sys.argv += ["--model", str(wide_model(Path(folder, "wide")))]
            options = parser.parse_args()
        if options.rounds:
            compare(options)
        if not options.no_credit:
            credit(options)


if __name__ == "__main__":
    main()
