"""Someone who can write to a shared prefix commits a wrong artifact under a key that another team will use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.gc import plan_gc
from misstep.artifacts.inspect import ls, show
from misstep.artifacts.provenance import is_of_its_key
from misstep.artifacts.reader import Reader
from misstep.artifacts.repair import find_damage, repair
from misstep.artifacts.watch import StoreWatch
from misstep.cli.app import main
from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.frozen import External, FrozenStage, key_of, stage_key
from misstep.plan.kinds import KINDS, StageKind
from misstep.stages.shell import run_stage
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.artifacts.making import commit_model, commit_samples
from tests.operator.world import PLAN
from tests.stages.making import verify

TROJAN = b"trojaned weights"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Storage(uri=f"file://{tmp_path / 'store'}"))


def plant(store: Store, key: str, **said: Any) -> None:
    """Commit a model under a key, with a manifest that says what the attacker likes."""
    path = "files/x/model.safetensors"
    store.put(f"{key}/{path}", TROJAN)
    part = {"path": path, "size": len(TROJAN), "sha256": hashlib.sha256(TROJAN).hexdigest(), "block": 0}
    document = {
        "format": 1,
        "key": key,
        "kind": key.rpartition("-")[0],
        "name": "sft",
        "params": {},
        "inputs": {},
        "externals": {},
        "tools": {},
        "blocks": 1,
        "parts": [part | {"file": "model/model.safetensors"}],
        "summary": {},
        "timings": {"seconds": 1, "blocks": [1]},
    }
    store.put(paths.manifest(key), json.dumps(document | said).encode())


def in_store(stage: FrozenStage, store: Store) -> FrozenStage:
    return stage.model_copy(update={"storage": Storage(uri=store.uri)})


SFT = PLAN.stage("sft-d100-s0")


def true_description(stage: FrozenStage) -> dict[str, Any]:
    digests = {role: external.digest for role, external in stage.externals.items()}
    return {"kind": stage.kind.value, "params": stage.params, "inputs": stage.inputs, "externals": digests}


@pytest.mark.parametrize("field", ["kind", "params", "inputs", "externals"])
def test_weights_of_the_attackers_become_another_teams_model(store: Store, tmp_path: Path, field: str) -> None:
    """The victim's stages would sample from them: a reader knows the key alone, and that is enough."""
    said = true_description(SFT)
    said[field] = "dpo" if field == "kind" else {**said[field], "anything": "else"}
    plant(store, SFT.key, **said)
    for act in (
        lambda: Reader(store, tmp_path / "read").folder(SFT.key, "model/"),
        lambda: StoreWatch(store).summary(SFT.key),
        lambda: StoreWatch(store).manifests([SFT.key]),
        lambda: plan_gc(store, [SFT.key]),
    ):
        with pytest.raises(m.Foreign, match="are not those that the key was made from"):
            act()


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"params": {"anything": "else"}}, "params.anything is 'else' instead of absent"),
        ({"params": {**SFT.params, "dtype": "float16"}}, "params.dtype is 'float16' instead of absent"),
        ({"inputs": {}}, "inputs.problems is absent instead of 'problems-"),
        ({"externals": {"model": "sha256:0"}}, "externals.model is 'sha256:0' instead of"),
        ({"kind": "dpo"}, "kind is 'dpo' instead of 'sft'"),
    ],
)
def test_a_stage_finds_its_own_key_taken_and_says_by_what(store: Store, said: dict[str, Any], named: str) -> None:
    """It would have ended as already done, and its Experiment with the attacker's figures."""
    stage = in_store(SFT, store)
    plant(store, stage.key, **(true_description(stage) | said))
    with pytest.raises(m.Foreign) as caught:
        run_stage(stage)
    assert named in str(caught.value)
    assert f"check who can write to {store.uri}" in str(caught.value)
    assert "misstep run --repair" in str(caught.value)
    assert caught.value.exit_code == EXIT_BAD_INPUT, "no retry would help"


def test_a_manifest_that_comes_first_while_a_stage_works_is_compared(store: Store, tmp_path: Path) -> None:
    """The attacker commits between the victim's look and the victim's own commit."""
    stage = commit_samples(store, tmp_path)
    plant(store, stage.key, **(true_description(stage) | {"params": {"rows": [1]}}))
    with pytest.raises(m.Foreign, match=r"params\.rows is \[1\] instead of \[6, 4\]"):
        m.commit(store, stage, 2)


def test_an_input_is_compared_before_a_stage_does_anything(store: Store) -> None:
    samples = stage_key(StageKind.SAMPLE, {"true": 1}, {}, {})
    plant(store, samples, params={"true": 2})
    stage = verify(Storage(uri=store.uri), samples)
    with pytest.raises(m.Foreign, match=samples):
        run_stage(stage)
    assert m.finished_blocks(store, stage.key) == {}


def test_the_runner_refuses_a_planted_report(store: Store) -> None:
    """A report needs no other stage to read it: the run would have shown it as its result."""
    report = in_store(PLAN.report, store)
    plant(store, report.key, **(true_description(report) | {"inputs": {}}))
    with pytest.raises(m.Foreign, match=r"inputs\."):
        StoreWatch(store).refuse_foreign([report])


@pytest.mark.parametrize("how", ["key", "manifest"])
def test_a_true_manifest_under_another_key(store: Store, tmp_path: Path, how: str) -> None:
    """One team's finished work, copied to where another's belongs: with its own key in it, and with the other."""
    stage = commit_model(store, tmp_path)
    other = "sft-" + "b" * 20
    document = json.loads(store.get(paths.manifest(stage.key)))
    store.put(paths.manifest(other), json.dumps(document | ({"key": other} if how == "key" else {})).encode())
    with pytest.raises(m.Foreign, match="foreign manifest"):
        m.read_manifest(store, other)


def test_what_was_planted_is_shown_and_taken_away_whole(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that messages recommend; `--repair` leaves nothing of it, not even receipts."""
    good, key = commit_model(store, tmp_path), SFT.key
    plant(store, key, params={"anything": "else"})
    store.put(paths.receipt(key, 0, 1), b"{}")
    assert {info.key: (info.foreign, info.damaged) for info in ls(store)} == {
        good.key: (False, False),
        key: (True, True),
    }
    assert show(store, key)["params"] == {"anything": "else"}
    assert main(["artifacts", "show", key, "--storage", store.uri]) == EXIT_BAD_INPUT
    said = capsys.readouterr()
    assert json.loads(said.out)["foreign"]
    assert "foreign manifest" in said.err
    assert main(["artifacts", "verify", "--storage", store.uri]) == EXIT_BAD_INPUT
    assert f"{key}/manifest.json: a foreign manifest" in capsys.readouterr().out
    assert main(["artifacts", "ls", "--storage", store.uri]) == 0
    assert "foreign" in capsys.readouterr().out
    assert find_damage(store, key)
    assert repair(store, key).damaged
    assert list(store.list(f"{key}/")) == []
    assert main(["artifacts", "verify", "--storage", store.uri]) == 0
    assert m.read_manifest(store, good.key) is not None


def manifest_of(stage: FrozenStage, version: int) -> m.Manifest:
    """As a Misstep of that result version wrote it, read back from its bytes."""
    said = true_description(stage)
    key = key_of(stage.kind, version, said["params"], said["inputs"], said["externals"])
    receipt = m.Receipt(block=0, blocks=1, parts=(), seconds=0.0)
    return m.Manifest.model_validate_json(m.assemble(stage.model_copy(update={"key": key}), [receipt]).encode())


@pytest.mark.parametrize("stage", PLAN.stages, ids=lambda stage: stage.name)
def test_every_stage_of_a_plan_is_proven_by_its_manifest(stage: FrozenStage) -> None:
    """No attack: manifests hold all that keys are made from, as they have from the first version on; of versions before
    this one, which running Experiments have in their plans, and of one that is newer."""
    for version in (1, KINDS[stage.kind].version, KINDS[stage.kind].version + 5):
        assert is_of_its_key(manifest_of(stage, version))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PARAMS = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


@given(PARAMS, st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3), PARAMS)
def test_a_description_proves_its_own_key_alone(
    params: dict[str, Any], inputs: dict[str, str], other: dict[str, Any]
) -> None:
    outside = {"model": External(uri="x", digest="sha256:0")}
    key = stage_key(StageKind.SFT, params, inputs, outside)
    storage = Storage(uri="file:///nowhere")
    stage = FrozenStage(
        kind=StageKind.SFT, name="x", key=key, params=params, inputs=inputs, externals=outside, storage=storage
    )
    manifest = m.Manifest.model_validate_json(m.assemble(stage, []).encode())
    assert is_of_its_key(manifest)
    # 1 and 1.0 are equal to Python, and not the same to a key.
    same = json.dumps(other, sort_keys=True) == json.dumps(params, sort_keys=True)
    assert is_of_its_key(manifest.model_copy(update={"params": other})) == same


def test_a_manifest_with_nan_is_foreign_and_can_be_taken_away(store: Store) -> None:
    """No key is made from NaN: who plants it would end every reader of the store with a crash."""
    key = next(stage.key for stage in PLAN.stages if stage.kind is StageKind.SFT)
    plant(store, key, params={"x": float("nan")})
    assert b"NaN" in store.get(paths.manifest(key))
    with pytest.raises(m.Foreign):
        m.read_manifest(store, key)
    assert repair(store, key).damaged
    assert not list(store.list(""))


def test_a_foreign_artifact_goes_whole_whatever_its_objects_are_called(store: Store, tmp_path: Path) -> None:
    """An odd name would stop the repair behind the manifest, and keep the attacker's receipts for the next run."""
    key = next(stage.key for stage in PLAN.stages if stage.kind is StageKind.SFT)
    plant(store, key)
    odd = tmp_path / "store" / key / "a\\b"
    odd.write_bytes(b"{}")
    store.put(paths.receipt(key, 0, 1), b"{}")
    assert repair(store, key).damaged
    assert not odd.exists()
    assert not list(store.list(""))


def test_a_receipt_under_another_blocks_name_is_damage(store: Store) -> None:
    """It would end each try to put the manifest together, unseen by the repair."""
    key = next(stage.key for stage in PLAN.stages if stage.kind is StageKind.SFT)
    store.put(paths.receipt(key, 0, 1), m.Receipt(block=7, blocks=9, parts=(), seconds=1.0).encode())
    assert list(find_damage(store, key)) == [paths.receipt(key, 0, 1)]
