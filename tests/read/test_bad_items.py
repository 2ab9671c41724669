"""One bad item in the store is one bad flag in the answer; it is logged once for each revision, and counted."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from ldclient.versioned_data_kind import FEATURES

from chalicelib.errors import UnreadableItem
from chalicelib.read.feature_stores import SnapshotFeatureStore
from tests.read.conftest import Reader, ReaderOf
from tests.support.app import logged
from tests.support.data import ANNA, boolean_flag, segment
from tests.support.stores import as_json

UNREADABLE_REASON = {"kind": "ERROR", "errorKind": "EXCEPTION"}

BAD_FLAGS: dict[str, str | bytes] = {
    "empty": "",
    "cut off": json.dumps(boolean_flag("bad"))[:-1],
    "not UTF-8": b'{"key": "bad\xff", "version": 1}',
    "a string": '"bad"',
    "a number": "1",
    "null": "null",
    "a list": json.dumps([boolean_flag("bad")]),
    "no version": '{"key": "bad"}',
    "no key": '{"version": 1}',
    "another flag's key": json.dumps(boolean_flag("good", 9, value=False)),
    "version of a wrong type": json.dumps(boolean_flag("bad") | {"version": "1"}),
    "variations of a wrong type": json.dumps(boolean_flag("bad", variations={"0": True})),
    "rule of a wrong type": json.dumps(boolean_flag("bad", rules=["everybody"])),
    "clause without an operator": json.dumps(
        boolean_flag("bad", rules=[{"clauses": [{"attribute": "a", "values": []}]}])
    ),
    "fallthrough of a wrong type": json.dumps(boolean_flag("bad", fallthrough=[0])),
    "a date beyond all dates": json.dumps(
        boolean_flag(
            "bad",
            rules=[{"variation": 0, "clauses": [{"attribute": "born", "op": "before", "values": [10**400]}]}],
        )
    ),
    "NaN": json.dumps(boolean_flag("bad", variations=[float("nan")])),
    "infinity": json.dumps(boolean_flag("bad", variations=[1])).replace("[1]", "[1e999]"),
    "nested too deeply": "[" * 100_000,
}


@pytest.fixture
def foreign_store(redis_url: str) -> redis.Redis:
    """A client of the store, which says that it was filled, but not by us."""
    client = redis.Redis.from_url(redis_url)
    client.set("launchdarkly:$inited", "launchdarkly:$inited")
    return client


def put(store: redis.Redis, kind: str, items: Mapping[Any, Any]) -> None:
    store.hset(f"launchdarkly:{kind}", mapping=items)


@pytest.mark.parametrize("text", list(BAD_FLAGS.values()), ids=list(BAD_FLAGS))
def test_a_bad_flag_is_an_error_and_all_others_are_evaluated(
    text: str | bytes, foreign_store: redis.Redis, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    put(foreign_store, "features", {**as_json(boolean_flag("good", 2)), "bad": text})
    reader = reader_of(redis_url)
    good = {"value": True, "variation": 0, "version": 2}

    assert reader.app.evaluate(ANNA) == {"good": good, "bad": {"value": None}}
    assert reader.app.evaluate(ANNA, "?withReasons=true") == {
        "good": {**good, "reason": {"kind": "FALLTHROUGH"}},
        "bad": {"value": None, "reason": UNREADABLE_REASON},
    }
    assert reader.app.evaluate(ANNA, "?flags=bad,good") == {"good": good, "bad": {"value": None}}
    assert reader.app.evaluate(ANNA, "?flags=good") == {"good": good}
    assert reader.app.evaluate(ANNA, "?clientSideOnly=true") == {}
    assert reader.app.post("/evaluate/good", ANNA).json_body["value"] is True
    answer = reader.app.post("/evaluate/bad", ANNA)
    assert (answer.status_code, answer.json_body) == (
        200,
        {"key": "bad", "value": None, "variation": None, "version": None, "reason": UNREADABLE_REASON},
    )
    assert [record.levelname for record in logged(caplog)] == ["ERROR"]
    assert logged(caplog)[0].getMessage().startswith("stored item features/bad cannot be read: ")
    assert _unreadable_count(reader) == 1


def test_a_bad_segment_or_prerequisite_is_an_error_of_the_flags_that_need_it(
    foreign_store: redis.Redis, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    in_segment = {"attribute": "", "op": "segmentMatch", "values": ["beta"]}
    needs_segment = boolean_flag("needs-segment", rules=[{"clauses": [in_segment], "variation": 0}])
    needs_flag = boolean_flag("needs-flag", prerequisites=[{"key": "bad", "variation": 0}])
    put(foreign_store, "features", {**as_json(boolean_flag("good"), needs_segment, needs_flag), "bad": "{"})
    put(foreign_store, "segments", {**as_json(segment("fine")), "beta": "{"})
    reader = reader_of(redis_url)

    for _ in range(3):
        answer = reader.app.evaluate(ANNA, "?withReasons=true")
        assert {key: (flag["value"], flag["reason"]) for key, flag in answer.items()} == {
            "good": (True, {"kind": "FALLTHROUGH"}),
            "needs-segment": (None, UNREADABLE_REASON),
            "needs-flag": (None, UNREADABLE_REASON),
            "bad": (None, UNREADABLE_REASON),
        }
        for key in ("needs-segment", "needs-flag", "bad"):
            answer = reader.app.post(f"/evaluate/{key}", ANNA).json_body
            assert (answer["value"], answer["variation"], answer["reason"]) == (None, None, UNREADABLE_REASON)
            assert reader.app.evaluate(ANNA, f"?flags={key}")[key]["value"] is None

    # Not a line for each evaluation, which would be thousands for a segment that many flags need.
    assert sorted(record.getMessage().split(" cannot")[0] for record in logged(caplog)) == [
        "stored item features/bad",
        "stored item segments/beta",
    ]
    assert _unreadable_count(reader) == 2


def test_a_bad_item_is_logged_once_for_each_revision_however_often_it_is_read(
    foreign_store: redis.Redis, redis_url: str, reader_of: ReaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    reader = reader_of(redis_url, STORE_CACHE_SECONDS="0")  # the data set is read anew for every request
    for version in (1, 2):
        put(foreign_store, "features", {**as_json(boolean_flag("good", version)), "bad": "{"})
        caplog.clear()
        for _ in range(3):
            assert reader.app.evaluate(ANNA)["good"]["version"] == version
        assert [record.levelno for record in logged(caplog)] == [logging.ERROR]


def test_deleted_items_are_not_there(foreign_store: redis.Redis, redis_url: str, reader_of: ReaderOf) -> None:
    in_segment = {"attribute": "", "op": "segmentMatch", "values": ["gone"]}
    rules = [{"clauses": [in_segment], "variation": 1}]
    put(
        foreign_store,
        "features",
        {
            **as_json(boolean_flag("flag", rules=rules)),
            **as_json(boolean_flag("orphan", prerequisites=[{"key": "gone", "variation": 0}])),
            "gone": '{"version": 3, "deleted": true}',
            "gone-too": '{"key": "$deleted", "version": 3, "deleted": true}',
        },
    )
    put(foreign_store, "segments", {"gone": '{"key": "gone", "version": 3, "deleted": true}'})
    reader = reader_of(redis_url)

    assert reader.app.evaluate(ANNA) == {
        "flag": {"value": True, "variation": 0, "version": 1},
        "orphan": {"value": False, "variation": 1, "version": 1, "prerequisites": ["gone"]},
    }
    assert reader.app.evaluate(ANNA, "?flags=gone,gone-too") == {}
    assert reader.app.post("/evaluate/gone", ANNA).status_code == 404
    assert _unreadable_count(reader) == 0


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that they meet in every place."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless_threads")
def test_threads_decode_an_item_once_and_log_it_once(caplog: pytest.LogCaptureFixture) -> None:
    flags = {key: text.encode() for key, text in as_json(*(boolean_flag(f"flag-{n}") for n in range(200))).items()}
    bad = {f"bad-{n}": b"{" for n in range(200)}

    def read(store: SnapshotFeatureStore) -> tuple[list[Any], int]:
        for key in bad:
            with pytest.raises(UnreadableItem):
                store.get(FEATURES, key)
            store.unreadable_flags()  # while other threads find more of them
        return [store.get(FEATURES, key) for key in flags], len(store.all(FEATURES))

    for _ in range(5):
        caplog.clear()
        store = SnapshotFeatureStore({"features": {**flags, **bad}, "segments": {}})
        with ThreadPoolExecutor(8) as threads:
            (first, count), *others = threads.map(read, [store] * 8)
        assert count == len(flags)
        for items, _ in others:
            assert all(mine is theirs for mine, theirs in zip(first, items, strict=True))
        assert len(logged(caplog)) == len(bad) == store.unreadable_count
        assert sorted(store.unreadable_flags()) == sorted(bad)


def _unreadable_count(reader: Reader) -> int:
    count: int = reader.app.module.wiring.snapshots.current().feature_store.unreadable_count
    return count
