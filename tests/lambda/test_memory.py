"""A warm function lives for hours: what it takes in memory must not depend on how much it has answered."""

from __future__ import annotations

import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.app import Environment
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.lambda_runtime import Function

FLAGS = 510  # enough for the collector to be kept out of decoding them
MOST_BYTES = 2_000_000
"""More than a warm process has taken, which is a tenth: 570 bytes a request, or a tenth of a data set a refresh."""


@pytest.fixture
def function(environment: Environment) -> Iterator[Function]:
    """The app as Lambda runs it, with the garbage collector as it is."""
    settings = {**environment, "LAUNCHDARKLY_ENVIRONMENT": "proj/default:env/production"}
    site_packages = Path(sysconfig.get_paths()["purelib"])
    with Function(PROJECT, "tests.support.mixed_requests.handle", settings, site_packages) as function:
        yield function


def put(launchdarkly: FakeLaunchDarkly, version: int) -> None:
    """Flags of about a kilobyte, as users have them; one in ten, and ``changing``, are new in each version."""
    clauses = [{"attribute": "email", "op": "endsWith", "values": [f"@{n}.example.com" for n in range(25)]}]
    flags = [
        boolean_flag(
            f"flag-{number}",
            version // 10 * 10 + number % 10 if number % 10 == version % 10 else 1,
            rules=[{"id": "mail", "variation": 1, "clauses": clauses}],
        )
        for number in range(FLAGS)
    ]
    launchdarkly.replace(by_key(*flags, boolean_flag("changing", version)))


def test_memory_is_flat_over_many_requests_and_refreshes(function: Function, launchdarkly: FakeLaunchDarkly) -> None:
    def load(refreshes: int, rounds: int) -> int:
        """Resident bytes after more refreshes of changing content, each followed by so many rounds of requests."""
        for _ in range(refreshes):
            version = next(versions)
            put(launchdarkly, version)
            function.invoke({"version": version, "rounds": rounds}, timeout_seconds=600)
        assert function.process is not None
        resident: int = psutil.Process(function.process.pid).memory_info().rss
        return resident

    versions = itertools.count(1)
    warm = load(refreshes=12, rounds=10)
    after_requests = load(refreshes=8, rounds=40)
    after_refreshes = load(refreshes=32, rounds=2)

    assert after_requests - warm < MOST_BYTES, "after 3,520 requests"
    assert after_refreshes - after_requests < MOST_BYTES, "after 32 refreshes"
