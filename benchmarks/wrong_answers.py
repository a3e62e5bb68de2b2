"""Policies of the two generated tasks, and the wrong answers that they give: what benchmarks of credit start from.

``strides`` is the quickstart's task: the committed base, fine-tuned a little on the teacher's solutions (the base
itself writes few steps). ``long-strides`` is the format of that name with a teacher who skips one operation in ten, so
that a solution has about eight steps: a base of the same size is pre-trained first, in a few minutes, and kept in
``build/``.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from quickstart.make_base import Base, make
from quickstart.pretraining import Recipe

from misstep.credit.evidence import Known
from misstep.credit.selection import CreditProblem, ProblemTally, SampledResponse
from misstep.generation.engine import Engine, Request
from misstep.generation.loading import load_model
from misstep.generation.seeds import sample_seed
from misstep.problems.drawing import GeneratedProblem
from misstep.problems.strides import LONG, MOST_POSITIONS, StridesTask
from misstep.terms.verdict import Verdict
from misstep.verification.verifier import Verifier

ROOT = Path(__file__).parents[1]
BASE = ROOT / "examples" / "quickstart-base"
LONG_BASE = ROOT / "build" / "long-strides-base"
_LONG = replace(LONG, teacher=(0.9, 0.1))
_LONG_RECIPE = Recipe(steps=1200, blurts=0.1, strides=(0.8, 0.2), lengths=(4, MOST_POSITIONS))


@dataclass(frozen=True)
class Task:
    """A generated task, the folder of its base model, and the tokens that a response may have."""

    name: str
    problems: StridesTask
    base: Path
    epochs: int
    max_new_tokens: int


TASKS = {
    "strides": Task("strides", StridesTask(), BASE, epochs=8, max_new_tokens=48),
    "long-strides": Task("long-strides", _LONG, LONG_BASE, epochs=2, max_new_tokens=72),
}


@dataclass(frozen=True)
class Answers:
    """What a policy answered: the problems with negatives that can be credited, the questions of all, and the correct
    answers by problem."""

    problems: list[CreditProblem]
    questions: dict[str, str]
    correct: dict[str, list[tuple[int, ...]]]


def open_policy(task: Task, folder: Path | None, problems: int, epochs: int, seed: int) -> tuple[Any, Any]:
    """Return a model and its tokenizer.

    Args:
        folder: of the model; None for the task's base.
        problems: how many to fine-tune on.
        epochs: of fine-tuning; 0 leaves the model as it is.
    """
    if folder is None:
        folder = task.base
        if folder == LONG_BASE and not folder.exists():
            print("pre-training the base of long-strides ...", file=sys.stderr)
            make(Base(folder, _LONG_RECIPE, MOST_POSITIONS), folder)
    model, tokenizer = load_model(folder, "float32")
    _fine_tune(model, tokenizer, list(task.problems.generate("train", problems, seed)), epochs, seed)
    return model, tokenizer


def _fine_tune(model: Any, tokenizer: Any, problems: Sequence[GeneratedProblem], epochs: int, seed: int) -> None:
    """Train on the teacher's solutions, prompt left out of the loss: batches of 64, learning rate 1e-3."""
    torch.manual_seed(seed)
    rows = []
    for problem in problems:
        prompt = tokenizer(problem.question + "\n", add_special_tokens=False)["input_ids"]
        answer = tokenizer(problem.solution, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append((prompt, answer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    model.train()
    for _ in range(epochs):
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


def answer(
    task: Task, engine: Engine, verifier: Verifier, *, problems: int, samples: int, negatives: int, seed: int
) -> Answers:
    """Let a policy answer problems of a task.

    Args:
        samples: answers to each problem.
        negatives: wrong answers of each problem that are credited, at most.
    """
    generated = {f"p{n:05d}": problem for n, problem in enumerate(task.problems.generate("train", problems, seed=seed))}
    for name, problem in generated.items():
        ids = engine.tokenizer(problem.question + "\n", add_special_tokens=False)["input_ids"]
        engine.submit(Request(name, ids, [sample_seed(seed, name, n) for n in range(samples)]))
    drawn = {request.request_id: (request, completions) for request, completions in engine.results()}
    found = []
    correct: dict[str, list[tuple[int, ...]]] = {}
    for name, problem in generated.items():
        request, completions = drawn[name]
        tally = ProblemTally()
        known = []
        for number, completion in enumerate(completions):
            finished = completion.finish_reason == "stop"
            verdict = verifier.judge_one(completion.text, problem.gold).verdict if finished else Verdict.UNPARSABLE
            digest = hashlib.sha256(repr(completion.token_ids).encode()).digest()
            if verdict is Verdict.CORRECT:
                correct.setdefault(name, []).append(completion.token_ids)
            known.append((number, Known(completion.token_ids, verdict is Verdict.CORRECT)))
            tally.add(number, verdict, completion.finish_reason, digest, room=True)
        chosen = tally.negatives(negatives)
        if chosen and tally.other_samples().correct:
            wrong = tuple(SampledResponse(n, completions[n].token_ids, completions[n].text) for n in chosen)
            prompt = tuple(request.prompt_ids)
            found.append(CreditProblem(name, problem.gold, prompt, tally.other_samples(), wrong, known=tuple(known)))
    return Answers(found, {name: problem.question for name, problem in generated.items()}, correct)
