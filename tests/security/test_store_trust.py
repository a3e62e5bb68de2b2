"""The operator uses its identity only for the stores that an administrator has listed.

The tenant of these tests may create Experiments in the namespace ``team-a``; ``team-b`` is someone else's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.artifacts import manifest as m
from misstep.errors import BadInput
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep_operator.decision.decision import Decision
from misstep_operator.observed import StoreView
from misstep_operator.planning import planning
from misstep_operator.settings import read_trust
from misstep_operator.stores.reader import StoreReader
from misstep_operator.stores.trust import ListedStore, Trust, Unlisted, place_of, server_of
from tests.operator.test_planning import body
from tests.operator.world import World
from tests.security import hostile_stores as h
from tests.store import servers


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store that all teams share."""
    with servers.own_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


def commit_report(storage: Storage, accuracy: float = 0.123) -> None:
    """Commit the results of a team."""
    plan, store = h.plan_at(storage), open_store(storage)
    cells = [{"arm": "sft", "size": "100", "accuracy": accuracy}]
    for stage in plan.stages:
        summary = {"cells": cells} if stage is plan.report else {}
        m.put_receipt(store, stage.key, m.Receipt(block=0, blocks=1, parts=(), summary=summary, tools={}, seconds=0.0))
        m.commit(store, stage, 1)


@pytest.mark.parametrize("lists_others", [False, True])
def test_a_tenants_server_gets_no_request_and_so_no_key_signature_or_token(
    real: str, lists_others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", real)
    trust = h.listing(h.entry(real)) if lists_others else Trust(own_endpoint=real)
    with h.serving(h.nothing) as tenants:
        stores = StoreReader(trust)
        view = stores.read(h.plan_at(h.at(tenants.endpoint)), (), "team-a")
        assert view.unlisted.startswith("the operator does not read s3://artifacts/runs at http://127.0.0.1")
        assert "stores" in view.unlisted
        assert not view.readable
        with pytest.raises(Exception, match="does not read"):
            stores.read_model_config(h.at(tenants.endpoint), "team-a")
        assert not tenants.requests


def test_a_request_that_a_tenants_server_could_forward_to_the_real_one_is_never_made(real: str) -> None:
    """Forwarded byte for byte, the operator's signature would open another team's file."""
    commit_report(h.at(real, "s3://artifacts/team-b"))
    with h.serving(h.forwarding(real)) as tenants:
        stores = StoreReader(h.listing(h.entry(real, "s3://artifacts/team-b", "team-b")))
        view = stores.read(h.plan_at(h.at(tenants.endpoint, "s3://artifacts/team-b")), (), "team-a")
        assert view.committed == frozenset()
        assert view.unlisted
        assert not tenants.requests


def test_a_model_lies_in_no_store_that_the_operator_would_not_open(real: str, tmp_path: Path) -> None:
    """Whoever names a model has its ``config.json`` read by the operator: from a server of theirs, another team's
    prefix, or the operator's own disk."""
    stores = StoreReader(
        h.listing(h.entry(real, "s3://artifacts/team-a", "team-a"), h.entry(real, "s3://artifacts/b", "b"))
    )
    shape = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 32,
    }
    (tmp_path / "config.json").write_text(json.dumps(shape))
    for prefix in ("team-a/model", "b/model"):
        open_store(h.at(real, f"s3://artifacts/{prefix}")).put("config.json", json.dumps(shape).encode())

    def read(uri: str, endpoint: str = real) -> object:
        storage = {"uri": "s3://artifacts/team-a/runs", "endpoint": endpoint, "pathStyle": True, "region": "us-east-1"}
        model = {"name": "base", "uri": uri, "digest": "sha256:" + "a" * 64}
        made = planning.parse(body(storage=storage, policy={"model": model}))
        externals = planning.find_externals(made)
        return planning.read_shapes(made, externals, partial(stores.read_model_config, namespace="team-a"))["model"]

    assert read("s3://artifacts/team-a/model") is not None, "honest use"
    assert read("s3://artifacts/b/model") is None
    assert read("s3://artifacts/team-a/../b/model") is None
    assert read(tmp_path.as_uri()) is None
    with h.serving(h.forwarding(real)) as tenants:
        assert read("s3://artifacts/team-a/model", tenants.endpoint) is None
        assert not tenants.requests


def test_another_teams_results_come_into_nobodys_status(real: str) -> None:
    """Team A names team B's prefix, whose results the operator may read."""
    commit_report(h.at(real, "s3://artifacts/team-b"))
    lists = h.listing(
        h.entry(real, "s3://artifacts/team-a", "team-a"), h.entry(real, "s3://artifacts/team-b", "team-b")
    )
    stores, plan = StoreReader(lists), h.plan_at(h.at(real, "s3://artifacts/team-b"))
    assert stores.read(plan, (), "team-b").accuracies == {("sft", "100"): 0.123}
    view = stores.read(plan, (), "team-a")
    assert (view.committed, view.accuracies) == (frozenset(), {})
    assert view.unlisted


def test_without_a_list_the_operators_own_endpoint_is_read_for_all(real: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick installation shows progress; its notes say that namespaces are one domain of trust."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", real)
    commit_report(h.at(real, "s3://artifacts/quick"))
    stores = StoreReader()
    for endpoint in (None, real, real + "/"):
        view = stores.read(h.plan_at(h.at(endpoint, "s3://artifacts/quick")), (), "team-a")
        assert view.accuracies == {("sft", "100"): 0.123}


def test_certificates_that_an_experiment_names_are_never_read(real: str, tmp_path: Path) -> None:
    """What is no certificate would make the shared endpoint count as down, for everyone."""
    poison = tmp_path / "ca.pem"
    poison.write_text("no certificate")
    for trust in (h.listing(h.entry(real)), Trust(own_endpoint=real)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", real)
            stores = StoreReader(trust)
            for bundle in (str(poison), "/proc/self/environ", "/no/such/file"):
                bad = stores.read(h.plan_at(h.at(real, "s3://artifacts/a", ca_bundle=bundle)), (), "team-a")
                assert bad.error == bad.unlisted == "", "it is read with the certificates of the entry"
            assert stores.read(h.plan_at(h.at(real, "s3://artifacts/b")), (), "team-b").error == ""


def test_a_wrong_store_of_one_team_does_not_mark_the_server_as_down_for_others(
    real: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket of its own as a host that does not exist, another region, a missing bucket: each is the Experiment's."""
    stores = StoreReader(Trust(own_endpoint=real))
    monkeypatch.setenv("AWS_ENDPOINT_URL", real)
    bad = h.at(None, "s3://no-such-bucket/x")
    assert "bucket" in stores.read(h.plan_at(bad), (), "team-a").error
    hosted = stores.read(h.plan_at(h.at(None, "s3://artifacts/x", path_style=False, region="xx-odd-1")), (), "team-a")
    assert hosted.error or hosted.readable
    assert stores.read(h.plan_at(h.at(None, "s3://artifacts/y")), (), "team-b").error == ""


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400])
def test_a_listed_server_that_sends_elsewhere_is_not_followed(real: str, status: int) -> None:
    """Who can make a store redirect, by a website's rules of a bucket, gets no signed request elsewhere."""
    with h.serving(h.nothing) as tenants:

        def elsewhere(handler: object) -> None:
            host = tenants.endpoint.removeprefix("http://")
            error = f"<Error><Code>PermanentRedirect</Code><Endpoint>{host}</Endpoint><Region>{host}/#</Region></Error>"
            headers = {"Location": f"{tenants.endpoint}/x", "x_amz_bucket_region": f"{host}/#"}
            handler.say(status, error.encode(), **headers)  # type: ignore[attr-defined]

        with h.serving(elsewhere) as listed:
            view = StoreReader(h.listing(h.entry(listed.endpoint))).read(h.plan_at(h.at(listed.endpoint)), (), "team-a")
            assert view.error
            assert listed.requests
        assert not tenants.requests


GOOD = "https://s3.example.com"
LIST = h.listing(
    h.entry(GOOD, "s3://b/team-a", "team-a"),
    h.entry(GOOD, "s3://b/shared"),
    h.entry(GOOD, "s3://b/shared/only-b", "team-b"),
)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b/team-a-evil",
        "s3://b/team-",
        "s3://b",
        "s3://b/",
        "s3://B/team-a",
        "s3://b/Team-A",
        "s3://b/team-a/../team-b",
        "s3://b/team-a/./x",
        "s3://b/team-a//x",
        "s3://b/team-a/%2e%2e/team-b",
        "s3://b/team%2Da",
        "s3://b/team-a%2f..%2fteam-b",
        "s3://b/team-a\\..\\team-b",
        "s3://b/team-a/\x00",
        "s3://b./team-a",
        "s3://../b/team-a",
        "s3://b@evil/team-a",
        "s3:///b/team-a",
        "s3://b/shared/only-b",
        "s3://b/shared/only-b/x",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/evil/team-a",
        "s3://arn:aws:s3-outposts:us-east-1:123456789012:outpost:op-1:accesspoint:evil",
        "S3://b/team-a",
        "file:///b/team-a",
        "https://b/team-a",
        "s3://other/team-a",
    ],
)
def test_a_place_that_only_looks_like_a_listed_one_is_not_opened(uri: str) -> None:
    assert isinstance(LIST.reach("team-a", Storage.model_construct(uri=uri, endpoint=GOOD)), Unlisted)


@pytest.mark.parametrize(
    "uri",
    ["s3://b/team-a", "s3://b/team-a/", "s3://b//team-a", "s3://b/team-a/x y/ü=1", "s3://b/shared/z", "s3://b/shared"],
)
def test_places_below_a_listed_one_are_opened(uri: str) -> None:
    assert isinstance(LIST.reach("team-a", Storage(uri=uri, endpoint=GOOD)), Storage)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.example.com:443",
        "https://s3.example.com/",
        "HTTPS://S3.Example.COM",
        "https://s3.example.com.",
    ],
)
def test_spellings_of_the_listed_endpoint_are_the_same_server(endpoint: str) -> None:
    found = LIST.reach("team-a", Storage(uri="s3://b/team-a", endpoint=endpoint, region="evil", path_style=False))
    assert found == Storage(uri="s3://b/team-a", endpoint=GOOD, region="us-east-1", path_style=True)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example.com",
        "https://s3.example.com:444",
        "https://s3.example.com.evil",
        "https://s3.example.com@evil",
        "https://evil@s3.example.com",
        "https://evil#@s3.example.com",
        "https://evil\\@s3.example.com",
        "https://s3.example.com/evil",
        "https://s3.example.com?x=1",
        "https://s3.example.com:x",
        "https://[s3.example.com",
        "https://s3.example.com\n.evil",
        "https://",
        "",
        None,
    ],
)
def test_an_endpoint_that_only_looks_like_the_listed_one_is_not_asked(endpoint: str | None) -> None:
    assert isinstance(LIST.reach("team-a", Storage(uri="s3://b/team-a", endpoint=endpoint)), Unlisted)


Text = st.text(st.sampled_from("ab/.%-:@\\?# \x00s3team") | st.characters(), max_size=30)


@settings(deadline=None)
@given(
    uri=Text,
    endpoint=st.none() | Text,
    region=st.none() | Text,
    namespace=st.sampled_from(["team-a", "team-b", "*", ""]),
)
def test_whatever_an_experiment_writes_the_operator_reaches_listed_stores_as_they_are_listed(
    uri: str, endpoint: str | None, region: str | None, namespace: str
) -> None:
    for text in (uri, f"s3://b/{uri}", f"s3://b/team-a{uri}"):
        for where in (endpoint, GOOD):
            wanted = Storage(uri=text, endpoint=where, region=region, ca_bundle=region)
            found = LIST.reach(namespace, wanted)
            if isinstance(found, Storage):
                assert (found.endpoint, found.region, found.path_style, found.ca_bundle) == (
                    GOOD,
                    "us-east-1",
                    True,
                    None,
                )
                place = place_of(found.uri)
                assert place is not None
                assert place[:2] in (("b", "shared"), ("b", "team-a"))
                assert ".." not in place
                assert place[1] == "shared" or namespace == "team-a"
            own = Trust(own_endpoint=GOOD).reach(namespace, wanted)
            if isinstance(own, Storage):
                assert (own.endpoint, own.ca_bundle) == (None, None)
                assert server_of(where or GOOD) == server_of(GOOD)


def test_a_bucket_never_becomes_a_service_in_another_namespace() -> None:
    """`evil.minio` is the Service `evil` of the namespace `minio`: who owns that would get the operator's requests."""
    found = Trust(own_endpoint="http://minio:9000").reach("team-a", Storage(uri="s3://evil/x", path_style=False))
    assert isinstance(found, Storage)
    assert found.path_style


def test_an_experiment_whose_store_is_not_listed_runs_to_its_end_by_its_jobs_alone() -> None:
    world = World(store_unlisted="not listed: ask an administrator")
    assert world.run_to_the_end() == "Succeeded"
    assert all(name.endswith("-1") for name in world.created), "a complete Job is a stage that is done: no second one"
    condition = world.condition("StoreReadable")
    assert (condition["status"], condition["reason"]) == ("Unknown", "StoreNotListed")
    assert condition["message"] == "not listed: ask an administrator"
    assert world.step() == Decision()


def test_of_a_store_that_is_not_looked_at_a_job_that_is_gone_is_remembered() -> None:
    """Its ttl has removed it: the stage is not computed again."""
    world = World(store_unlisted="not listed")
    world.step()
    (name,) = world.active()
    world.finish(name)
    world.step()
    world.remove(name)
    world.step()
    assert name.rpartition("-")[0] + "-2" not in world.created
    assert StoreView(unlisted="x").readable is False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('[{"uri": "s3://b/../c", "namespaces": ["a"]}]', r"stores\[0\]\.uri: "),
        ('[{"uri": "s3://b", "namespaces": []}]', r"stores\[0\]\.namespaces: "),
        ('[{"uri": "s3://b", "namespaces": ["a"], "endpoint": "ftp://x"}]', r"stores\[0\]\.endpoint: .*write https"),
        ('[{"uri": "s3://b", "namespaces": ["a"], "endpont": "https://x"}]', r"stores\[0\]\.endpont: "),
        ("{", "stores: "),
    ],
)
def test_a_list_that_cannot_be_read_ends_the_operator_with_the_entrys_name(value: str, said: str) -> None:
    """One that was left out silently would open what it was to close."""
    with pytest.raises(BadInput, match=said):
        read_trust({"MISSTEP_STORES": value})


def test_settings_know_the_list_and_the_own_endpoint() -> None:
    found = read_trust({"MISSTEP_STORES": '[{"uri":"s3://b","namespaces":["a"],"pathStyle":true,"endpoint":""}]'})
    assert found.stores == (ListedStore(uri="s3://b", namespaces=("a",), path_style=True),)
    both = {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}
    assert read_trust(both) == Trust((), "http://b")
    assert read_trust(both | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}) == Trust()
