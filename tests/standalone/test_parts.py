"""The pure parts: what is chosen, what it costs, how labels compare, and what a second run may change."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.steps import Steps
from misstep.credit.values import Counts
from misstep.errors import BadInput
from misstep.plan.params import CreditParams, DecodingParams
from misstep.standalone.choosing import CREDITED, REASONS, Chooser
from misstep.standalone.columns import Columns
from misstep.standalone.encoding import Encoded
from misstep.standalone.judging import GOLD_UNREADABLE
from misstep.standalone.labels import Labelled, compare
from misstep.standalone.planning import cost_of
from misstep.standalone.rows import Given, GivenFile, GivenProblem
from misstep.standalone.run import Shard, parse_shard
from misstep.standalone.settings import difference
from misstep.terms.first_error import harmonic_mean
from misstep.terms.verdict import Judgement, Verdict

VERDICTS = st.sampled_from(
    [
        *((verdict, "a") for verdict in Verdict),
        (Verdict.UNPARSABLE, GOLD_UNREADABLE),
    ]
)


def params(**changes) -> CreditParams:
    decoding = DecodingParams(engine="transformers", dtype="float32", temperature=1, top_p=1, max_new_tokens=20)
    values = {
        "estimator": "full-scan", "rollouts": 4, "best_of": 2, "negatives_per_problem": 2, "max_negatives": None,
        "max_steps": 9, "step_rule": "lines", "answer_format": "auto", "timeout_seconds": 2.0, "decoding": decoding,
        "seed": 0,
    }  # fmt: skip
    return CreditParams(**{**values, **changes})


def encoded(given: Given, _prompt: tuple[int, ...]) -> Encoded:
    """One token a character, one step a token; a text with z is changed by the tokenizer."""
    if "z" in given.text:
        return Encoded(problem="changed-by-tokenizer", difference="z")
    ids = tuple(map(ord, given.text))
    return Encoded(ids, given.text, Steps(tuple(range(1, len(ids) + 1)), tuple(given.text)))


def file_of(problems: list[list[str]]) -> GivenFile:
    read = GivenFile(Columns("q", "g", "r"))
    for number, found in enumerate(problems):
        responses = [Given(f"line {sample}", sample, text) for sample, text in enumerate(found)]
        read.problems[f"p{number}"] = GivenProblem(f"p{number}", f"question {number}", "1", responses)
    return read


def chosen(problems, verdicts, own=False, **changes):
    read = file_of(problems)
    keys = [(name, given.sample) for name, p in read.problems.items() for given in p.responses]
    judged = {key: Judgement(verdict, None, rule) for key, (verdict, rule) in zip(keys, verdicts, strict=True)}
    chooser = Chooser(params(**changes), own, lambda question: ((1,), ""), encoded)
    return chooser.choose(read, judged), judged


@given(
    st.lists(st.lists(st.text("abz", min_size=1, max_size=3), min_size=1, max_size=5), min_size=1, max_size=4),
    st.data(),
    st.booleans(),
)
def test_every_response_gets_a_status_that_is_explained(problems, data, own):
    responses = sum(map(len, problems))
    verdicts = data.draw(st.lists(VERDICTS, min_size=responses, max_size=responses))
    limit = data.draw(st.none() | st.integers(1, 4))
    choice, judged = chosen(problems, verdicts, own, max_negatives=limit, positives_per_problem=1)
    assert set(choice.status) == set(judged)
    assert set(choice.status.values()) <= set(REASONS)
    credited = {
        (p.problem_id, each.sample): each in p.negatives
        for p in choice.problems
        for each in (*p.negatives, *p.positives)
    }
    assert {key for key, status in choice.status.items() if status == CREDITED} == set(credited)
    for key, negative in credited.items():
        assert judged[key].verdict is (Verdict.WRONG if negative else Verdict.CORRECT)
    for problem in choice.problems:
        assert len({each.token_ids for each in problem.negatives}) == len(problem.negatives) <= 2
        assert own or all(known.solved for _, known in problem.known)
        assert own or problem.samples == Counts()
    assert limit is None or sum(credited.values()) <= limit


def test_each_reason_is_told():
    wrong, right = (Verdict.WRONG, "a"), (Verdict.CORRECT, "a")
    problems = [["a", "a", "b", "c", "z", "x", "y"]]
    choice, _ = chosen(problems, [wrong, wrong, wrong, wrong, wrong, right, (Verdict.TIMEOUT, "a")])
    assert list(Counter(choice.status[("p0", n)] for n in range(7)).items()) == [
        ("credited", 2),
        ("repeated", 1),
        ("over-negatives-per-problem", 1),
        ("changed-by-tokenizer", 1),
        ("correct", 1),
        ("timeout", 1),
    ]
    assert choice.differences == ["line 4: z"]


def test_own_samples_count_as_in_an_experiment():
    wrong, right = (Verdict.WRONG, "a"), (Verdict.CORRECT, "a")
    choice, _ = chosen([["a", "b", "c"]], [wrong, right, right], own=True)
    assert choice.problems[0].samples == Counts(2, 2, 0)
    assert [(n, known.solved) for n, known in choice.problems[0].known] == [(0, False), (1, True), (2, True)]


def test_cost_counts_a_shared_prefix_once():
    wrong = (Verdict.WRONG, "a")
    choice, _ = chosen([["abc", "abe"]], [wrong, wrong])
    cost = cost_of(choice.problems, params())
    # The bare problem, a, ab: four rollouts each, of 3, 2 and 1 tokens, or up to the limit of 20.
    assert (cost.rollouts, cost.most_rollouts) == (12, 12)
    assert (cost.tokens, cost.most_tokens) == (24, 4 * (20 + 19 + 18))
    assert cost_of(choice.problems, params(estimator="sequential")).rollouts < 12


def test_labels_are_compared_as_processbench_does():
    rows = [
        Labelled(2, 2), Labelled(2, 1), Labelled(2, 3), Labelled(2, None, solved=False),
        Labelled(None, None), Labelled(None, 1), Labelled(1, None, known=False),
    ]  # fmt: skip
    found = compare(rows)
    assert found["accuracy_wrong"] == 25
    assert found["accuracy_correct"] == 50
    assert found["f1"] == pytest.approx(2 * 25 * 50 / 75)
    names = ("exact", "before", "after", "no_pit", "never_solved", "left_out")
    assert [found[name] for name in names] == [1, 1, 1, 1, 1, 1]
    assert "judgement of correctness" in found["meaning"]


@given(st.lists(st.builds(Labelled, st.none() | st.integers(1, 4), st.none() | st.integers(1, 4), st.booleans())))
def test_accuracies_are_within_bounds_and_every_row_is_counted(rows):
    found = compare(rows)
    assert found["wrong"] + found["correct"] + found["left_out"] == len(rows)
    assert found["exact"] + found["before"] + found["after"] + found["no_pit"] == found["wrong"]
    for name in ("accuracy_wrong", "accuracy_correct", "f1"):
        assert found[name] is None or 0 <= found[name] <= 100


def test_a_harmonic_mean():
    assert harmonic_mean(0, 0) == 0
    assert harmonic_mean(None, 5) is None
    assert harmonic_mean(50, 50) == 50


@given(st.integers(1, 9), st.integers(0, 40))
def test_shards_share_all_blocks(count, blocks):
    shards = [parse_shard(f"{n}/{count}") for n in range(1, count + 1)]
    assert sorted(b for s in shards for b in range(blocks) if s.has(b)) == list(range(blocks))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(BadInput, match="--shard"):
        parse_shard(text)
    assert parse_shard("2/3") == Shard(2, 3)


def test_what_differs_is_named():
    assert difference({"a": 1, "credit": {"seed": 0, "x": 1}}, {"a": 1, "credit": {"seed": 2, "x": 1}}) == (
        "seed was 0, now 2"
    )
    assert difference({"file": "a"}, {"file": "b"}) == "the file's contents are others"
    assert difference({"a": [1]}, {"a": [1]}) == ""
