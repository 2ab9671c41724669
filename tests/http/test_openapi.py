"""docs/openapi.yaml is what the app does: schemathesis tries to prove otherwise."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings

from tests.conftest import App, LoadApp
from tests.support.data import EXAMPLES, PROJECT
from tests.support.wsgi import WsgiGateway

TOKEN = "test-token"
DESCRIPTION = PROJECT / "docs" / "openapi.yaml"


def test_the_description_names_the_apps_routes_and_methods_and_no_others(app: App) -> None:
    described = yaml.safe_load(DESCRIPTION.read_text())["paths"]
    assert {path: {name.upper() for name in item if name != "parameters"} for path, item in described.items()} == {
        path: set(routes) for path, routes in app.module.app.routes.items()
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
        }
    )
    app.invoke("reconcile", {})
    return app


@schema.parametrize()
@settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_app_does_what_the_description_says(case: schemathesis.Case[Any], described_app: App) -> None:
    gateway.app = described_app
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})
