"""What a search tries: every arm of a method gets the same settings, over its own overrides."""

from __future__ import annotations

import pytest

from misstep.errors import BadInput
from misstep.search.grid import candidates, derived, rounds, with_setting
from misstep.search.suggest import around, refuse_nothing_to_search, suggestion
from misstep.spec import parse_experiment
from tests.spec.test_search import BASE, experiment

ARMS = """arms:
- {name: step, method: dpo, pairs: shared-prefix, dpo: {beta: 0.7, epochs: 3}}
- {name: plain, method: sft}
- {name: random, method: dpo, pairs: random, sizes: [250]}
- {name: own, method: rft}
"""


def test_sft_is_searched_first_wherever_it_stands() -> None:
    assert [[arm.name for arm in each] for each in rounds(experiment(ARMS).spec.arms)] == [
        ["plain"],
        ["step", "random", "own"],
    ]


def test_an_arm_is_searched_after_the_one_that_it_starts_from() -> None:
    arms = """arms:
- {name: third, method: rft, from: second}
- {name: second, method: dpo, pairs: random, from: first}
- {name: base, method: sft}
- {name: first, method: dpo, pairs: random, from: base}
"""
    found = [[arm.name for arm in each] for each in rounds(experiment(arms).spec.arms)]
    assert found == [["base"], ["first"], ["second"], ["third"]]


def test_all_arms_of_a_method_get_the_same_settings_over_their_own() -> None:
    spec = experiment(ARMS + "search: {dpo: {beta: [0.1, 0.3]}}").spec
    assert spec.search is not None
    step, plain, random, own = ([*candidates(arm, spec.search)] for arm in spec.arms)
    assert [c.setting for c in step] == [c.setting for c in random] == [{"beta": 0.1}, {"beta": 0.3}]
    assert [c.arm.name for c in step] == ["step.1", "step.2"]
    assert [c.arm.name for c in plain + own] == ["plain", "own"]
    for candidate in step:
        block = candidate.arm.dpo
        assert block is not None and block.beta == candidate.setting["beta"] and block.epochs == 3
        assert block.model_fields_set == {"beta", "epochs"}
    assert all(c.arm.sizes is None for c in random)


def test_a_round_runs_at_the_searchs_seeds_and_sizes() -> None:
    given = experiment(ARMS + "search: {seeds: [7, 8], sizes: [1000]}")
    made = derived(given, [with_setting(given.spec.arms[1], {"epochs": 9})])
    assert made.metadata.name == "e-search"
    assert (made.spec.seeds, made.spec.problems.sizes, len(made.spec.arms)) == ([7, 8], [1000], 1)
    assert given.spec.seeds == [0]


@pytest.mark.parametrize("lines", ["", "search: {}", "search: {dpo: {beta: [0.1]}}"])
def test_without_anything_to_search_a_block_to_paste_is_shown(lines: str) -> None:
    given = experiment(lines)
    with pytest.raises(BadInput) as caught:
        refuse_nothing_to_search(given)
    text = str(caught.value)
    block = text[text.index("  search:") :]
    again = parse_experiment(BASE + block)
    assert refuse_nothing_to_search(again).dpo.beta == [0.03, 0.1, 0.3]
    assert again.spec.search is not None and again.spec.search.sft.learning_rate == [3e-6, 1e-5, 3e-5]


def test_the_suggestion_keeps_clear_of_the_seeds() -> None:
    assert "    seeds: [101, 102, 103]" in suggestion(experiment("seeds: [100, 3]").spec)
    assert around(0.0) == [0]
    assert around(3e-4) == [0.0001, 0.0003, 0.0009]
