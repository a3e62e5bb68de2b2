"""Verdicts per second compared with plain math-verify, on GSM8K and MATH.

    python -m benchmarks.verification [--data FOLDER] [--items N] [--rows N] [--cases FILE]

Both judge the same responses against the same golds in one run, taking turns every hundred: math-verify by
``parse`` and ``verify`` with its own time-outs, in this process, Misstep with one worker, whose start is not timed.
Responses are the official solutions, once against their own gold and once against that of another problem.
``--cases`` also judges pairs of which is known whether they are equal (by default those of the tests), and counts by
kind what was judged otherwise. ``--rows`` also writes a file of so many rows, scores it as
``misstep verify`` does, and prints rows per second and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "services"))

from misstep.terms.verdict import VERIFIER_VERSION, Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.gold import gold_answer
from misstep.verification.table import verify_file
from misstep.verification.verifier import Verifier

Pairs = list[tuple[str, str]]
TURN = 100
PAIRS = Path(__file__).parents[1] / "tests" / "verification" / "pairs.jsonl"


def main() -> None:
    """Run the comparison and print a table."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MISSTEP_TEST_DATA") or beside))
    parser.add_argument("--items", type=int, default=1000, help="responses of each kind (default 1000)")
    parser.add_argument("--rows", type=int, default=0, help="rows of a file to score as well, e.g. 1000000")
    parser.add_argument("--cases", type=Path, default=PAIRS, help="JSONL of response, gold, expected, kind")
    options = parser.parse_args()

    print(f"{VERIFIER_VERSION}, up to {options.items} responses of each kind")
    print(f"{'responses':<34}{'math-verify':>14}{'misstep':>14}{'ratio':>8}   verdicts (misstep), agreement on correct")
    for name, answer_format, pairs in workloads(options.data, options.items):
        compare(name, answer_format, pairs)
    judge_cases(options.cases)
    if options.rows:
        score_file(options.data, options.rows)


def workloads(data: Path, items: int) -> list[tuple[str, AnswerFormat, Pairs]]:
    """The responses with their golds, by kind."""
    rng = random.Random(0)
    gsm8k = [row["answer"] for row in rows(data / "gsm8k" / "test.jsonl")]
    math = [row["solution"] for row in rows(data / "math" / "test.jsonl")]
    found = []
    for name, solutions, answer_format in (("GSM8K", gsm8k, AnswerFormat.HASH), ("MATH", math, AnswerFormat.BOXED)):
        chosen = rng.sample(solutions, min(items, len(solutions)))
        golds = [gold_answer(solution) for solution in chosen]
        others = golds[1:] + golds[:1]
        found += [
            (f"{name} solutions, right", answer_format, list(zip(chosen, golds, strict=True))),
            (f"{name} solutions, another's gold", answer_format, list(zip(chosen, others, strict=True))),
        ]
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file, or exit with a message on how to give the folder."""
    if not path.is_file():
        sys.exit(f"{path} is not there: name the folder that holds gsm8k/ and math/ with --data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(name: str, answer_format: AnswerFormat, pairs: Pairs) -> None:
    """Time both on the same pairs, alternating, and print one line."""
    from math_verify import parse, verify

    slow = fast = 0.0
    agreed = 0
    counts: Counter[Verdict] = Counter()
    with Verifier(answer_format) as verifier:
        verifier.judge_one(r"\boxed{x} #### x", "y + 1")
        for first in range(0, len(pairs), TURN):
            turn = pairs[first : first + TURN]
            start = time.perf_counter()
            # A bare gold is no LaTeX to math-verify: it has to be marked as such, as its own examples do.
            theirs = [verify(parse(f"${gold}$"), parse(response)) for response, gold in turn]
            middle = time.perf_counter()
            verdicts = [judgement.verdict for judgement in verifier.judge(turn)]
            fast += time.perf_counter() - middle
            slow += middle - start
            agreed += sum(a == (b is Verdict.CORRECT) for a, b in zip(theirs, verdicts, strict=True))
            counts.update(verdicts)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    rates = f"{len(pairs) / slow:>12,.0f}/s{len(pairs) / fast:>12,.0f}/s{slow / fast:>7.1f}x"
    print(f"{name:<34}{rates}   {said}; {agreed}/{len(pairs)}", flush=True)


def judge_cases(path: Path) -> None:
    """Count wrong judgements, in both directions."""
    cases = rows(path)
    with Verifier(AnswerFormat.AUTO) as verifier:
        verdicts = [j.verdict for j in verifier.judge((case["response"], case["gold"]) for case in cases)]
    counts: Counter[tuple[str, str]] = Counter()
    for case, verdict in zip(cases, verdicts, strict=True):
        if case["expected"] and verdict is not Verdict.CORRECT:
            counts["right ones judged wrong" if verdict is Verdict.WRONG else "right ones undecided", case["kind"]] += 1
        elif not case["expected"] and verdict is Verdict.CORRECT:
            counts["wrong ones accepted", case["kind"]] += 1
    right = sum(case["expected"] for case in cases)
    print(f"{len(cases):,} pairs of {path.name}, {right:,} of them equal:")
    for outcome in ("wrong ones accepted", "right ones judged wrong", "right ones undecided"):
        kinds = {kind: count for (what, kind), count in counts.items() if what == outcome}
        print(f"  {outcome}: {sum(kinds.values())}" + (f" {kinds}" if kinds else ""))


def score_file(data: Path, count: int) -> None:
    """Judge a file of GSM8K solutions, each with its own number, in a process whose memory is measured."""
    solutions = [row["answer"].rsplit("####", 1)[0] for row in rows(data / "gsm8k" / "train.jsonl")]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for n in range(count):
                response = f"{solutions[n % len(solutions)]}#### {n}"
                file.write(json.dumps({"response": response, "gold": str(n + n % 2)}) + "\n")
        start = time.perf_counter()
        counts = verify_file(source, "response", "gold", Path(folder) / "out.jsonl", AnswerFormat.HASH)
        took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"{count:,} rows of JSONL: {count / took:,.0f} rows/s, {dict(counts)}, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
