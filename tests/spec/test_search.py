"""The ``search`` block: what is refused, and its settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.spec import Experiment, parse_experiment
from misstep.spec.search import DpoGrid, RftGrid

BASE = """
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {name: e}
spec:
  problems:
    train: {format: strides, limit: 4000}
    test: {format: strides, limit: 100}
    sizes: [125, 250, 500]
  policy: {model: {path: base}}
"""


def experiment(lines: str) -> Experiment:
    return parse_experiment(BASE + "".join(f"  {line}\n" for line in lines.splitlines()))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("seeds: [0, 101]\nsearch: {}", "search.seeds and seeds have 101 in common"),
        ("search: {seeds: [0, 7]}", "search.seeds and seeds have 0 in common"),
        ("search: {seeds: [7, 7]}", "search.seeds must be different numbers"),
        ("search: {sizes: [7, 7]}", "search.sizes lists each size once"),
        ("search: {sizes: [250, 5000]}", "the largest of search.sizes, 5000, is above problems.train.limit, 4000"),
        ("search: {dpo: {beta: [0.1, 0.10]}}", "List each value once"),
        ("search: {dpo: {beta: [1, 1.0]}}", "List each value once"),
        ("search: {dpo: {beta: [0.1, true]}}", "spec.search.dpo.beta[1]: True. Write a number"),
        ("search: {dpo: {beta: []}}", "spec.search.dpo.beta"),
        ("search: {dpo: {withTeacher: [true]}}", "spec.search.dpo.withTeacher: no such field"),
        ("search: {dpo: {betas: []}}", "Did you mean beta?"),
        (
            "search: {sft: {epochs: [1, 2, 3, 4, 5, 6, 7, 8], batchSize: [1, 2, 3, 4, 5, 6, 7, 8], loraRank: [1, 2]}}",
            "the lists make 128 settings, and 64 are the most",
        ),
        ("arms: [{name: a, method: sft}]\nsearch: {rft: {epochs: [1, 2]}}", "search.rft is given, but no arm has"),
        (
            "arms:\n- {name: a, method: sft, sizes: [125]}\n- {name: b, method: rft, sizes: [250]}\nsearch: {}",
            "search.sizes is not given, and the arms have no common size",
        ),
        (
            "training: {dpo: {microBatchSize: 16}}\nsearch: {dpo: {batchSize: [32, 40]}}",
            "search.dpo.batchSize has 40, which microBatchSize, 16, must divide",
        ),
        (
            "arms:\n- {name: a, method: sft}\n- {name: b, method: dpo, pairs: random, dpo: {microBatchSize: 16}}\n"
            "search: {dpo: {batchSize: [32, 40]}}",
            "search.dpo.batchSize has 40, which microBatchSize, 16, must divide",
        ),
        (
            "resources: {sft: {nodes: 3}}\ntraining: {sft: {batchSize: 6}}\nsearch: {sft: {batchSize: [9, 10]}}",
            "search.sft.batchSize, 10, must be a multiple of the 3 processes",
        ),
        (
            "resources: {dpo: {nodes: 2, zeroStage: 3}}\nsearch: {dpo: {loraRank: [8]}}",
            "search.dpo.loraRank: adapters cannot be trained with zeroStage 3",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(lines: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        experiment(lines)
    assert said in str(caught.value)


def test_the_smallest_common_size_is_searched_unless_sizes_are_given() -> None:
    arms = "arms:\n- {name: a, method: sft}\n- {name: b, method: rft, sizes: [250, 500]}\n"
    assert experiment(f"{arms}search: {{}}").spec.search_sizes == [250]
    assert experiment(f"{arms}search: {{sizes: [1000, 40]}}").spec.search_sizes == [40, 1000]


def test_settings_are_the_product_of_the_lists_in_their_order() -> None:
    grid = DpoGrid.model_validate({"learningRate": [1e-4, 0.0003], "beta": [1.0, 0.3]})
    assert grid.settings() == [{"learning_rate": rate, "beta": beta} for rate in (1e-4, 3e-4) for beta in (1.0, 0.3)]
    assert grid.written() == [{"learningRate": rate, "beta": beta} for rate in (1e-4, 3e-4) for beta in (1, 0.3)]
    assert DpoGrid().settings() == DpoGrid().written() == [{}]
    assert RftGrid.model_validate({"withTeacher": [True, False]}).written() == [
        {"withTeacher": True},
        {"withTeacher": False},
    ]


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=8, unique=True))
def test_written_numbers_read_back_the_same(values: list[float]) -> None:
    grid = DpoGrid(learning_rate=values)
    again = DpoGrid.model_validate(grid.written_lists)
    assert again.settings() == grid.settings() == [{"learning_rate": value} for value in values]
