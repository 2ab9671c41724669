"""The tests of routes run behind every front door; the others behind the REST API,
and those of a route that are dear and ask nothing of a door are marked `rest_api`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.app import App
from tests.support.data import example_data
from tests.support.fronts import FRONTS
from tests.support.shared_apps import SharedApps, shared_apps_over_valkey

BEHIND_EVERY_FRONT = frozenset(
    {"test_access", "test_cors", "test_etag", "test_ofrep", "test_own_routes", "test_requests", "test_webhook"}
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("rest_api") is not None or "front" not in metafunc.fixturenames:
        return
    if metafunc.module.__name__.rpartition(".")[2] in BEHIND_EVERY_FRONT:
        metafunc.parametrize("front", FRONTS)


@pytest.fixture(scope="module")
def shared_apps() -> Iterator[SharedApps]:
    """Apps for the tests of a module that change nothing that an answer comes from."""
    with shared_apps_over_valkey() as apps:
        yield apps


@pytest.fixture
def example_app(shared_apps: SharedApps, front: str) -> App:
    """The app over the example flags, which its tests leave as they are."""
    return shared_apps.app(example_data(), front)
