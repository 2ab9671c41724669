"""A store that a Relay Proxy or another SDK filled has no sync record, and is served all the same."""

from __future__ import annotations

import pytest
import redis

from tests.read.conftest import Reader, ReaderOf
from tests.support.data import ANNA, boolean_flag
from tests.support.stores import as_json, data_set, refresh_store, revision

FIRST = data_set([boolean_flag("shiny", 1)])
SECOND = data_set([boolean_flag("shiny", 2)])


@pytest.fixture
def store(redis_url: str) -> redis.Redis:
    """A client of a store that somebody else filled with version 1 of a flag."""
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    client.set("launchdarkly:$inited", "")
    _put(client, 1)
    return client


def _put(store: redis.Redis, version: int) -> None:
    store.hset("launchdarkly:features", mapping=as_json(boolean_flag("shiny", version)))


def _version(reader: Reader) -> int:
    answer = reader.app.evaluate(ANNA)
    version: int = answer["shiny"]["version"]
    return version


def test_it_is_answered_with_a_revision_and_without_a_time(
    store: redis.Redis, redis_url: str, reader_of: ReaderOf
) -> None:
    answer = reader_of(redis_url).app.post("/evaluate", ANNA)
    assert answer.json_body == {"shiny": {"value": True, "variation": 0, "version": 1}}
    assert answer.headers["X-Flags-Revision"]
    assert "X-Flags-Synced-At" not in answer.headers
    assert "X-Flags-Stale" not in answer.headers
    event = reader_of(redis_url).app.invoke("on_event", ANNA)
    assert (event["revision"], event["syncedAt"], event["stale"]) == (answer.headers["X-Flags-Revision"], None, False)


def test_it_is_reused_for_fifteen_seconds(store: redis.Redis, redis_url: str, reader_of: ReaderOf) -> None:
    reader = reader_of(redis_url)
    assert _version(reader) == 1
    _put(store, 2)
    reader.clock.advance(14.9)
    assert _version(reader) == 1
    reader.clock.advance(0.1)
    assert _version(reader) == 2


def test_how_long_it_is_reused_can_be_set(store: redis.Redis, redis_url: str, reader_of: ReaderOf) -> None:
    reader = reader_of(redis_url, STORE_CACHE_SECONDS="2.5")
    assert _version(reader) == 1
    _put(store, 2)
    reader.clock.advance(2.4)
    assert _version(reader) == 1
    reader.clock.advance(0.1)
    assert _version(reader) == 2


def test_nothing_is_reused_when_that_is_zero(store: redis.Redis, redis_url: str, reader_of: ReaderOf) -> None:
    reader = reader_of(redis_url, STORE_CACHE_SECONDS="0")
    for version in range(2, 10):
        _put(store, version)
        assert _version(reader) == version


def test_unchanged_content_keeps_its_revision_and_what_was_decoded(
    store: redis.Redis, redis_url: str, reader_of: ReaderOf
) -> None:
    reader = reader_of(redis_url, STORE_CACHE_SECONDS="0")
    first = reader.app.module.wiring.snapshots.current()
    second = reader.app.module.wiring.snapshots.current()
    assert second.revision == first.revision
    assert second.feature_store is first.feature_store


def test_a_refresh_takes_over_at_once(store: redis.Redis, redis_url: str, reader_of: ReaderOf) -> None:
    reader = reader_of(redis_url)
    assert _version(reader) == 1
    refresh_store(redis_url, SECOND)
    answer = reader.app.post("/evaluate", ANNA)
    assert answer.json_body["shiny"]["version"] == 2
    assert answer.headers["X-Flags-Revision"] == revision(SECOND)
    assert "X-Flags-Synced-At" in answer.headers


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(None, id="gone"),
        "",
        "garbage",
        "{}",
        "[]",
        pytest.param("[" * 100_000, id="nested too deeply"),
        '{"revision": "r", "synced_at": "soon", "flags": 1, "segments": 0, "source": "launchdarkly"}',
        '{"revision": "r", "synced_at": 1e999, "flags": 1, "segments": 0, "source": "launchdarkly"}',
        '{"revision": "r", "synced_at": 1e18, "flags": 1, "segments": 0, "source": "launchdarkly"}',
    ],
)
def test_a_sync_record_that_goes_away_or_cannot_be_read_leaves_a_foreign_store(
    record: str | None, store: redis.Redis, redis_url: str, reader_of: ReaderOf
) -> None:
    refresh_store(redis_url, FIRST)
    reader = reader_of(redis_url)
    assert "X-Flags-Synced-At" in reader.app.post("/evaluate", ANNA).headers

    if record is None:
        store.delete("launchdarkly:$sync")
    else:
        store.set("launchdarkly:$sync", record)
    _put(store, 2)
    answer = reader.app.post("/evaluate", ANNA)
    assert (answer.status_code, answer.json_body["shiny"]["version"]) == (200, 2)
    assert "X-Flags-Synced-At" not in answer.headers
    assert "X-Flags-Stale" not in answer.headers

    refresh_store(redis_url, FIRST)
    assert "X-Flags-Synced-At" in reader.app.post("/evaluate", ANNA).headers


def test_it_may_be_empty(redis_url: str, reader_of: ReaderOf, store: redis.Redis) -> None:
    store.delete("launchdarkly:features")
    reader = reader_of(redis_url)
    assert reader.app.evaluate(ANNA) == {}
    assert reader.app.post("/evaluate/shiny", ANNA).status_code == 404


def test_an_unchanged_revision_that_was_synced_again_says_so(
    store: redis.Redis, redis_url: str, reader_of: ReaderOf
) -> None:
    refresh_store(redis_url, FIRST)
    reader = reader_of(redis_url)
    first = reader.app.module.wiring.snapshots.current()
    store.set("launchdarkly:$sync", first.record._replace(synced_at_ms=0).to_json())
    second = reader.app.module.wiring.snapshots.current()
    assert (second.revision, second.record.synced_at_ms) == (first.revision, 0)
    assert second.feature_store is first.feature_store
    assert reader.app.post("/evaluate", ANNA).headers["X-Flags-Synced-At"] == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize("key", ["features", "$sync"])
def test_a_key_of_another_type_is_an_outage_not_a_crash(
    key: str, redis_url: str, reader_of: ReaderOf, store: redis.Redis
) -> None:
    store.delete(f"launchdarkly:{key}")
    store.rpush(f"launchdarkly:{key}", "a list")
    answer = reader_of(redis_url).app.post("/evaluate", ANNA)
    assert answer.status_code == 503
    assert "WRONGTYPE" in answer.json_body["Message"]
