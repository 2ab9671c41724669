"""A delivery that is killed loses nothing, and LaunchDarkly can tell what it has been sent before."""

from __future__ import annotations

import time
from collections import Counter

from chalicelib.events.batches import pack
from tests.stores.conftest import over_store
from tests.support.app import Environment
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Json
from tests.support.killed_deliveries import delivery_killed_at
from tests.support.records import RedisRecords
from tests.support.stores import wiring_of
from tests.support.waiting import eventually

STAGES = [*((stage, None) for stage in range(1, 21)), *((stage, 500) for stage in range(9, 17))]
"""Before and after each request and each payload; and the most bytes that LaunchDarkly takes of one, so that there is
one in each of the first runs, and several in the last ones."""


def summary(key: str, count: int) -> Json:
    now = int(time.time() * 1000)
    counters = [{"count": count, "value": True, "variation": 0, "version": 1}]
    features = {key: {"default": None, "contextKinds": ["user"], "counters": counters}}
    return {"kind": "summary", "startDate": now, "endDate": now, "features": features}


def custom(key: str) -> Json:
    return {"kind": "custom", "creationDate": 1, "key": key, "context": {"kind": "user", "key": "anna"}}


def test_a_delivery_that_is_killed_at_any_stage_loses_nothing(
    environment: Environment, store_environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    settings = {**over_store(environment, store_environment), "EVENTS": "full"}
    reader = wiring_of(settings).reader
    # DynamoDB's, in whole seconds, has then ended at once; for Redis' the test does what time would do.
    lock_seconds, locks = (30.0, RedisRecords(settings["REDIS_URL"])) if "REDIS_URL" in settings else (0.0, None)
    ended = []
    for run, (stage, launchdarkly.most_event_bytes) in enumerate(STAGES):
        events = [summary("counted", run), *(custom(f"event-{run}-{number}") for number in range(4))]
        assert reader.leave_events(pack(events, 0, int(time.time() * 1000)))
        ended.append(delivery_killed_at(stage, settings, lock_seconds))
        if locks is not None:
            locks.lose(["$delivery_lock"])
    assert delivery_killed_at(0, settings, lock_seconds) == 0

    assert ended.count(-9) >= 20
    assert reader.read_delivery().oldest is None
    told = [event for post in launchdarkly.accepted for event in post.events]
    full = Counter(event["key"] for event in told if event["kind"] == "custom")
    assert full == Counter(f"event-{run}-{number}" for run in range(len(STAGES)) for number in range(4))
    counted = [event["features"]["counted"]["counters"] for event in told if event["kind"] == "summary"]
    assert sum(counter["count"] for counters in counted for counter in counters) == sum(range(len(STAGES)))
    posts = [post for post in launchdarkly.posts if post.status == 202]
    repeated = len(posts) - len(launchdarkly.accepted)
    assert repeated >= 1
    assert all(post.events == other.events for post in posts for other in posts if post.payload_id == other.payload_id)


def test_the_lock_of_a_delivery_that_died_ends(store_environment: Environment) -> None:
    queue = wiring_of(store_environment)._event_queue
    assert queue.try_lock("dead", 0.5)
    eventually(lambda: queue.try_lock("next", 30.0))
    assert not queue.try_lock("third", 30.0)
