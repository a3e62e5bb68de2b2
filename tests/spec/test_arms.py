"""Which arms may start from which."""

from __future__ import annotations

import pytest

from misstep.spec import parse_experiment
from misstep.spec.explain import explain
from tests.spec.test_load import complaint, with_spec

SFT = "- {name: sft, method: sft}\n"


def arms(*lines: str) -> str:
    return with_spec("arms:\n" + SFT + "".join(f"- {{{line}}}\n" for line in lines))


A = "name: a, method: dpo, pairs: random"
B = "name: b, method: rft"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (arms(f"{A}, from: c", B), "arm a has from: c, which is not an arm of this experiment; the others are sft, b"),
        (arms(f"{A}, from: a"), "arms start from one another in a circle: a from a; remove from of one of them"),
        (arms(f"{A}, from: b", f"{B}, from: a"), "in a circle: a from b from a"),
        # The circle is shown without what leads to it.
        (
            arms(f"{B}, from: a", f"{A}, from: c", "name: c, method: rft, from: d", "name: d, method: rft, from: a"),
            "in a circle: a from c from d from a;",
        ),
        (with_spec("arms: [{name: sft, method: sft, from: b}]"), "from belongs to methods rft and dpo"),
        (arms(f"{A}, from: 3"), "spec.arms[1].from: 3. Write text"),
        (arms(f"{A}, from: Not A Name"), "spec.arms[1].from: Not A Name. "),
        (arms(f"{A}, form: b", B), "spec.arms[1].form: no such field. Did you mean from?"),
    ],
)
def test_a_start_that_cannot_be_is_refused(text: str, said: str) -> None:
    assert said in complaint(text)


def test_arms_may_start_from_later_ones_and_from_sft_by_name() -> None:
    spec = parse_experiment(
        arms("name: c, method: dpo, pairs: random, from: b", f"{B}, from: a", f"{A}, from: sft")
    ).spec
    assert [arm.from_arm for arm in spec.arms] == [None, "b", "a", "sft"]


def test_it_is_called_from_everywhere() -> None:
    assert explain("spec.arms.from").startswith("FIELD: spec.arms.from  <text>")
    assert "from_arm" not in explain("spec.arms") and "fromArm" not in explain("spec.arms")
