"""A hundred webhooks, to several processes that share one table, while LaunchDarkly's data changes."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.refresh.test_burst import SECRET, post_signed
from tests.stores.conftest import over_store
from tests.support.app import Environment
from tests.support.chalice_local import chalice_locals
from tests.support.data import boolean_flag, by_key, segment
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.stores import content_of, open_store
from tests.support.webhooks import flag_entry, segment_entry

WEBHOOKS = 100
CLIENTS = 50
"""At once. The emulator answers one request after the other, so that more of them would only wait for it."""


def test_a_burst_costs_few_fetches_and_loses_no_change(
    environment: Environment, dynamodb_environment: Environment, launchdarkly: FakeLaunchDarkly, tmp_path: Path
) -> None:
    launchdarkly.replace(
        by_key(*(boolean_flag(f"flag-{number}", 1) for number in range(WEBHOOKS))), by_key(segment("beta", 1))
    )

    def change(number: int, url: str) -> requests.Response:
        """Change something, then announce it, as LaunchDarkly does."""
        if number % 10 == 0:
            launchdarkly.put_segment(segment("beta", 2 + number, f"user-{number}"))
            return post_signed(url, segment_entry("beta"))
        launchdarkly.put_flag(boolean_flag(f"flag-{number}", 2, value=False))
        return post_signed(url, flag_entry(f"flag-{number}", 2))

    signed = {**over_store(environment, dynamodb_environment), "LAUNCHDARKLY_WEBHOOK_SECRET": SECRET}
    with chalice_locals(2, signed, tmp_path) as urls, ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(change, range(WEBHOOKS), itertools.cycle(urls)))

    assert Counter(answer.status_code for answer in answers) == {200: WEBHOOKS}
    statuses = Counter(answer.json()["status"] for answer in answers)
    assert statuses["refreshed"] + statuses["coalesced"] == WEBHOOKS
    assert statuses["refreshed"] == launchdarkly.stream_count <= WEBHOOKS // 8
    assert {answer.json().get("confirmed") for answer in answers} <= {True, None}
    store = open_store(dynamodb_environment)
    stored = content_of(store).items()
    assert {key: item.version for key, item in stored["features"].items()} == {
        key: flag["version"] for key, flag in launchdarkly.flags.items()
    }
    assert stored["segments"]["beta"].version == launchdarkly.segments["beta"]["version"]
    assert store.reader.read_items().texts == content_of(store).texts
    assert store.writer.read_backlog().announcements == {}
