"""Everything that the operator reads is limited, whoever answers: bytes, pages and time of a store, a plan's size,
stages, pods.

The attacker has a store that is listed, or writes objects into one; they would gain the operator's memory, its workers,
or an error in every pass.
"""

from __future__ import annotations

import base64
import json
import re
import resource
import time
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from misstep.artifacts.progress import read_progress
from misstep.cost.architecture import architecture_from
from misstep.errors import BadInput
from misstep.plan import configmap
from misstep.stages.overtrained import measured
from misstep.store.bounded import Budget, LimitReached, Limits, open_bounded
from misstep.store.open import open_store
from misstep_operator.planning import planning
from misstep_operator.stores.reader import StoreReader
from tests.operator.test_planning import body
from tests.operator.world import PLAN, World
from tests.security import hostile_stores as h
from tests.store import servers

SOON = Limits(seconds=1.5)


@pytest.fixture(autouse=True, scope="module")
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        servers.credentials(patch)
        with h.serving(h.nothing) as good:  # what botocore loads once is no part of what is measured
            assert StoreReader(h.listing(h.entry(good.endpoint))).read(h.plan_at(h.at(good.endpoint)), ()).readable
        yield


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (h.dripping, "takes more than 1.5 s"),
        (partial(h.dripping, where="head"), "takes more than 1.5 s"),
        (h.huge, "is more than 64 KiB"),
        (h.huge_head, "no answer|is more than"),
        (h.laughing, "not an S3 server: its XML declares entities"),
        (h.packed, "not an S3 server|500"),
    ],
    ids=["a drip", "a drip of headers", "a huge answer", "huge headers", "entities", "a packed answer"],
)
def test_an_answer_costs_little_time_and_memory(answer: h.Answer, said: str) -> None:
    """And is said in the condition; while the store is spared, the next look costs nothing."""
    with h.serving(answer) as hostile:
        stores, plan = StoreReader(h.listing(h.entry(hostile.endpoint)), SOON), h.plan_at(h.at(hostile.endpoint))
        before, began = peak_mib(), time.monotonic()
        error = stores.read(plan, [stage.key for stage in plan.stages], "team-a").error
        assert time.monotonic() - began < 9
        assert peak_mib() - before < 64
        assert re.search(said, error), error


@pytest.mark.parametrize("answer", [h.dripping, h.huge, h.packed], ids=["a drip", "huge", "packed"])
def test_a_models_config_costs_little_time_and_memory(answer: h.Answer) -> None:
    with h.serving(answer) as hostile:
        stores, before, began = StoreReader(h.listing(h.entry(hostile.endpoint)), SOON), peak_mib(), time.monotonic()
        storage = {"uri": "s3://artifacts/runs", "endpoint": hostile.endpoint, "pathStyle": True}
        model = {"name": "base", "uri": "s3://artifacts/model", "digest": "sha256:" + "a" * 64}
        made = planning.parse(body(storage=storage, policy={"model": model}))
        read = partial(stores.read_model_config, namespace="n")
        assert planning.read_shapes(made, planning.find_externals(made), read) == {"model": None}
        assert time.monotonic() - began < 9
        assert peak_mib() - before < 64


def test_a_listing_without_end_ends() -> None:
    with h.serving(h.endless) as hostile:
        store = open_bounded(h.at(hostile.endpoint))(Budget(SOON))
        with pytest.raises(LimitReached, match="takes more than 16 requests"):
            list(store.list("sft-x/progress/"))
        assert len(hostile.requests) == 16


def test_a_store_that_takes_too_long_is_spared_and_its_server_is_not() -> None:
    """Of one server that many use, one prefix that is slow holds up nobody else."""

    def slow_for_one(handler: Any) -> None:
        if "slow" in handler.path:
            h.dripping(handler)
        h.nothing(handler)

    with h.serving(slow_for_one) as shared:
        stores = StoreReader(h.listing(h.entry(shared.endpoint)), Limits(seconds=3.0))
        slow, other = (h.plan_at(h.at(shared.endpoint, f"s3://artifacts/{name}")) for name in ("slow", "other"))
        assert "takes more than 3 s" in stores.read(slow, (), "team-a").error
        asked = len(shared.requests)
        assert stores.read(other, (), "team-b").error == ""
        began = time.monotonic()
        assert "takes more than 3 s" in stores.read(slow, (), "team-a").error
        assert time.monotonic() - began < 1.5
        assert not any("slow" in path for _, path, _ in shared.requests[asked:])


def test_thousands_of_objects_next_to_heartbeats_are_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A tenant fills ``progress/`` of a stage with objects: only those of the stage's shards are asked for."""
    with servers.moto(tmp_path) as endpoint:
        servers.make_bucket(endpoint)
        storage = h.at(endpoint)
        store, key = open_store(storage), PLAN.stages[0].key
        beat = {"shard": 0, "done": 1, "total": 2, "unit": "rows", "updated": 0.0}
        store.put(f"{key}/progress/0.json", json.dumps(beat).encode())
        for number in range(1, 40):
            store.put(f"{key}/progress/{number}.json", json.dumps(beat | {"shard": number}).encode())
        asked: list[str] = []
        bounded = open_bounded(storage)(Budget())
        monkeypatch.setattr(bounded, "get", lambda path, get=bounded.get: asked.append(path) or get(path))
        assert [each.done for each in read_progress(bounded, key, 1)] == [1]
        assert asked == [f"{key}/progress/0.json"]
        assert read_progress(bounded, key, 1, since=time.time() + 60) == []
        view = StoreReader(h.listing(h.entry(endpoint))).read(h.plan_at(storage), [key], "team-a")
        assert [each.fraction for each in view.heartbeats[key]] == [0.5]


@pytest.mark.parametrize(
    "change",
    [
        {"done": 10**400},
        {"done": -1},
        {"total": 1e400},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"shard": 7},
        {"blocks": -3},
        {"detail": [[[]]]},
        {"done": "[" * 10_000},
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_heartbeat_with_odd_numbers_is_left_out(change: dict[str, Any], tmp_path: Any) -> None:
    """Each of these ended a pass in an error, at every look."""
    key = PLAN.stages[0].key
    store = open_store(h.at(None).model_copy(update={"uri": tmp_path.as_uri()}))
    good = {"shard": 0, "done": 1, "total": 2, "unit": "rows", "updated": 0.0}
    store.put(f"{key}/progress/0.json", json.dumps(good | change).encode())
    store.put(f"{key}/progress/1.json", json.dumps(good | {"shard": 1}).encode())
    assert [each.shard for each in read_progress(store, key, 2)] == [1]


def test_a_rate_of_next_to_nothing_breaks_no_status() -> None:
    world = World()
    world.step()
    key = PLAN.stages[0].key
    beat = {"shard": 0, "done": 1, "total": 2, "unit": "rows", "rate": 5e-324, "updated": world.now}
    world.heartbeats = {key: [read_beat(beat)]}
    world.step()
    assert "eta" not in world.status or not world.status["eta"]


def read_beat(beat: dict[str, Any]) -> Any:
    from misstep.artifacts.progress import Heartbeat

    return Heartbeat.model_validate(beat)


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 0},
        {"num_hidden_layers": 10**300},
        {"hidden_size": float("inf")},
        {"vocab_size": float("nan")},
        {"vocab_size": -5},
        {"text_config": [1]},
        {"text_config": {"num_hidden_layers": {}}},
        {"n_embd": "x"},
        {"n_embd": 8, "n_layer": 1, "n_head": 0, "n_positions": 5},
        {"max_position_embeddings": 1e308},
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_config_with_odd_numbers_is_of_no_known_shape(config: dict[str, Any]) -> None:
    """Somebody's ``config.json`` ended each pass in an error, or planned with numbers without end."""
    good = {
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 9,
    }
    assert architecture_from("m", good) is not None
    found = architecture_from("m", good | config)
    assert found is None or config == {"text_config": [1]}


@pytest.mark.parametrize("correct", [600, -1, 10**400, True, 0.5, None], ids=lambda n: str(n)[:9])
def test_a_policys_odd_counts_warn_of_nothing(correct: object) -> None:
    """More right answers than problems: the square root of a negative number."""
    counts = {"train_problems": 500, "train_correct": correct, "validation_problems": 500, "validation_correct": 1}
    known = measured({"policy": counts})
    assert known is None or not known.by_heart


def test_a_bomb_as_a_plan_is_not_unpacked() -> None:
    """700 KB of a ConfigMap that are 600 MiB of spaces."""
    packer, pieces = zlib.compressobj(9, zlib.DEFLATED, 31), []
    for _ in range(600):
        pieces.append(packer.compress(b" " * (1 << 20)))
    pieces.append(packer.flush())
    bomb = {configmap.PLAN_FILE: base64.b64encode(b"".join(pieces)).decode()}
    before = peak_mib()
    with pytest.raises(configmap.PlanUnreadable):
        configmap.unpack(bomb)
    assert peak_mib() - before < 64


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_half_a_plan_is_none(cut: int) -> None:
    packed = base64.b64decode(configmap.pack(PLAN)[configmap.PLAN_FILE])
    with pytest.raises(configmap.PlanUnreadable):
        configmap.unpack({configmap.PLAN_FILE: base64.b64encode(packed[:-cut]).decode()})


def arms(count: int) -> list[dict[str, Any]]:
    more = [
        {"name": f"d{n}", "method": "dpo", "pairs": "random", "dpo": {"beta": f"0.{n + 1:02d}"}}
        for n in range(count - 1)
    ]
    return [{"name": "sft", "method": "sft"}, *more]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"sizes": list(range(10, 42)), "seeds": list(range(16)), "arms": arms(16)},
            r"^spec: 8192 trainings .*An Experiment may have 2,000 stages\. Split it",
        ),
        ({"sizes": [10, 20], "shards": 5000}, r"^spec\.resources\.sample\.shards: 5000\. Give 1024 or fewer"),
        (
            {"sizes": [10, 20, 30, 40], "seeds": list(range(8)), "arms": arms(2), "shards": 1024},
            r"^spec\.resources: [0-9,]+ pods\. All stages together may have 50,000",
        ),
    ],
    ids=["stages", "pods of a stage", "pods in all"],
)
def test_a_plan_that_explodes_is_refused_before_it_is_made(changes: dict[str, Any], said: str) -> None:
    """Thousands of stages took gigabytes and half a minute, and ended in a ConfigMap that nobody takes."""
    problems = {**body()["spec"]["problems"], "sizes": changes["sizes"]}
    more: dict[str, Any] = {"resources": {"sample": {"shards": changes["shards"]}}} if "shards" in changes else {}
    more |= {name: changes[name] for name in ("seeds", "arms") if name in changes}
    made = planning.parse(body(problems=problems, **more))
    began = time.monotonic()
    with pytest.raises(BadInput, match=said):
        planning.make_plan(made, planning.find_externals(made), {"model": None})
    assert time.monotonic() - began < 5


def test_as_many_as_people_plan_is_fine() -> None:
    """Eight sizes, five seeds and five arms, on 64 GPUs a sampling stage."""
    problems = {**body()["spec"]["problems"], "sizes": [10 * n for n in range(1, 9)]}
    resources = {"sample": {"shards": 64}}
    made = planning.parse(body(problems=problems, seeds=list(range(5)), arms=arms(5), resources=resources))
    assert len(planning.make_plan(made, planning.find_externals(made), {"model": None}).stages) > 800


def test_long_prompts_in_many_stages_are_refused_before_they_are_packed() -> None:
    """The same 80,000 characters in each stage pack well: what is unpacked would not be small."""
    long = PLAN.model_copy(
        update={
            "stages": tuple(
                stage.model_copy(update={"params": stage.params | {"x": "a" * 80_000}, "name": f"{stage.name}-{n}"})
                for n in range(30)
                for stage in PLAN.stages
            )
        }
    )
    with pytest.raises(BadInput, match="Split it"):
        configmap.pack(long)
