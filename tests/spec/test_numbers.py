"""A number means the same however it is written, and after any way through JSON; in quotes it is still read."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.cli.app import main
from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.planner import plan
from misstep.spec import Experiment, load_experiment, parse_experiment
from misstep.spec.edit import changed
from misstep.spec.fields import number_text
from misstep.spec.load import check_document, parse_document, read_document
from misstep.spec.quoted import quoted_note, quoted_numbers

SHORT = """
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {name: numbers}
spec:
  problems: {train: {format: gsm8k, path: data}, sizes: [1000]}
  policy: {model: {path: base}}
  sampling: {topP: TOP_P}
  training: {dpo: {beta: NUMBER}, sft: {learningRate: NUMBER}}
  assumptions: {responseTokens: NUMBER}
"""
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
EXTERNALS = {role: External(uri="/x", digest=f"sha256:{role}") for role in ("model", "source_train", "source_test")}


def go_text(number: float) -> str:
    """Write a number as Go's encoding/json does."""
    if number == 0 or 1e-6 <= number < 1e21:
        text = format(Decimal(repr(number)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = format(Decimal(repr(number)).normalize(), "e").partition("e")
    return f"{mantissa}e{exponent}"


def by_hand(number: float) -> list[str]:
    """Ways in which people and programs write a number."""
    exact = Decimal(repr(number))
    plain = format(exact, "f")
    found = [repr(number), repr(number).upper(), f"{number:.17g}", f"+{number!r}", plain, number_text(number)]
    found += [format(exact, "e"), format(exact.normalize(), "E"), go_text(number)]
    fraction = plain if "." in plain else f"{plain}.0"
    found += [f"{fraction}00", f"0{fraction}", f"{fraction}e0", f"{fraction}e+00"]
    if fraction.startswith("0."):
        found.append(fraction[1:])
    if fraction.endswith(".0"):
        found.append(fraction[:-1])
    return found


def written(text: str, top_p: str = "1") -> Experiment:
    return parse_experiment(SHORT.replace("NUMBER", text).replace("TOP_P", top_p))


def keys(experiment: Experiment) -> list[str]:
    return [stage.key for stage in plan(experiment, EXTERNALS).stages]


@given(NUMBERS, st.floats(min_value=0, max_value=1, exclude_min=True))
def test_every_way_of_writing_is_the_same_number(number: float, share: float) -> None:
    for text, top_p in zip(by_hand(number), (by_hand(share) * 2), strict=False):
        spec = written(text, top_p).spec
        assert spec.training.dpo.beta == spec.training.sft.learning_rate == number, text
        assert spec.assumptions.response_tokens == number
        assert spec.sampling.top_p == share, top_p


@given(NUMBERS)
def test_a_way_through_json_changes_no_parameter(number: float) -> None:
    local = written(repr(number))
    document = parse_document(SHORT.replace("NUMBER", repr(number)).replace("TOP_P", "1"))
    python, text = json.dumps(document), json.dumps(document)
    go = text.replace(json.dumps(number), go_text(number))
    for way in (python, go):
        assert check_document(json.loads(way), "JSON") == local == parse_experiment(way)


@pytest.mark.parametrize(
    ("texts"),
    [
        ("0.7", "0.70", ".7", "7e-1", "00.7", '"0.7"'),
        ("5e-7", "5E-07", "0.0000005", '"5e-7"'),
        ("1.0", "1", "1.", "1e0", "+1", "0x1", '"1"'),
        ("1e21", "1e+21", "1000000000000000000000", '"1e21"'),
        ("0.30000000000000004", "3.0000000000000004e-1"),
        ("100000.0", "1e5", "100000", '"100000"'),
        ("0", "0.0", "-0.0", "-0", "0e5", '"0"'),
    ],
)
def test_keys_do_not_depend_on_how_a_number_is_written(texts: tuple[str, ...]) -> None:
    assert len({tuple(keys(written(text))) for text in texts}) == 1
    assert keys(written("0.123")) != keys(written(texts[0]))


@given(NUMBERS)
def test_a_number_is_written_short_and_reads_back_the_same(number: float) -> None:
    assert float(number_text(number)) == number
    assert len(number_text(number)) <= max(len(repr(number)), 15)


def quoted(document: dict[str, Any]) -> dict[str, Any]:
    """Put every number of an example's known fields in quotes, as they were written before."""
    found = copy.deepcopy(document)
    spec = found["spec"]
    for method in ("sft", "rft", "dpo"):
        spec["training"][method]["learningRate"] = number_text(spec["training"][method]["learningRate"])
    spec["training"]["dpo"]["beta"] = "0.30"
    spec["search"]["dpo"]["beta"] = [number_text(value) for value in spec["search"]["dpo"]["beta"]]
    return found


def test_numbers_in_quotes_are_found_and_mean_the_same() -> None:
    document = read_document(Path("examples/quickstart.yaml"))
    old = quoted(document)
    found = quoted_numbers(old)
    assert (("spec", "training", "dpo", "beta"), 0.3) in found
    assert (("spec", "search", "dpo", "beta", 1), 0.3) in found and len(found) == 7
    assert changed(old, found) == document
    assert quoted_numbers(document) == [] and quoted_note(document) == ""
    assert check_document(old, "old") == check_document(document, "new")


def test_text_that_looks_like_a_number_is_no_number_in_quotes() -> None:
    document = parse_document(SHORT.replace("NUMBER", "1").replace("TOP_P", "1"))
    document["spec"]["policy"]["prompt"] = {"template": "{question}", "templateArguments": {"level": "3"}}
    document["spec"]["cluster"] = {"defaults": {"env": [{"name": "A", "value": "0.5"}]}}
    assert quoted_numbers(document) == []


def test_one_note_names_the_fields_and_the_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SHORT.replace("NUMBER", '"5e-7"').replace("TOP_P", '"0.9"')
    (tmp_path / "old.yaml").write_text(text)
    assert main(["validate", str(tmp_path / "old.yaml")]) == 0
    said = capsys.readouterr().err
    assert said == (
        "note: write numbers without quotes: spec.sampling.topP: 0.9, spec.training.sft.learningRate: 5e-7, "
        "spec.training.dpo.beta: 5e-7 and 1 more. A cluster refuses them in quotes, and so will the next release\n"
    )
    (tmp_path / "new.yaml").write_text(text.replace('"', ""))
    assert main(["validate", str(tmp_path / "new.yaml")]) == 0
    assert capsys.readouterr().err == ""
    assert keys(load_experiment(tmp_path / "old.yaml")) == keys(load_experiment(tmp_path / "new.yaml"))


@pytest.mark.parametrize(
    "text", ['"1_0"', '" 1"', '"-1"', '"inf"', '"nan"', '"0x10"', '"1e9999"', '"٣"', '"1\\n"', '""']
)
def test_other_text_is_no_number(text: str) -> None:
    with pytest.raises(BadInput, match="beta"):
        written(text)
