"""The tests of routes run behind every front door; the others behind the REST API,
and those of a route that are dear and ask nothing of a door are marked `rest_api`."""

from __future__ import annotations

import pytest

from tests.support.fronts import FRONTS

BEHIND_EVERY_FRONT = frozenset(
    {"test_access", "test_cors", "test_etag", "test_ofrep", "test_own_routes", "test_requests", "test_webhook"}
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("rest_api") is not None or "front" not in metafunc.fixturenames:
        return
    if metafunc.module.__name__.rpartition(".")[2] in BEHIND_EVERY_FRONT:
        metafunc.parametrize("front", FRONTS)
