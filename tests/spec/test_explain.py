from __future__ import annotations

import pytest

from misstep.errors import BadInput
from misstep.spec.explain import explain, fields_of, model_at, nested_model


def test_a_field_is_explained_with_type_default_and_meaning() -> None:
    text = explain("spec.credit.rollouts")
    assert "integer" in text and "default 8" in text and "at least `bestOf`" in text


def test_a_group_lists_its_fields() -> None:
    text = explain("experiment.spec.training.dpo")
    assert "beta" in text and "default 0.1" in text and "<number>" in text and "nllWeight" in text


@pytest.mark.parametrize("path", ["spec.credit.rollout", "spec.credits", "spec.credit.rollouts.deeper", "nonsense"])
def test_an_unknown_path_says_what_there_is(path: str) -> None:
    with pytest.raises(BadInput, match="no field"):
        explain(path)


def test_every_field_is_documented() -> None:
    queue, seen, bare = [("spec", model_at(["spec"]))], set(), []
    while queue:
        path, model = queue.pop()
        assert model is not None
        if model in seen:
            continue
        seen.add(model)
        for name, info in fields_of(model).items():
            nested = nested_model(info.annotation)
            if nested is not None:
                queue.append((f"{path}.{name}", nested))
            elif not info.description:
                bare.append(f"{path}.{name}")
    assert not bare, f"fields without a docstring: {bare}"
