"""Pairs of every kind of answer that people write: the rule holds in both directions.

``pairs.jsonl`` next to this file is our own; ``verify.jsonl`` is a sample next to the checkout on some
machines. In both, ``expected`` says whether the response must be accepted. A response that must not be may be ``wrong``
or undecided; one that must be is never ``wrong``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from misstep.terms.verdict import Verdict
from misstep.verification.verifier import Verifier

OWN = Path(__file__).with_name("pairs.jsonl")
SAMPLE = Path(__file__).parents[3] / "shared" / "cases" / "verify.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


PAIRS = read(OWN)
KINDS = sorted({pair["kind"] for pair in PAIRS})


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_a_kind(auto: Verifier, kind: str) -> None:
    pairs = [pair for pair in PAIRS if pair["kind"] == kind]
    judgements = list(auto.judge((pair["response"], pair["gold"]) for pair in pairs))
    failed = [
        (pair["response"], pair["gold"], judgement)
        for pair, judgement in zip(pairs, judgements, strict=True)
        if (judgement.verdict is Verdict.CORRECT) != pair["expected"]
    ]
    assert failed == []


def test_both_directions_stand_in_every_kind() -> None:
    counted = Counter((pair["kind"], pair["expected"]) for pair in PAIRS)
    assert all(counted[kind, True] and counted[kind, False] for kind in KINDS)
    assert len(PAIRS) >= 300


def test_the_sample(auto: Verifier) -> None:
    if not SAMPLE.is_file():
        pytest.skip(f"no sample of answers at {SAMPLE}")
    rows = read(SAMPLE)
    judgements = list(auto.judge((row["response"], row["gold"]) for row in rows))
    found: dict[str, list[tuple[str, str, str]]] = {
        "wrong accepted": [],
        "right judged wrong": [],
        "right undecided": [],
    }
    for row, judgement in zip(rows, judgements, strict=True):
        pair = (row["kind"], row["response"], row["gold"])
        if not row["expected"] and judgement.verdict is Verdict.CORRECT:
            found["wrong accepted"].append(pair)
        elif row["expected"] and judgement.verdict is Verdict.WRONG:
            found["right judged wrong"].append(pair)
        elif row["expected"] and judgement.verdict is not Verdict.CORRECT:
            found["right undecided"].append(pair)
    assert found["wrong accepted"] == []
    assert len(found["right judged wrong"]) <= 3, found["right judged wrong"]
    assert len(found["right undecided"]) <= 25, found["right undecided"]


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        (r"\boxed{3,5}", "3.5"),  # a list, or a decimal
        ("#### 54,", "54"),  # cut off inside 54,000, or not
        (r"\boxed{5m}", "5"),  # metres, or a variable
        (r"\boxed{1.234}", "1234"),
        (r"\boxed{12,345}", "12.345"),
        (r"\boxed{(1,2)}", "[1,2]"),
        (r"\boxed{12\text{ apples}}", r"12\text{ oranges}"),
        (r"\boxed{8\text{ cm}}", r"8\text{ cm}^2"),
        (r"\boxed{8:15}", "20:15"),
        (r"\boxed{3/5/2024}", "2024-05-03"),
        (r"\boxed{\text{decreasing}}", r"\text{it falls}"),
        (r"\boxed{B}", "12"),
        (r"\boxed{C(5,2)}", "10"),  # a function, or a product
        (r"\boxed{5P2}", "20"),
        (r"\boxed{\varphi(10)}", "4"),
        (r"\boxed{f(2)}", "5"),
        (r"\boxed{12k}", "12000"),  # thousands, or a variable
        (r"\boxed{2k\pi}", r"2n\pi"),
        ("#### 12 cats and dogs", "12"),
        ("The answer is 10 if it rains and 15 if it does not.", "10"),
        ("Is the answer 9?", "9"),
        (r"\boxed{12x \foo}", "12x"),
        ("The answer is 7 times 8.", "56"),
        ("The answer is either 3 or 4.", "7"),
    ],
)
def test_what_is_not_understood_is_undecided(auto: Verifier, response: str, gold: str) -> None:
    assert auto.judge_one(response, gold).verdict is Verdict.UNPARSABLE
