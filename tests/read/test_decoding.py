"""What an answer costs: only what it needs is decoded, and a 304 needs nothing.

Shown by a store in which everything else cannot be decoded, which would be logged.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from ldclient.versioned_data_kind import FEATURES

from chalicelib.read.contexts import parse_context
from chalicelib.read.evaluation import Options, evaluate_flags
from chalicelib.read.feature_stores import SnapshotFeatureStore
from chalicelib.read.snapshots import Snapshot
from tests.read.conftest import ReaderOf
from tests.support.app import logged
from tests.support.data import ANNA, boolean_flag, segment
from tests.support.stores import as_json

IN_BETA = {"attribute": "", "op": "segmentMatch", "values": ["beta"]}
NEEDS_OTHERS = boolean_flag(
    "needs-others",
    prerequisites=[{"key": "plain", "variation": 0}],
    rules=[{"clauses": [IN_BETA], "variation": 0}],
)
TRUE = {"value": True, "variation": 0, "version": 1}


@pytest.fixture(autouse=True)
def store(redis_url: str) -> redis.Redis:
    """Two flags and a segment among 5,000 flags and a segment that cannot be decoded."""
    client = redis.Redis.from_url(redis_url)
    client.set("launchdarkly:$inited", "")
    bad: dict[Any, Any] = {f"bad-{number}": "{" for number in range(5000)}
    client.hset("launchdarkly:features", mapping={**bad, **as_json(boolean_flag("plain"), NEEDS_OTHERS)})
    client.hset("launchdarkly:segments", mapping={"bad": "{", **as_json(segment("beta", 1, "anna"))})
    return client


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("?flags=plain,unknown", {"plain": TRUE}),
        ("?flags=needs-others", {"needs-others": {**TRUE, "prerequisites": ["plain"]}}),
        ("?flags=", {}),
    ],
)
def test_only_the_named_flags_and_what_they_need_are_decoded(
    query: str, answer: object, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    assert reader_of(redis_url).app.evaluate(ANNA, query) == answer
    assert logged(caplog) == []


@pytest.mark.parametrize(("key", "status"), [("plain", 200), ("needs-others", 200), ("unknown", 404)])
def test_one_flag_decodes_only_what_it_needs(
    key: str, status: int, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    assert reader_of(redis_url).app.post(f"/evaluate/{key}", ANNA).status_code == status
    assert logged(caplog) == []


@pytest.mark.parametrize("path", ["/evaluate", "/evaluate?flags=bad-1", "/evaluate/bad-1"])
def test_a_304_decodes_nothing(
    path: str, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    answer = reader_of(redis_url).app.post(path, ANNA)
    assert answer.status_code == 200
    assert logged(caplog) != []

    caplog.clear()
    another_process = reader_of(redis_url)
    not_modified = another_process.app.post(path, ANNA, {"If-None-Match": answer.headers["ETag"]})
    assert (not_modified.status_code, not_modified.body) == (304, b"")
    assert not_modified.headers["ETag"] == answer.headers["ETag"]
    assert not_modified.headers["X-Flags-Revision"] == answer.headers["X-Flags-Revision"]
    assert logged(caplog) == []


def test_flags_are_evaluated_alike_alone_and_among_all(redis_url: str, reader_of: ReaderOf) -> None:
    reader = reader_of(redis_url)
    everything = reader.app.evaluate(ANNA, "?withReasons=true")
    assert len(everything) == 5002
    some = reader.app.evaluate(ANNA, "?withReasons=true&flags=needs-others,bad-7,unknown")
    assert some == {key: everything[key] for key in ("needs-others", "bad-7")}
    event = {"context": ANNA, "withReasons": True, "flags": ["needs-others", "bad-7", "unknown"]}
    assert reader.app.invoke("on_event", event)["flags"] == some


def test_asking_for_unknown_flags_takes_no_memory() -> None:
    feature_store = SnapshotFeatureStore({"features": {}, "segments": {}})
    for number in range(100):
        assert feature_store.get(FEATURES, f"unknown-{number}") is None
    assert feature_store._decoded == {"features": {}, "segments": {}}


def store_of(*flags: dict[str, Any], previous: SnapshotFeatureStore | None = None) -> SnapshotFeatureStore:
    features = {flag["key"]: json.dumps(flag).encode() for flag in flags}
    return SnapshotFeatureStore({"features": {**features, "bad": b"{"}, "segments": {}}, previous)


def test_the_next_snapshot_takes_over_what_is_decoded_of_the_same_text(caplog: pytest.LogCaptureFixture) -> None:
    same, other, gone = boolean_flag("same"), boolean_flag("other"), boolean_flag("gone", deleted=True)
    first = store_of(same, other, gone, boolean_flag("removed"), boolean_flag("never asked for"))
    decoded = {key: first.get(FEATURES, key) for key in ("same", "other", "gone", "removed")}
    first.all(FEATURES)

    second = store_of(same, {**other, "version": 2}, gone, previous=first)
    assert second.get(FEATURES, "same") is decoded["same"]
    assert second.get(FEATURES, "other").version == 2
    assert second.get(FEATURES, "gone") is None
    assert second.get(FEATURES, "removed") is None
    caplog.clear()
    assert second.all(FEATURES).keys() == {"same", "other"}
    assert len(logged(caplog)) == 1, "a bad item is logged for each revision"


def test_a_change_is_seen_in_an_answer_that_is_the_same_for_everybody() -> None:
    context = parse_context(ANNA)
    flag = boolean_flag("plain")
    first = Snapshot(store_of(flag), "1", None, read_at=0.0)
    for _ in range(2):
        assert evaluate_flags(first, context, Options())["plain"] == TRUE
    changed = {**flag, "version": 2, "on": False}
    second = Snapshot(store_of(changed, previous=first.feature_store), "2", None, read_at=0.0)
    for _ in range(2):
        assert evaluate_flags(second, context, Options())["plain"] == {"value": False, "variation": 1, "version": 2}
        assert evaluate_flags(first, context, Options())["plain"] == TRUE
