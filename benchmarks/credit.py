"""The cost of each credit estimator per wrong solution, and how often it finds the full scan's pit.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/credit.py
    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/credit.py --model DIR --epochs 0 --rollouts 10

A policy (by default the quickstart's base, fine-tuned a little on the teacher's solutions: the base itself writes few
steps) answers problems of the quickstart's task; its wrong answers to problems that it can solve are credited by each
estimator, first with the full scan's own seeds (so with its very rollouts), then with others. The full scan
with other seeds shows how well a pit can be known at all from so few rollouts. ``oracle`` is the share of pits that
are the true first wrong line, which the task tells. Costs are per negative that is credited: those of problems that
no sample solved cost nothing. ``alone`` is the cost without sharing prefixes between negatives of one problem.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from misstep.credit.block import CreditedBlock
from misstep.credit.estimators import Estimator, EstimatorName
from misstep.credit.scheduler import Scheduler
from misstep.credit.selection import CreditProblem, Negative, ProblemTally
from misstep.credit.tables import credit_counts
from misstep.generation.engine import Engine, Request
from misstep.generation.loading import load_model
from misstep.generation.seeds import sample_seed
from misstep.generation.transformers_engine import TransformersEngine
from misstep.plan.params import CreditParams, DecodingParams
from misstep.problems.strides import generate, oracle
from misstep.terms.verdict import Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier

BASE = Path(__file__).parents[1] / "examples" / "quickstart-base"
Pits = dict[tuple[str, int], int | None]
Correct = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True)
class Measured:
    """One run of an estimator; costs are means over the negatives."""

    estimator: str
    seed: int
    negatives: int
    steps_each: float
    rollouts_each: float
    alone_each: float
    tokens_each: float
    wall_seconds: float
    cpu_seconds: float
    agreement: float
    """Agreement with the first full scan, as a share of its pits."""
    oracle: float
    pits: int
    refuted: int
    """Pits that a correct response passes through (see `misstep.credit.layouts`)."""
    refuted_false: int
    """Refuted pits that are not the true first error."""


def answer(
    options: argparse.Namespace, engine: Engine, verifier: Verifier
) -> tuple[list[CreditProblem], dict[str, str], Correct]:
    """Let the policy answer the problems; return those with negatives that can be credited, all questions, and the
    correct answers."""
    problems = {
        f"p{n:05d}": problem for n, problem in enumerate(generate("train", options.problems, seed=options.seed))
    }
    for name, problem in problems.items():
        ids = engine.tokenizer(problem.question + "\n", add_special_tokens=False)["input_ids"]
        engine.submit(Request(name, ids, [sample_seed(options.seed, name, n) for n in range(options.samples)]))
    drawn = {request.request_id: (request, completions) for request, completions in engine.results()}
    found = []
    correct: Correct = {}
    for name, problem in problems.items():
        request, completions = drawn[name]
        tally = ProblemTally()
        for number, completion in enumerate(completions):
            finished = completion.finish_reason == "stop"
            verdict = verifier.judge_one(completion.text, problem.gold).verdict if finished else Verdict.UNPARSABLE
            digest = hashlib.sha256(repr(completion.token_ids).encode()).digest()
            if verdict is Verdict.CORRECT:
                correct.setdefault(name, []).append(completion.token_ids)
            tally.add(number, verdict, completion.finish_reason, digest, room=True)
        chosen = tally.negatives(options.negatives)
        if chosen and tally.other_samples().correct:
            negatives = tuple(Negative(n, completions[n].token_ids, completions[n].text) for n in chosen)
            prompt = tuple(request.prompt_ids)
            found.append(CreditProblem(name, problem.gold, prompt, tally.other_samples(), negatives))
    return found, {name: problem.question for name, problem in problems.items()}, correct


def measure(
    options: argparse.Namespace,
    engine: Engine,
    verifier: Verifier,
    problems: list[CreditProblem],
    questions: dict[str, str],
    correct: Correct,
    estimator: EstimatorName,
    seed: int,
    reference: Pits | None,
) -> tuple[Measured, Pits]:
    """Credit all problems once; ``reference`` is the full scan's pits, None for the full scan itself."""
    params = CreditParams(
        estimator=estimator,
        rollouts=options.rollouts,
        best_of=min(5, options.rollouts),
        negatives_per_problem=options.negatives,
        max_negatives=None,
        max_steps=20,
        step_rule="lines",
        answer_format="hash",
        timeout_seconds=2.0,
        decoding=decoding_of(options),
        seed=seed,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    block: CreditedBlock = Scheduler(params, engine, verifier.judge).credit(problems)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    counts: dict[str, Any] = credit_counts(block)
    pits: Pits = {(n.problem_id, n.sample): n.pit for n in block.negatives}
    known = {name: pit for name, pit in (reference or pits).items() if pit}
    true = {
        name: pit - 1 == oracle(questions[name[0]], negative.text)
        for (name, pit), negative in zip(pits.items(), block.negatives, strict=True)
        if pit
    }
    refuted = [name for name in refuted_pits(block, correct) if name in true]
    each = len(block.negatives)
    measured = Measured(
        estimator=estimator,
        seed=seed,
        negatives=each,
        steps_each=counts["steps"] / each,
        rollouts_each=counts["rollouts"] / each,
        alone_each=counts["prefixes_unshared"] * options.rollouts / each,
        tokens_each=counts["generated_tokens"] / each,
        wall_seconds=wall,
        cpu_seconds=cpu,
        agreement=sum(pits[name] == pit for name, pit in known.items()) / max(1, len(known)),
        oracle=sum(true.values()) / max(1, len(true)),
        pits=counts["pits"],
        refuted=len(refuted),
        refuted_false=sum(not true[name] for name in refuted),
    )
    return measured, pits


def refuted_pits(block: CreditedBlock, correct: Correct) -> list[tuple[str, int]]:
    """Return the negatives whose steps through the pit are the beginning of a known correct response."""
    known = {name: list(responses) for name, responses in correct.items()}
    for prefix, _, rollout in block.rollouts():
        if rollout.solved:
            known[prefix.problem.problem_id].append(prefix.token_ids + rollout.token_ids)
    refuted = []
    for found in block.negatives:
        through = found.token_ids[: found.steps.ends[found.pit - 1]] if found.pit else ()
        if through and any(ids[: len(through)] == through for ids in known[found.problem_id]):
            refuted.append((found.problem_id, found.sample))
    return refuted


def fine_tune(options: argparse.Namespace, model: Any, tokenizer: Any) -> None:
    """Train on the teacher's solutions, prompt left out of the loss: batches of 64, learning rate 1e-3."""
    torch.manual_seed(options.seed)
    rows = []
    for problem in generate("train", options.problems, seed=options.seed):
        prompt = tokenizer(problem.question + "\n", add_special_tokens=False)["input_ids"]
        answer = tokenizer(problem.solution, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append((prompt, answer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    model.train()
    for _ in range(options.epochs):
        for chosen in torch.randperm(len(rows)).split(64):
            batch = [rows[i] for i in chosen.tolist()]
            width = max(len(prompt) + len(answer) for prompt, answer in batch)
            padded = [(prompt + answer, [-100] * len(prompt) + answer) for prompt, answer in batch]
            ids = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row, _ in padded])
            labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in padded])
            optimizer.zero_grad()
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
    model.eval()


def decoding_of(options: argparse.Namespace) -> DecodingParams:
    """Decoding settings of the samples and the rollouts."""
    return DecodingParams(
        engine="transformers",
        dtype="float32",
        temperature=options.temperature,
        top_p=1.0,
        max_new_tokens=options.max_new_tokens,
    )


def by_length() -> None:
    """Print how many prefixes a search needs of longer solutions, over pits at every step, Q zero from the pit on."""
    lengths = (3, 4, 6, 8, 12, 20)
    print("prefixes per negative, by steps of the solution (bare problem aside, pits uniform)")
    print("estimator   " + "".join(f"{length:7}" for length in lengths))
    for name in get_args(EstimatorName):
        means = []
        for length in lengths:
            asked = 0
            for pit in range(1, length + 1):
                estimator = Estimator(name, length)
                pending = list(estimator.start())
                while pending:
                    asked += 1
                    prefix = pending.pop()
                    pending += estimator.observe(prefix, float(prefix < pit))
            means.append(asked / length - 1)
        print(f"{name:10}  " + "".join(f"{mean:7.2f}" for mean in means))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=BASE, help="a Hugging Face folder (default: the quickstart's base)"
    )
    parser.add_argument("--epochs", type=int, default=8, help="of fine-tuning before; 0 leaves the model as it is")
    parser.add_argument("--problems", type=int, default=250)
    parser.add_argument("--samples", type=int, default=16, help="answers to each problem")
    parser.add_argument("--negatives", type=int, default=4, help="wrong answers credited per problem, at most")
    parser.add_argument("--rollouts", type=int, default=5, help="per prefix")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=512, help="decoded at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model, "float32")
    fine_tune(options, model, tokenizer)
    engine = TransformersEngine(model, tokenizer, decoding_of(options), batch_rows=options.rows)
    with Verifier(AnswerFormat.HASH) as verifier:
        problems, questions, correct = answer(options, engine, verifier)
        if not problems:
            parser.exit(1, "The policy is never right, or never wrong: there is nothing to credit.\n")
        runs: list[Measured] = []
        reference: Pits | None = None
        for seed in (options.seed, options.seed + 1):
            for estimator in get_args(EstimatorName):
                run, pits = measure(options, engine, verifier, problems, questions, correct, estimator, seed, reference)
                reference = reference or pits
                runs.append(run)
    tokens = [len(negative.token_ids) for problem in problems for negative in problem.negatives]
    print(f"{len(tokens)} negatives of {len(problems)} solved problems (of {options.problems})")
    means = f"{sum(tokens) / len(tokens):.1f} tokens and {runs[0].steps_each:.2f} steps each"
    print(f"{means}, {options.rollouts} rollouts a prefix")
    print("estimator   seeds   rollouts   alone   tokens   wall s   cpu s", end="")
    print("  = scan's  = true error   pits   refuted (no true error)")
    for run in runs:
        seeds = "scan's" if run.seed == options.seed else "others"
        print(
            f"{run.estimator:10}  {seeds}  {run.rollouts_each:8.2f} {run.alone_each:7.2f} {run.tokens_each:8.1f}"
            f" {run.wall_seconds:8.1f} {run.cpu_seconds:7.1f} {run.agreement:9.1%} {run.oracle:13.1%} {run.pits:6}"
            f" {run.refuted:9} ({run.refuted_false})"
        )
    by_length()
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
