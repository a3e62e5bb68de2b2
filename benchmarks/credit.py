"""The cost of each credit estimator per wrong solution, and how often its pit is right.

    python benchmarks/credit.py
    python benchmarks/credit.py --task long-strides
    python benchmarks/credit.py --model DIR --epochs 0 --rollouts 10

A policy answers problems of a generated task (`benchmarks/wrong_answers.py`); its wrong answers to problems that it can
solve are credited by each estimator, first with the full scan's own seeds, then with others. The full scan with other
seeds shows how well a pit can be known at all from so few rollouts. Columns:

- tokens: generated per negative that is credited (those of problems that no sample solved cost nothing), and their
  share of the first scan's. cpu: this process's seconds, and their share.
- unneeded: the share of rollouts that were drawn in advance and not needed.
- = scan's: the share of the first scan's pits that are the same. true error: the share of all pits that are the true
  first wrong line, which the task knows.
- expected: the true errors that the estimator's own posterior expects, as a share (adaptive only).
- refuted: pits that a correct response passes through, and how many of these are not the first error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from benchmarks.wrong_answers import TASKS, Answers, Task, answer, open_policy

from misstep.credit.block import CreditedBlock
from misstep.credit.estimators import Estimator, EstimatorName, OrderName
from misstep.credit.posterior import SolvedRates
from misstep.credit.refuted import refuted
from misstep.credit.scheduler import Scheduler
from misstep.credit.tables import credit_counts
from misstep.generation.engine import Engine
from misstep.generation.scoring import Text
from misstep.generation.transformers_engine import TransformersEngine
from misstep.plan.params import CreditParams, DecodingParams
from misstep.problems.strides import oracle
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier

Pits = dict[tuple[str, int], int | None]
ABLATIONS = ("without log-probabilities", "without samples", "gold answers as prior")
"""What `--ablations` adds, each at the target error of 0.1: no log-probabilities of steps; no samples as evidence; the
fall of the gold answer's log-probability over a step in place of the step's own log-probability (as in arXiv 2602.01034
and 2603.17815)."""
STRATEGIES: tuple[tuple[EstimatorName, float | None], ...] = (
    ("full-scan", None),
    ("sequential", None),
    ("bisection", None),
    ("adaptive", 0.05),
    ("adaptive", 0.1),
    ("adaptive", 0.15),
    ("adaptive", 0.2),
)
"""Estimators with the target error of ``adaptive``."""


@dataclass(frozen=True)
class Measured:
    """One run of an estimator; costs are means over the negatives."""

    strategy: str
    seed: int
    negatives: int
    steps_each: float
    rollouts_each: float
    unneeded: float
    tokens_each: float
    wall_seconds: float
    cpu_seconds: float
    agreement: float
    """Agreement with the first full scan, as a share of its pits."""
    oracle: float
    expected: float | None
    pits: int
    refuted: int
    """Pits that a correct response passes through (see `misstep.credit.refuted`)."""
    refuted_false: int
    """Refuted pits that are not the true first error."""


def measure(
    options: argparse.Namespace,
    engine: Engine,
    verifier: Verifier,
    answers: Answers,
    strategy: tuple[EstimatorName, float | None],
    seed: int,
    reference: Pits | None,
    name: str | None = None,
) -> tuple[Measured, Pits]:
    """Credit all problems once; ``reference`` is the full scan's pits, None for the full scan itself."""
    estimator, error = strategy
    params = CreditParams(
        estimator=estimator,
        rollouts=options.rollouts,
        target_error=error,
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
    rates = SolvedRates.fitted(problem.samples for problem in answers.problems)
    wall, cpu = time.perf_counter(), time.process_time()
    block: CreditedBlock = Scheduler(params, engine, verifier.judge, rates=rates).credit(answers.problems)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    counts: dict[str, Any] = credit_counts(block)
    pits: Pits = {(n.problem_id, n.sample): n.pit for n in block.negatives}
    known = {name: pit for name, pit in (reference or pits).items() if pit}
    true = {
        name: pit - 1 == oracle(answers.questions[name[0]], negative.text)
        for (name, pit), negative in zip(pits.items(), block.negatives, strict=True)
        if pit
    }
    passed = [name for name in refuted_pits(block, answers) if name in true]
    certainties = [negative.certainty for negative in block.negatives if negative.certainty is not None]
    each = len(block.negatives)
    measured = Measured(
        strategy=name or (estimator if error is None else f"{estimator} {error:g}"),
        seed=seed,
        negatives=each,
        steps_each=counts["steps"] / each,
        rollouts_each=counts["rollouts"] / each,
        unneeded=counts["rollouts_unneeded"] / max(1, counts["rollouts"]),
        tokens_each=counts["generated_tokens"] / each,
        wall_seconds=wall,
        cpu_seconds=cpu,
        agreement=sum(pits[name] == pit for name, pit in known.items()) / max(1, len(known)),
        oracle=sum(true.values()) / max(1, len(true)),
        expected=sum(certainties) / len(certainties) if certainties else None,
        pits=counts["pits"],
        refuted=len(passed),
        refuted_false=sum(not true[name] for name in passed),
    )
    return measured, pits


class Flat:
    """The policy, whose log-probabilities say that every step was a toss-up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def logprobs(self, texts: Sequence[Text]) -> list[list[float]]:
        """Return the same for each token."""
        return [[-1.0] * len(response) for _, response in texts]


class GoldFalls(Flat):
    """The policy, whose log-probability of a step is how far the step lowers that of the gold answer."""

    def __init__(self, engine: Engine, answers: Answers) -> None:
        super().__init__(engine)
        self._gold = {problem.prompt_ids: problem.gold for problem in answers.problems}
        newline = engine.tokenizer("\n", add_special_tokens=False)["input_ids"]
        self._newline = newline[-1]

    def logprobs(self, texts: Sequence[Text]) -> list[list[float]]:
        """Return the fall at the last token of each line, and zero for the others."""
        found = []
        for prompt, response in texts:
            ids = tuple(response)
            ends = [at + 1 for at, token in enumerate(ids[:-1]) if token == self._newline]
            gold = self._engine.tokenizer(f"#### {self._gold[tuple(prompt)]}", add_special_tokens=False)["input_ids"]
            asked = [((*prompt, *ids[:end]), gold) for end in (0, *ends)]
            scores = [each[-1] for each in self._engine.logprobs(asked)]
            values = [0.0] * len(ids)
            for end, before, after in zip(ends, scores, scores[1:], strict=False):
                values[end - 1] = min(0.0, after - before)
            values[-1] = -1.0
            found.append(values)
        return found


def refuted_pits(block: CreditedBlock, answers: Answers) -> list[tuple[str, int]]:
    """Return the negatives whose steps through the pit are the beginning of a known correct response."""
    rollouts: dict[str, list[tuple[int, ...]]] = {}
    for prefix, _, rollout in block.rollouts():
        if rollout.solved:
            rollouts.setdefault(prefix.problem.problem_id, []).append(prefix.token_ids + rollout.token_ids)
    return [
        (found.problem_id, found.sample)
        for found in block.negatives
        if found.pit
        and refuted(
            found.token_ids,
            found.steps.ends[found.pit - 1],
            answers.correct[found.problem_id],
            rollouts.get(found.problem_id, ()),
        )
    ]


def decoding_of(options: argparse.Namespace) -> DecodingParams:
    """Decoding settings of the samples and the rollouts."""
    return DecodingParams(
        engine="transformers",
        dtype="float32",
        temperature=options.temperature,
        top_p=1.0,
        max_new_tokens=options.max_new_tokens,
    )


def print_runs(runs: list[Measured]) -> None:
    """Print one row for each run."""
    first = runs[0]
    print("strategy                   seeds   rollouts  unneeded        tokens         cpu s    wall s", end="")
    print("   = scan's   true error   expected   pits   refuted (no true error)")
    for run in runs:
        seeds = "scan's" if run.seed == first.seed else "others"
        expected = "-" if run.expected is None else f"{run.expected:.1%}"
        print(
            f"{run.strategy:25}  {seeds}  {run.rollouts_each:8.2f} {run.unneeded:9.1%}"
            f" {run.tokens_each:8.1f} {run.tokens_each / first.tokens_each:5.2f}"
            f" {run.cpu_seconds:7.1f} {run.cpu_seconds / first.cpu_seconds:5.2f} {run.wall_seconds:9.1f}"
            f" {run.agreement:10.1%} {run.oracle:12.1%} {expected:>10} {run.pits:6}"
            f" {run.refuted:9} ({run.refuted_false})"
        )


def by_length() -> None:
    """Print how many prefixes a search needs of longer solutions, over pits at every step, Q zero from the pit on."""
    lengths = (3, 4, 6, 8, 12, 20)
    print("prefixes per negative, by steps of the solution (bare problem aside, pits uniform)")
    print("estimator   " + "".join(f"{length:7}" for length in lengths))
    for name in get_args(OrderName):
        means = []
        for length in lengths:
            asked = 0
            for pit in range(1, length + 1):
                estimator = Estimator(name, length)
                pending = list(estimator.start())
                while pending:
                    asked += 1
                    prefix = pending.pop()
                    pending += estimator.observe(prefix, prefix < pit)
            means.append(asked / length - 1)
        print(f"{name:10}  " + "".join(f"{mean:7.2f}" for mean in means))


def _ablated(name: str, engine: Engine, answers: Answers) -> tuple[Engine, Answers]:
    if name == "without samples":
        return engine, replace(answers, problems=[replace(problem, known=()) for problem in answers.problems])
    changed: Any = GoldFalls(engine, answers) if name == "gold answers as prior" else Flat(engine)
    return changed, answers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="strides")
    parser.add_argument("--model", type=Path, help="a Hugging Face folder (default: the task's base)")
    parser.add_argument("--epochs", type=int, help="of fine-tuning before; 0 leaves the model as it is")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16, help="answers to each problem")
    parser.add_argument("--negatives", type=int, default=4, help="wrong answers credited per problem, at most")
    parser.add_argument("--rollouts", type=int, default=5, help="per prefix")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-new-tokens", type=int)
    parser.add_argument("--rows", type=int, default=512, help="decoded at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ablations", action="store_true", help="also leave out each kind of evidence")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task: Task = TASKS[options.task]
    options.max_new_tokens = options.max_new_tokens or task.max_new_tokens
    epochs = task.epochs if options.epochs is None else options.epochs
    model, tokenizer = open_policy(task, options.model, options.problems, epochs, options.seed)
    engine = TransformersEngine(model, tokenizer, decoding_of(options), batch_rows=options.rows)
    with Verifier(AnswerFormat.HASH) as verifier:
        answers = answer(
            task,
            engine,
            verifier,
            problems=options.problems,
            samples=options.samples,
            negatives=options.negatives,
            seed=options.seed,
        )
        if not answers.problems:
            parser.exit(1, "The policy is never right, or never wrong: there is nothing to credit.\n")
        runs: list[Measured] = []
        reference: Pits | None = None
        for seed in (options.seed, options.seed + 1):
            for strategy in STRATEGIES:
                run, pits = measure(options, engine, verifier, answers, strategy, seed, reference)
                reference = reference or pits
                runs.append(run)
            for name in ABLATIONS if options.ablations else ():
                changed, given = _ablated(name, engine, answers)
                run, _ = measure(options, changed, verifier, given, ("adaptive", 0.1), seed, reference, name)
                runs.append(run)
    tokens = [len(negative.token_ids) for problem in answers.problems for negative in problem.negatives]
    print(f"{len(tokens)} negatives of {len(answers.problems)} solved problems (of {options.problems})")
    means = f"{sum(tokens) / len(tokens):.1f} tokens and {runs[0].steps_each:.2f} steps each"
    print(f"{means}, {options.rollouts} rollouts a prefix")
    print_runs(runs)
    by_length()
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
