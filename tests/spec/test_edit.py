"""Values changed in YAML text: the result is as intended, and everything else is unchanged."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from misstep.spec.edit import Path, changed, edit
from misstep.spec.yaml12 import load_all

TEXT = """\
# about this experiment
spec:
  training:   # all methods
    sft:
      epochs: 4  # few

      selection: {epochs: [2, 4]}
    # of DPO
    dpo: {epochs: 1, batchSize: 8}  # a comment
    rft:
  arms:
    - {name: sft, method: sft}
    - name: dpo
      method: dpo
      # the end
  seeds: [0]
"""


def read(text: str) -> Any:
    (document,) = load_all(text)
    return document


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("spec", "training", "sft", "epochs"), 8, "epochs: 4  # few", "epochs: 8  # few"),
        (("spec", "training", "dpo", "beta"), 0.1, "batchSize: 8}", "batchSize: 8, beta: 0.1}"),
        (("spec", "training", "rft", "epochs"), 8, "rft:\n", "rft: {epochs: 8}\n"),
        (
            ("spec", "training", "sft", "schedule"),
            "linear",
            "{epochs: [2, 4]}\n",
            "{epochs: [2, 4]}\n      schedule: linear\n",
        ),
        (("spec", "arms", 0, "sft", "epochs"), 3, "method: sft}", "method: sft, sft: {epochs: 3}}"),
        (
            ("spec", "arms", 1, "dpo", "beta"),
            1e-3,
            "method: dpo\n",
            "method: dpo\n      dpo: {beta: 1e-3}\n",
        ),
        (
            ("spec", "policy", "model", "path"),
            "../base",
            "seeds: [0]",
            'seeds: [0]\n  policy: {model: {path: "../base"}}',
        ),
    ],
)
def test_a_value_is_changed_in_place_and_comments_stay(path: Path, value: Any, old: str, new: str) -> None:
    assert edit(TEXT, [(path, value)]) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    "text",
    [
        "spec: {a: &x {epochs: 1}, b: *x}\n",  # one place is used twice
        "spec:\n  a:\n    epochs: |\n      text\n  b: 1\n",
        "spec: {a: {}, b: {epochs: 1},}",
        "spec: {a: {epochs: 1,}}",
        "---\nspec:\n  a: {}\n...\n",
        "spec:\n  a:\n    other: 1",
    ],
)
def test_odd_yaml_says_what_it_should_all_the_same(text: str) -> None:
    changes: list[tuple[Path, Any]] = [(("spec", "a", "epochs"), 7), (("spec", "a", "new"), {"x": ["1", True]})]
    wanted = changed(read(text), changes)
    assert read(edit(text, changes)) == wanted
    assert wanted["spec"]["a"]["epochs"] == 7
    assert wanted["spec"].get("b") in (None, 1, {"epochs": 1})


names = st.sampled_from(["alpha", "beta", "epochs", "on", "no"])
scalars = st.one_of(
    st.integers(-5, 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text("ab 01.-:#'\"{},\n", max_size=6),
    st.sampled_from(["1e-3", "0.1"]),
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


def places(tree: Any, path: Path = ()) -> list[Path]:
    """Paths of values that are there, and of values that could be."""
    found: list[Path] = [path] if path else []
    if isinstance(tree, dict):
        found += [(*path, "new"), (*path, "fresh", "inner")]
        for name, value in tree.items():
            found += places(value, (*path, name))
    if isinstance(tree, list):
        for i, value in enumerate(tree):
            found += places(value, (*path, i))
    return found


@given(st.data(), st.dictionaries(names, trees, min_size=1), st.sampled_from([True, False, None]))
def test_any_document_says_what_it_should(data: st.DataObject, tree: dict[str, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow)
    tree = read(text)
    change = data.draw(st.tuples(st.sampled_from(places(tree)), trees))
    assert read(edit(text, [change])) == changed(tree, [change])
