"""A made-up experiment of the size of the quickstart's, as committed artifacts: nothing is trained, everything is drawn
at random.

The process, with every number fixed by ``World.seed``:

- A problem walks a start state through numbered operations; its solution has one line per operation and an answer.
  Each test problem has a difficulty h ~ N(0, 0.8). A model with accuracy p solves a sample of it with probability
  logistic(1.2 logit(p) + h), so samples of one problem agree more than samples of different ones.
- SFT's error is ``1.55 * D**-0.16`` times exp(N(0, 0.02)) per size and seed; the other arms have the fixed accuracies
  of ``ACCURACY`` plus N(0, 0.015) per seed. Of the samples that are not right 4% are unparsable and 1% time out;
  half of the unparsable ones are cut off. Wrong answers fall on a few neighbours of the right one, so that votes tie.
- A wrong solution goes wrong at a step that is uniform over its steps. Q before that step rises from 0.55 on average
  with noise, Q after it is 0, except that one in ten recovers to 0.2. With 15% of the negatives the problem was never
  solved: no pit. Every third pit has no correct continuation, hence no pair.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts import manifest, records
from misstep.artifacts.output import Output
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.params import GridPoint, ReportParams
from misstep.stages.shell import run_stage
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep.terms.layouts import FROM_CREDIT, FROM_ORACLE, ONE_STEP
from tests.artifacts.making import finish_block, frozen

ACCURACY = {
    ("rft", None): 0.49,
    ("dpo", "random"): 0.60,
    ("dpo", "edit-distance"): 0.47,
    ("dpo", "shared-prefix"): 0.545,
    ("dpo", "whole-response"): 0.52,
    ("dpo", "placebo-cut"): 0.5,
    ("dpo", "oracle-pit"): 0.65,
}
ARMS: tuple[tuple[str, str, str | None], ...] = (
    ("sft", "sft", None),
    ("rft", "rft", None),
    ("dpo-random", "dpo", "random"),
    ("dpo-edit-distance", "dpo", "edit-distance"),
    ("dpo-step", "dpo", "shared-prefix"),
    ("dpo-step-whole", "dpo", "whole-response"),
)
CONTROLS = (("dpo-placebo", "dpo", "placebo-cut"), ("dpo-oracle", "dpo", "oracle-pit"))


@dataclass
class World:
    folder: Path
    seed: int = 0
    sft_sizes: tuple[int, ...] = (125, 250, 500, 1000, 2000)
    method_sizes: tuple[int, ...] = (250,)
    seeds: tuple[int, ...] = (0, 1)
    arms: tuple[tuple[str, str, str | None], ...] = ARMS
    test_problems: int = 600
    samples: int = 4
    negatives: int = 300
    credit_summary: dict[str, Any] = field(default_factory=dict)
    """More fields of the credit stages' summaries."""
    solved: float = 1.0
    """Factor on every model's chance to be right; 0: nothing is ever solved."""
    hostile: str = ""
    """Put into every text that a model or a data set could have written."""
    dropped_percent: int = 0
    """Number of dropped training rows of each model, in addition to those that it was trained on."""
    missing: tuple[tuple[str, int], ...] = ()
    """(arm, seed) that were not run."""
    bad_golds: int = 2
    """Training problems that were dropped since they have no final answer."""
    pass_at: tuple[int, ...] = (1, 4)
    bootstrap: int = 400
    examples: int = 3
    from_arm: dict[str, str] = field(default_factory=dict)
    """Arm -> the arm whose model it starts from; the others start from SFT's policy."""
    own_solved: float = 0.4
    """Share of its own training problems that SFT's policy solves when checkpoints are scored; of others it solves what
    ``_accuracy`` gives."""
    own_correct: float = 0.33
    """Share of its samples on its own training problems that is right, of every policy."""
    accuracy: dict[tuple[str, str | None], float] = field(default_factory=lambda: dict(ACCURACY))

    def __post_init__(self) -> None:
        self.storage = Storage(uri=f"file://{self.folder}/store")
        self.store = open_store(self.storage)
        self.problems = self._problems()
        self._negatives: dict[tuple[int, int, str | None], list[dict[str, Any]]] = {}

    def params(self) -> ReportParams:
        grid = tuple(
            GridPoint.model_validate(
                {"arm": arm, "method": method, "layout": layout, "size": size, "seed": seed}
                | {"from_arm": self.from_arm.get(arm)}
            )
            for seed in self.seeds
            for size in sorted({*self.sft_sizes, *self.method_sizes})
            for arm, method, layout in self.arms
            if size in (self.sft_sizes if method == "sft" else self.method_sizes) and (arm, seed) not in self.missing
        )
        return ReportParams(
            title=f"strides with quickstart-base{self.hostile}",
            grid=grid,
            bootstrap=self.bootstrap,
            bootstrap_seed=0,
            examples=self.examples,
        )

    def commit(self, kind: StageKind, name: str, tables: dict[str, pa.Table], summary: dict[str, Any]) -> str:
        """Commit an artifact as its stage would; return its key."""
        stage = frozen(kind, {"made": name}, self.storage, {"problems": self.problems} if name else {})
        finish_block(self.store, stage, 0, 1, Output(tables=tables, summary=summary), self.folder)
        manifest.commit(self.store, stage, 1)
        return stage.key

    def report_stage(self) -> FrozenStage:
        """Commit all inputs of the report and return its stage."""
        params = self.params()
        inputs = {"problems": self.problems}
        shared: dict[tuple[str, int, int, str | None], str] = {}
        models: dict[tuple[str, int, int], str] = {}

        def once(name: str, point: GridPoint, make: Callable[[int, int, str | None], str]) -> str:
            at = (name, point.size, point.seed, point.from_arm)
            if at not in shared:
                shared[at] = make(point.size, point.seed, point.from_arm)
            return shared[at]

        for i, point in enumerate(params.grid):
            inputs[f"score_{i}"] = self.score(i, point)
            pairs = None
            if point.method != "sft":
                inputs[f"samples_{i}"] = once("samples", point, self._own_samples)
                inputs[f"verdicts_{i}"] = once("verdicts", point, self._own_verdicts)
            if point.layout in FROM_CREDIT:
                inputs[f"credit_{i}"] = once("credit", point, self._credit)
            if point.method == "dpo":
                inputs[f"pairs_{i}"], pairs = self._pairs(i, point)
            inputs[f"model_{i}"] = models[point.arm, point.size, point.seed] = self._model(i, point, pairs)
        sft = next((arm for arm, method, _ in self.arms if method == "sft"), "")
        for i, point in enumerate(params.grid):
            policy = models.get((point.from_arm or sft, point.size, point.seed))
            if point.method != "sft" and policy is not None:
                inputs[f"policy_{i}"] = policy
        return frozen(StageKind.REPORT, params.model_dump(mode="json"), self.storage, inputs)

    def score(self, index: int, point: GridPoint) -> str:
        """Draw the test samples of one grid point and run the score stage on them; return its key."""
        rng = random.Random(f"{self.seed}/{index}")
        accuracy = self._accuracy(point, rng)
        samples, verdicts = [], []
        for number in range(self.test_problems):
            difficulty = random.Random(f"{self.seed}/difficulty/{number}").gauss(0, 0.8)
            chance = self.solved * _logistic(1.2 * _logit(accuracy) + difficulty)
            gold = number % 29
            for sample in range(self.samples):
                verdict, extracted, cut = _answer(rng, chance, gold)
                name = f"test-{number:05d}"
                samples.append(_sample(name, sample, self.hostile, cut))
                verdicts.append(_verdict(name, sample, verdict, extracted))
        inputs = {"problems": self.problems} | self.commit_answers(f"{index}", samples, verdicts)
        stage = frozen(StageKind.SCORE, {"pass_at": self.pass_at}, self.storage, inputs)
        assert run_stage(stage).committed
        return stage.key

    def commit_answers(
        self, name: str, samples: list[dict[str, Any]], verdicts: list[dict[str, Any]]
    ) -> dict[str, str]:
        """Commit test samples with their verdicts, as the sample and verify stages would."""
        tables = {
            "samples": pa.Table.from_pylist(samples, schema=records.SAMPLES),
            "verdicts": pa.Table.from_pylist(verdicts, schema=records.VERDICTS),
        }
        return {
            "samples": self.commit(StageKind.SAMPLE, name, {"samples": tables["samples"]}, {}),
            "verdicts": self.commit(StageKind.VERIFY, name, {"verdicts": tables["verdicts"]}, {}),
        }

    def _accuracy(self, point: GridPoint, rng: random.Random) -> float:
        if point.method == "sft":
            return max(0.02, 1 - 1.55 * math.exp(rng.gauss(0, 0.02) - 0.16 * math.log(point.size)))
        return self.accuracy[point.method, point.layout] + rng.gauss(0, 0.015)

    def _problems(self) -> str:
        train = max((*self.sft_sizes, *self.method_sizes))
        rows = [
            {
                "problem_id": f"{split}-{number:05d}",
                "split": split,
                "question": _walk(self.seed, split, number)[0] + self.hostile,
                "gold": str(_walk(self.seed, split, number)[1][-1]),
                "solution": None,
                "solution_verdict": None,
                "source": "strides",
            }
            for split, count in (("test", self.test_problems), ("train", train))
            for number in range(count)
        ]
        summary = {
            "problems": {"test": self.test_problems, "train": train, "validation": 500},
            "rows": {"test": self.test_problems, "train": train + 9},
            "no_question": {"train": 2},
            "duplicates": {"train": 3},
            "duplicates_with_another_answer": {"train": 1},
            "bad_gold": {"train": self.bad_golds},
            "bad_gold_reasons": {"train": {"a sentence": self.bad_golds - 1, "empty": 1}},
            "bad_gold_examples": [f"train, line 7: 'forty'{self.hostile}"],
            "remarks": {"train": {"the system turn is left out": 5}},
            "without_solution": 6,
            "test_problems_in_training": 1,
            "left_out_of_training": 2,
            "teacher_solutions": {"correct": train, "wrong": 4},
        }
        table = pa.Table.from_pylist(rows, schema=records.PROBLEMS)
        return self.commit(StageKind.PROBLEMS, "", {"problems": table}, summary)

    def _own_samples(self, size: int, seed: int, start: str | None) -> str:
        return self.commit(StageKind.SAMPLE, _named("own", size, seed, start), {}, {"samples": size * 16})

    def _own_verdicts(self, size: int, seed: int, start: str | None) -> str:
        total = size * 16
        correct = round(total * self.own_correct * self.solved)
        verdicts = {"correct": correct, "wrong": total - correct - 60, "unparsable": 55, "timeout": 5}
        verdicts = {name: count for name, count in verdicts.items() if count}
        summary = {"samples": total, "verdicts": verdicts, "cut_off": 31}
        return self.commit(StageKind.VERIFY, _named("own", size, seed, start), {}, summary)

    def _credit(self, size: int, seed: int, start: str | None) -> str:
        rng = random.Random(_named(f"{self.seed}/credit", size, seed, start, "/"))
        rows = [self._negative(rng, number % size) for number in range(self.negatives)]
        rows = list({(row["problem_id"], row["sample"]): row for row in rows}.values())
        pits = [(row["pit"], len(row["step_ends"])) for row in rows if row["pit"]]
        prefixes = sum(len(row["q"]) for row in rows)
        solved = any(row["pit"] for row in rows)
        never = sum(row["pit"] is None for row in rows)
        summary = {
            "outcome": "credited"
            if solved
            else "no pits: the policy solved none of the problems that it has negatives of"
            if rows
            else "no negatives: no sample is a wrong answer that ended by itself",
            "estimator": "full-scan",
            "problems": size,
            "problems_with_negatives": len({row["problem_id"] for row in rows}),
            "negatives": len(rows),
            "steps": sum(len(row["step_ends"]) for row in rows),
            "prefixes": prefixes,
            "prefixes_unshared": round(prefixes * 1.4),
            "rollouts": prefixes * 5,
            "generated_tokens": prefixes * 5 * 17,
            "prompt_tokens": prefixes * 40,
            "rollout_verdicts": {"correct": prefixes * 2, "wrong": prefixes * 3 - 9, "cut_off": 9} if rows else {},
            "pits": len(pits),
            "no_pit": {"never-solved": never} if never else {},
            "pit_step": dict(sorted(Counter(f"{pit:02d}" for pit, _ in pits).items())),
            "pit_percent": dict(sorted(Counter(f"{-(-10 * p // n) * 10:03d}" for p, n in pits).items())),
            "not_chosen": {"repeated": 11} if rows else {},
            **(self.credit_summary if rows else {}),
        }
        table = pa.Table.from_pylist(rows, schema=records.NEGATIVES)
        self._negatives[size, seed, start] = rows
        return self.commit(StageKind.CREDIT, _named("", size, seed, start), {"negatives": table}, summary)

    def _negative(self, rng: random.Random, number: int) -> dict[str, Any]:
        question, states = _walk(self.seed, "train", number)
        lines = _lines(question, states)
        wrong = rng.randrange(1, len(lines) + 1)
        for index in range(wrong - 1, len(lines)):
            operations, _, _ = lines[index].rpartition(" ")
            lines[index] = f"{operations} {rng.randrange(29)}"
        texts = [f"{line}{self.hostile}\n" for line in lines]
        ids = [[min(ord(c), 255) for c in text] for text in texts]
        ends = [sum(map(len, ids[: i + 1])) for i in range(len(ids))]
        level = min(1.0, max(0.2, rng.gauss(0.55, 0.2)))
        q: list[float] = []
        for index in range(len(lines) + 1):
            if index < wrong:
                level = min(1.0, level + rng.uniform(0.0, 0.12))
                q.append(round(level * 10) / 10)
            else:
                q.append(0.2 if index < len(lines) and rng.random() < 0.1 else 0.0)
        pit: int | None = next(i for i in range(1, len(q)) if q[i] == 0.0 and q[i - 1] > 0)
        if self.solved == 0.0 or rng.random() < 0.15:
            q, pit = [0.0] * len(q), None
        return {
            "problem_id": f"train-{number:05d}",
            "sample": rng.randrange(16),
            "token_ids": [i for line in ids for i in line],
            "text": "".join(texts),
            "step_ends": ends,
            "step_texts": texts,
            "prefix_ids": [f"p{i}" for i in range(len(q))],
            "q": q,
            "advantages": [b - a for a, b in pairwise(q)],
            "alive": [float(value > 0) for value in q],
            "certainty": None,
            "solved": [round(5 * value) for value in q[:-1]],
            "failed": [5 - round(5 * value) for value in q[:-1]],
            "pit": pit,
            "reason": None if pit else "never-solved",
        }

    def _pairs(self, index: int, point: GridPoint) -> tuple[str, int]:
        rows: list[dict[str, Any]] = []
        if point.layout in FROM_CREDIT:
            negatives = self._negatives[point.size, point.seed, point.from_arm]
            pits = [row for row in negatives if row["pit"]]
            usable = [row for number, row in enumerate(pits) if number % 3]
        elif self.solved:
            usable = [self._negative(random.Random(n), n % point.size) for n in range(self.negatives)]
            negatives = usable
            pits = usable
        else:
            pits, usable, negatives = [], [], []
        for number, row in enumerate(usable):
            question, states = _walk(self.seed, "train", int(row["problem_id"][6:]))
            lines = _lines(question, states)
            start = row["pit"] - 1 if point.layout in ONE_STEP and row["pit"] else 0
            rows.append(
                {
                    "pair_id": f"{index}-{number}",
                    "problem_id": row["problem_id"],
                    "layout": point.layout,
                    "negative_sample": row["sample"],
                    "pit": row["pit"],
                    "prompt_ids": [1],
                    "chosen_ids": [2],
                    "rejected_ids": [3],
                    "chosen_source": "rollout" if point.layout in ONE_STEP else "sample",
                    "rejected_complete": point.layout in ("random", "edit-distance", "teacher"),
                    "chosen_text": "\n".join(lines[start:]) + self.hostile,
                    "rejected_text": row["text"],
                    "weight": 1.0,
                }
            )
        reasons = {"never-solved": len(negatives) - len(pits), "no-continuation": len(pits) - len(usable)}
        dropped = {reason: count for reason, count in reasons.items() if count}
        summary = {
            "layout": point.layout,
            "candidates": len(negatives),
            "pairs": len(rows),
            "problems_with_pairs": len({row["problem_id"] for row in rows}),
            "chosen_source": dict(Counter(row["chosen_source"] for row in rows)),
            "dropped": dropped,
        }
        if point.layout == "placebo-cut":
            summary |= {"cut_at_pit": len(rows) // 2, "no_other_cut": len(rows) // 4}
        if point.layout in FROM_ORACLE:
            places = {"pit_is_oracle": len(pits) - 5, "pit_before_oracle": 2, "pit_after_oracle": 3}
            summary["agreement"] = places | {"no_pit": len(negatives) - len(pits), "no_true_error": 0}
        table = pa.Table.from_pylist(rows, schema=records.PAIRS)
        return self.commit(StageKind.PAIRS, f"{index}", {"pairs": table}, summary), len(rows)

    def _model(self, index: int, point: GridPoint, pairs: int | None) -> str:
        rng = random.Random(f"{self.seed}/model/{index}")
        rows = point.size if pairs is None else pairs
        if point.method == "rft" and not self.solved:
            rows = 0
        log, selection = [], []
        if rows:
            epochs = 2 if point.method == "dpo" else 16
            steps = max(1, epochs * rows // 64)
            log = [
                {
                    "step": step,
                    "epoch": epochs * step / steps,
                    "loss": 0.69 * math.exp(-1.2 * step / steps) + 0.01 * rng.random(),
                    "learning_rate": 1e-3,
                    "grad_norm": 1.0,
                    "rewards_accuracy": None,
                    "rewards_margin": None,
                }
                for step in range(1, steps + 1)
            ]
            scored = (4, 8, 16) if point.method != "dpo" else (1, 2)
            selection = [
                {
                    "epoch": epoch,
                    "step": steps * epoch // epochs,
                    "problems": 500,
                    "correct": round(500 * self.solved * self._accuracy(point, rng)),
                    "train_problems": 200 if point.method == "sft" else 0,
                    "train_correct": round(200 * self.solved * self.own_solved) if point.method == "sft" else 0,
                    "chosen": number == 1,
                    "policy": number == 0 and point.method == "sft",
                }
                for number, epoch in enumerate(scored)
            ]
        summary: dict[str, Any] = {"trained": bool(rows), "rows": rows}
        if self.dropped_percent and rows:
            dropped = math.ceil(rows * self.dropped_percent / 100)
            summary |= {"dropped": {"too-long": dropped, "not-correct": 7}, "rows_dropped": dropped}
        policy = next((row for row in selection if row["policy"]), None)
        if policy is not None:
            summary["policy"] = {
                "epoch": policy["epoch"],
                "validation_problems": policy["problems"],
                "validation_correct": policy["correct"],
                "train_problems": policy["train_problems"],
                "train_correct": policy["train_correct"],
            }
        if rows:
            summary["shown"] = [self._shown(point, row) for row in range(3)]
        else:
            summary["reason"] = "no pairs" if point.method == "dpo" else "no positives"
        tables = {
            "log": pa.Table.from_pylist(log, schema=records.TRAINING_LOG),
            "selection": pa.Table.from_pylist(selection, schema=records.SELECTION),
        }
        return self.commit(StageKind(point.method), f"{index}", tables, summary)

    def _shown(self, point: GridPoint, row: int) -> dict[str, Any]:
        question, states = _walk(self.seed, "train", row)
        answer = "\n".join(_lines(question, states)) + self.hostile + "<eos>"
        names = ["chosen", "rejected"] if point.method == "dpo" else ["response"]
        segments = [{"name": "prompt", "text": f"\n{question}{self.hostile}", "tokens": 9, "loss": False}]
        segments += [{"name": name, "text": f"{name}: {answer}", "tokens": 8, "loss": True} for name in names]
        return {"row": row, "tokens": 17, "segments": segments}


def _named(what: str, size: int, seed: int, start: str | None, between: str = "-") -> str:
    """Name what is of one policy."""
    return between.join(filter(None, (what, str(size), str(seed), start)))


def _walk(seed: int, split: str, number: int) -> tuple[str, list[int]]:
    """Return a question and the states after each operation, the start among them."""
    rng = random.Random(f"{seed}/{split}/{number}")
    operations = [rng.choice("abcdef") for _ in range(rng.randrange(4, 7))]
    states = [rng.randrange(29)]
    for name in operations:
        states.append((states[-1] * 5 + 7 * ord(name)) % 29)
    listed = "".join(f"{i}.{name} " for i, name in enumerate(operations, 1))
    return f"start {states[0]}: {listed}?", states


def _lines(question: str, states: list[int]) -> list[str]:
    operations = question.partition(": ")[2].split("?")[0].split()
    return [
        *(f"{name} {state}" for name, state in zip(operations, states[1:], strict=True)),
        f"#### {states[-1]}",
    ]


def _answer(rng: random.Random, chance: float, gold: int) -> tuple[str, str | None, bool]:
    if rng.random() < chance:
        return "correct", str(gold), False
    kind = rng.random()
    if kind < 0.04:
        return "unparsable", None, rng.random() < 0.5
    if kind < 0.05:
        return "timeout", None, False
    return "wrong", str((gold + rng.choice((1, 1, 2, 3))) % 29), False


def _sample(problem: str, sample: int, text: str, cut: bool) -> dict[str, Any]:
    reason = "length" if cut else "stop"
    row = {"problem_id": problem, "sample": sample, "text": text, "finish_reason": reason}
    return row | {"prompt_ids": [1], "token_ids": [2]}


def _verdict(problem: str, sample: int, verdict: str, extracted: str | None) -> dict[str, Any]:
    return {
        "problem_id": problem,
        "sample": sample,
        "verdict": verdict,
        "extracted": extracted,
        "rule": "hash",
        "verifier": "made-up/1",
    }


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
