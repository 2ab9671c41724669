"""docs/openapi.yaml is what the app does: schemathesis tries to prove otherwise."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings

from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES, PROJECT
from tests.support.wsgi import WsgiGateway

TOKEN = "test-token"
DESCRIPTION = PROJECT / "docs" / "openapi.yaml"
DESCRIBED = yaml.safe_load(DESCRIPTION.read_text())["paths"]


def test_the_description_names_routes_of_the_app_with_all_their_methods(app: App) -> None:
    """Routes that somebody adds to the app of a deployment are not the project's, and are not described."""
    assert {path: {name.upper() for name in item if name != "parameters"} for path, item in DESCRIBED.items()} == {
        path: set(routes) for path, routes in app.module.app.routes.items() if path in DESCRIBED
    }


gateway = WsgiGateway()
schema = schemathesis.openapi.from_path(DESCRIPTION)
schema.app = gateway


@pytest.fixture
def described_app(load_app: LoadApp, redis_url: str) -> App:
    """The app over a filled store."""
    app = load_app(
        {
            "REDIS_URL": redis_url,
            "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
            "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow",
            "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "CORS_ALLOW_ORIGIN": "https://app.example.com",
            "EXPLORER": "on",
        }
    )
    app.invoke("reconcile", {})
    return app


def does_what_the_description_says(method: str, path: str) -> Any:
    """A test of one operation, with a name of its own: items of one name are one item to those who distribute them."""

    @schema.include(method=method.upper(), path=path).parametrize()
    @settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def test(case: schemathesis.Case[Any], described_app: App) -> None:
        gateway.app = described_app
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})

    return test


OPERATIONS = [(method, path) for path, item in DESCRIBED.items() for method in item if method != "parameters"]
TESTS = {
    re.sub(r"\W+", "_", f"test {method} {path} does what the description says"): (method, path)
    for method, path in OPERATIONS
}
globals().update({name: does_what_the_description_says(*operation) for name, operation in TESTS.items()})


def test_each_operation_has_a_test_of_its_own() -> None:
    assert len(TESTS) == len(OPERATIONS) == schema.statistic.operations.total
