"""Two hundred webhooks at once, to several processes that share one Valkey, while LaunchDarkly's data changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tests.support.chalice_local import chalice_locals
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.valkey import ValkeyServer
from tests.support.webhooks import flag_entry, segment_entry, signature_of

Json = dict[str, Any]

WEBHOOKS = 200
SECRET = "the webhook's secret"


@pytest.fixture(scope="module")
def launchdarkly() -> Iterator[FakeLaunchDarkly]:
    """The one of all bursts, because the processes are."""
    fake = FakeLaunchDarkly()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def urls(
    valkey_server: ValkeyServer, launchdarkly: FakeLaunchDarkly, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Of three processes of the app."""
    environment = {
        "REDIS_URL": valkey_server.url,
        "LAUNCHDARKLY_SDK_KEY": "sdk-key",
        "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri,
        "LAUNCHDARKLY_WEBHOOK_SECRET": SECRET,
    }
    with chalice_locals(3, environment, tmp_path_factory.mktemp("burst")) as urls:
        yield urls


@pytest.fixture
def fetches(launchdarkly: FakeLaunchDarkly) -> Callable[[], int]:
    """How many there were in this test."""
    before = launchdarkly.stream_count
    return lambda: launchdarkly.stream_count - before


def post_signed(url: str, entry: Json) -> requests.Response:
    body = json.dumps(entry).encode()
    headers = {"X-LD-Signature": signature_of(body, SECRET), "Content-Type": "application/json"}
    with requests.Session() as session:
        # `chalice local` keeps five connections waiting, and the machine resets the others: they come again.
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=20, backoff_factor=0.1, allowed_methods=None)))
        return session.post(f"{url}/webhook", data=body, headers=headers, timeout=60)


def stored(valkey: redis.Redis) -> Json:
    kinds = {"flags": "features", "segments": "segments"}
    return {
        name: {key: json.loads(text) for key, text in valkey.hgetall(f"launchdarkly:{kind}").items()}
        for name, kind in kinds.items()
    }


def sync_record(valkey: redis.Redis) -> Json:
    record: Json = json.loads(valkey.get("launchdarkly:$sync") or "null")
    return record


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])
def test_a_burst_costs_a_few_fetches_and_loses_no_change(
    urls: list[str],
    launchdarkly: FakeLaunchDarkly,
    fetches: Callable[[], int],
    valkey: redis.Redis,
    announced: bool,
) -> None:
    flags = by_key(*(boolean_flag(f"flag-{number}", 1) for number in range(WEBHOOKS)))
    launchdarkly.replace(flags, by_key(segment("beta", 1)))

    def change(number: int, url: str) -> requests.Response:
        """Change something, then announce it, as LaunchDarkly does."""
        key = f"flag-{number}"
        if number % 10 == 0:
            launchdarkly.put_segment(segment("beta", 2 + number, f"user-{number}"))
            return post_signed(url, segment_entry("beta"))
        launchdarkly.put_flag(boolean_flag(key, 2, value=False))
        return post_signed(url, flag_entry(key, 2 if announced else None))

    with ThreadPoolExecutor(WEBHOOKS) as clients:
        answers = list(clients.map(change, range(WEBHOOKS), urls * WEBHOOKS))

    assert Counter(answer.status_code for answer in answers) == {200: WEBHOOKS}
    statuses = Counter(answer.json()["status"] for answer in answers)
    assert statuses["refreshed"] == fetches() <= 4
    assert statuses["refreshed"] + statuses["coalesced"] == WEBHOOKS
    assert stored(valkey) == launchdarkly.data()
    assert sync_record(valkey)["revision"] in {answer.json()["revision"] for answer in answers}


def test_changes_that_keep_coming_during_a_burst_are_in_the_store_when_it_is_over(
    urls: list[str], launchdarkly: FakeLaunchDarkly, fetches: Callable[[], int], valkey: redis.Redis
) -> None:
    """One flag changes twenty times, each change announced by ten webhooks, in no particular order."""
    launchdarkly.replace(by_key(boolean_flag("busy", 1), boolean_flag("calm", 1)))
    with ThreadPoolExecutor(WEBHOOKS) as clients:
        answers = []
        for version in range(2, 22):
            launchdarkly.put_flag(boolean_flag("busy", version, value=version % 2 == 0))
            answers += [
                clients.submit(post_signed, urls[number % 3], flag_entry("busy", version)) for number in range(10)
            ]
        results = [answer.result() for answer in answers]

    assert Counter(answer.status_code for answer in results) == {200: WEBHOOKS}
    assert {answer.json().get("confirmed", True) for answer in results} == {True}
    assert stored(valkey) == launchdarkly.data()
    assert fetches() <= 4
