"""A refresh waits on the open stream for what its webhook announced, and says whether it came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.refresh.conftest import BRIEF
from tests.support.app import App, Environment, LoadApp
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.waiting import eventually
from tests.support.webhooks import archived, deletion, flag_entry, segment_entry

Json = dict[str, Any]

OTHERS = [boolean_flag("calm", 1)]


@pytest.fixture
def lagging(launchdarkly: FakeLaunchDarkly) -> FakeLaunchDarkly:
    """A LaunchDarkly whose caches are behind: new streams start with the flag at version 1."""
    launchdarkly.replace(by_key(boolean_flag("shiny", 1), *OTHERS), by_key(segment("beta", 1)))
    launchdarkly.put_override = launchdarkly.data()
    return launchdarkly


@contextmanager
def during_the_fetch(app: App, launchdarkly: FakeLaunchDarkly, entry: Json) -> Iterator[Callable[[], Json]]:
    """The context runs while the webhook's stream is open; then its answer can be had."""
    fetches = launchdarkly.stream_count
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(app.webhook, **entry)
        eventually(lambda: launchdarkly.stream_count > fetches)
        yield answer.result


def stored(valkey: redis.Redis, kind: str = "features") -> dict[str, int]:
    return {str(key): json.loads(text)["version"] for key, text in valkey.hgetall(f"launchdarkly:{kind}").items()}


def waiting(valkey: redis.Redis) -> list[str]:
    """What is announced by the webhooks that no refresh has covered."""
    return [str(text) for text in valkey.hvals("launchdarkly:$queue") if text not in ('"met"', '"unmet"')]


def test_a_version_that_is_there_is_confirmed(app: App, launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 7)))
    assert app.webhook(**flag_entry("shiny", 7))["confirmed"] is True
    assert app.webhook(**flag_entry("shiny", 6))["confirmed"] is True


def test_a_version_that_arrives_late_is_in_the_store(app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis) -> None:
    with during_the_fetch(app, lagging, flag_entry("shiny", 3)) as answer:
        lagging.put_flag(boolean_flag("shiny", 2))
        lagging.put_segment(segment("beta", 5))
        lagging.put_flag(boolean_flag("shiny", 3))
    assert answer()["confirmed"] is True
    assert stored(valkey) == {"shiny": 3, "calm": 1}
    assert stored(valkey, "segments") == {"beta": 5}


def test_a_version_that_does_not_arrive_is_not_confirmed_and_the_rest_is_written(
    brief_app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    answer = brief_app.webhook(**flag_entry("shiny", 9))
    revision = answer.pop("revision")
    assert answer == {
        "status": "refreshed",
        "flags": 2,
        "segments": 1,
        "changed": True,
        "confirmed": False,
        "held_back": 0,
    }
    assert json.loads(valkey.get("launchdarkly:$sync") or "")["revision"] == revision
    assert stored(valkey) == {"shiny": 1, "calm": 1}


@pytest.mark.parametrize("entry", [deletion("shiny"), archived("shiny")], ids=["deleted", "archived"])
def test_a_deletion_is_waited_for(app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis, entry: Json) -> None:
    with during_the_fetch(app, lagging, entry) as answer:
        lagging.delete_flag("shiny")
    assert answer()["confirmed"] is True
    assert stored(valkey) == {"calm": 1}


def test_a_deletion_that_does_not_arrive_is_not_confirmed(
    brief_app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    assert brief_app.webhook(**deletion("shiny"))["confirmed"] is False
    assert stored(valkey) == {"shiny": 1, "calm": 1}


@pytest.mark.parametrize(
    "entry",
    [segment_entry("beta"), flag_entry("shiny"), {"kind": "flag"}],
    ids=["a segment", "a flag without a version", "an entry that says nothing"],
)
def test_without_an_announcement_the_stream_stays_open_for_a_while(
    app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis, entry: Json
) -> None:
    with during_the_fetch(app, lagging, entry) as answer:
        lagging.put_segment(segment("beta", 2))
    assert answer()["confirmed"] is None
    assert stored(valkey, "segments") == {"beta": 2}


def test_the_version_of_another_environment_announces_nothing(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny", 1)))
    app = load_app({**environment, "LAUNCHDARKLY_ENVIRONMENT": "proj/default:env/staging"})
    entry = flag_entry("shiny", 9)
    entry["accesses"].append({"action": "updateOn", "resource": "proj/default:env/staging:flag/shiny"})
    assert app.webhook(**entry)["confirmed"] is None


def test_a_fetch_waits_for_what_every_webhook_that_it_covers_announced(
    load_app: LoadApp, environment: Environment, lagging: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    """The second webhook is answered by the first one's fetch: coalescing does not trade away freshness."""
    first, second = load_app(environment), load_app(environment)
    valkey.set("launchdarkly:$lock", "somebody else")
    fetches = lagging.stream_count
    with ThreadPoolExecutor(2) as threads:
        answers = [
            threads.submit(first.webhook, **flag_entry("calm", 1)),
            threads.submit(second.webhook, **flag_entry("shiny", 4)),
        ]
        eventually(lambda: len(waiting(valkey)) == 2)
        valkey.delete("launchdarkly:$lock")
        eventually(lambda: lagging.stream_count > fetches)
        lagging.put_flag(boolean_flag("shiny", 4))
        statuses = sorted(answer.result()["status"] for answer in answers)
    assert statuses == ["coalesced", "refreshed"]
    assert lagging.stream_count == fetches + 1
    assert stored(valkey) == {"shiny": 4, "calm": 1}
    assert waiting(valkey) == []


def test_webhooks_that_were_covered_in_vain_twice_say_so(
    load_app: LoadApp, environment: Environment, lagging: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    apps = [load_app(environment, BRIEF) for _ in range(6)]
    valkey.set("launchdarkly:$lock", "somebody else")
    fetches = lagging.stream_count
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(app.webhook, **flag_entry("shiny", 9)) for app in apps]
        eventually(lambda: len(waiting(valkey)) == 6)
        valkey.delete("launchdarkly:$lock")
        results = [answer.result() for answer in answers]
    assert [result["confirmed"] for result in results] == [False] * 6
    refreshes = lagging.stream_count - fetches
    assert sorted(result["status"] for result in results) == ["coalesced"] * (6 - refreshes) + ["refreshed"] * refreshes
    assert 2 <= refreshes < 6


def test_a_webhook_whose_refresh_failed_leaves_its_announcement_to_the_next(
    app: App, lagging: FakeLaunchDarkly, valkey: redis.Redis
) -> None:
    with during_the_fetch(app, lagging, {"kind": "flag"}) as answer:
        valkey.set("launchdarkly:$lock", "a thief")
        lagging.put_flag(boolean_flag("shiny", 4))
        with pytest.raises(AssertionError, match="longer than its lock"):
            answer()
    valkey.delete("launchdarkly:$lock")
    assert waiting(valkey) == ["null"]
    valkey.hset("launchdarkly:$queue", "lost", json.dumps({"kind": "features", "key": "shiny", "version": 5}))

    with during_the_fetch(app, lagging, flag_entry("calm", 1)) as answer:
        lagging.put_flag(boolean_flag("shiny", 5))
    assert answer()["confirmed"] is True
    assert stored(valkey) == {"shiny": 5, "calm": 1}
