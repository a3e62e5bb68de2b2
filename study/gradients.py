"""Measure, at the reference policy, the direction in which each kind of pair pulls, and how noisy it is.

    python study/gradients.py [--store URI] [--tasks strides] [--seeds 0 1]

Adds to `study/figures.json`. Needs the Experiments `pairs-200` and `long-pairs-200` in the store (`study/collect.py`).

At the reference policy, the gradient of DPO's loss on a pair is a constant times that of log p(chosen) less that of
log p(rejected). For each kind of pair this script takes those gradients one by one, and the gradient of the log-odds of
success on problems that the policy was not trained on: of each problem the mean score of correct samples less that of
wrong ones (a score is the gradient of a response's log-probability). With mu the mean of a pair's gradient, Sigma its
covariance and d that direction:

    alignment         cosine of mu and d: 1 where pairs estimate that direction without bias
    noise             trace(Sigma) / |mu|^2: the pairs whose mean has as much noise as signal
    cosine of n pairs mu.d / (|d| sqrt(|mu|^2 + trace(Sigma) / n)): how well n pairs point along d

|mu|^2 is the mean product of two pairs of different problems, and |d|^2 that of two halves of the problems, so that
noise adds nothing to either. Pairs of one problem are not independent; their mean counts as if they were.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from misstep.generation.engine import Request
from misstep.generation.loading import load_model
from misstep.generation.seeds import sample_seed
from misstep.generation.transformers_engine import load_engine
from misstep.plan.params import DecodingParams
from misstep.problems.generated import GENERATORS
from misstep.terms.verdict import Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier
from study import figures
from study.design import DRAWN, LAYOUTS, LONG, SHORT, Task
from study.finished import STORE, Finished

TASKS = {task.format: task for task in (SHORT, LONG)}
PROBLEMS, SAMPLES = 800, 16
Gradient = NDArray[np.floating[Any]]
"""Shape (parameters,)."""
Sample = tuple[Sequence[int], Sequence[int], bool]
"""Prompt, response, and whether that is correct."""


def main() -> int:
    """Measure and add to the figures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default=STORE, help="URI of the store (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = figures.read()
    gradients = dict(found.gradients)
    for name in options.tasks:
        finished = Finished(TASKS[name].usual, options.store)
        measured = [measure(finished, TASKS[name], seed) for seed in options.seeds]
        gradients[name] = {kind: [of[kind] for of in measured] for kind in measured[0]}
        figures.write(replace(found, gradients=gradients))
    return 0


def measure(finished: Finished, task: Task, seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of each kind of pair for the policy of one seed."""
    at = finished.experiment.spec.seeds.index(seed)
    key = finished.key(finished.points("sft")[at])
    folder = finished.reader.folder(key, finished.reader.manifest(key).policy_prefix())
    model, _ = load_model(folder, "float32")
    halves = [success_direction(model, problems) for problems in sampled(folder, task, seed)]
    length = math.sqrt(max(float(halves[0] @ halves[1]), 1e-12))
    direction = (halves[0] + halves[1]) / 2
    made = {}
    for kind in LAYOUTS:
        columns = ["problem_id", "prompt_ids", "chosen_ids", "rejected_ids"]
        rows = finished.reader.table(finished.key(f"pairs-{finished.points(kind)[at]}"), "pairs", columns).to_pylist()
        pulls = np.stack([pull(model, row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in rows])
        made[kind] = _figures(pulls, [row["problem_id"] for row in rows], direction, length)
        print(f"{task.format} seed {seed} {kind}: {made[kind]}", file=sys.stderr, flush=True)
    return made


def _figures(pulls: Gradient, problems: Sequence[str], direction: Gradient, length: float) -> dict[str, float]:
    """Return a kind's figures.

    Args:
        pulls: shape (pairs, parameters).
        problems: of each pair.
        length: of the direction, without its noise.
    """
    products = pulls @ pulls.T
    apart = np.array(problems)[:, None] != np.array(problems)[None, :]
    signal = float(products[apart].mean())
    noise = float(np.diag(products).mean()) - signal
    along = float((pulls @ direction).mean()) / length
    made = {
        "pairs": float(len(pulls)),
        "alignment": along / math.sqrt(max(signal, 1e-12)),
        "noise": noise / max(signal, 1e-12),
    }
    return made | {f"cosine_{n}": along / math.sqrt(max(signal, 0.0) + noise / n) for n in DRAWN}


def pull(model: Any, prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> Gradient:
    """Return the gradient of log p(chosen) - log p(rejected)."""
    return _gradient(model, [(prompt, chosen, 1.0), (prompt, rejected, -1.0)])


def success_direction(model: Any, problems: Sequence[Sequence[Sample]]) -> Gradient:
    """Return the mean over problems of the gradient of the log-odds of success.

    Args:
        problems: of each, its samples.
    """
    total: Gradient | None = None
    for samples in problems:
        correct = sum(right for *_, right in samples)
        wrong = len(samples) - correct
        found = _gradient(model, [(p, r, 1 / correct if right else -1 / wrong) for p, r, right in samples])
        total = found if total is None else total + found
    assert total is not None
    return total / len(problems)


def _gradient(model: Any, weighed: Sequence[tuple[Sequence[int], Sequence[int], float]]) -> Gradient:
    """Return the gradient of the weighed sum of responses' log-probabilities."""
    width = max(len(prompt) + len(response) for prompt, response, _ in weighed)
    ids = torch.zeros((len(weighed), width), dtype=torch.long)
    weights = torch.zeros((len(weighed), width))
    mask = torch.zeros((len(weighed), width), dtype=torch.long)
    for row, (prompt, response, weight) in enumerate(weighed):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor([*prompt, *response])
        weights[row, len(prompt) : end] = weight
        mask[row, :end] = 1
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    scores = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
    model.zero_grad()
    (scores * weights[:, 1:]).sum().backward()
    return np.concatenate([each.grad.flatten().numpy() for each in model.parameters() if each.grad is not None])


def sampled(folder: Path, task: Task, seed: int) -> Iterator[list[list[Sample]]]:
    """Yield two halves of fresh problems that the policy sometimes solves, with its samples."""
    decoding = DecodingParams(
        engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=task.max_new_tokens
    )
    engine = load_engine(folder, decoding, batch_rows=512, threads=1)
    verifier = Verifier(AnswerFormat.HASH)
    golds = {}
    for number, problem in enumerate(GENERATORS[task.format]("validation", PROBLEMS, 1000 + seed)):
        name = str(number)
        golds[name] = problem.gold
        ids = engine.tokenizer(problem.question + "\n", add_special_tokens=False)["input_ids"]
        engine.submit(Request(name, ids, [sample_seed(seed, name, n) for n in range(SAMPLES)]))
    found: list[list[Sample]] = []
    for request, completions in engine.results():
        judged = verifier.judge((each.text, golds[request.request_id]) for each in completions)
        rights = [each.verdict is Verdict.CORRECT for each in judged]
        if any(rights) and not all(rights):
            prompt = list(request.prompt_ids)
            samples = zip(completions, rights, strict=True)
            found.append([(prompt, list(each.token_ids), right) for each, right in samples])
    verifier.close()
    yield found[::2]
    yield found[1::2]


if __name__ == "__main__":
    sys.exit(main())
