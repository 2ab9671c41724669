"""docs/openapi.yaml is what the app does: schemathesis tries to prove otherwise."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import negative_data_rejection

from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES, PROJECT
from tests.support.wsgi import WsgiGateway

TOKEN = "test-token"
CLIENT_SIDE_ID = "5f1a6c0e9b2d4c0a1b3e5d7f"
"""The one of the description's example."""
DESCRIPTION = PROJECT / "docs" / "openapi.yaml"
DESCRIBED = yaml.safe_load(DESCRIPTION.read_text())["paths"]


def test_the_description_names_routes_of_the_app_with_all_their_methods(app: App) -> None:
    """Routes that somebody adds to the app of a deployment are not the project's, and are not described."""
    assert {path: {name.upper() for name in item if name != "parameters"} for path, item in DESCRIBED.items()} == {
        path: set(routes) for path, routes in app.module.app.routes.items() if path in DESCRIBED
    }


def encoded_contexts() -> st.SearchStrategy[str]:
    """What the description cannot say of the context in a path."""
    names = st.text("abcæ_", min_size=1)
    attributes = st.dictionaries(names, st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=9), max_size=3)
    contexts = st.builds(lambda kind, key, more: {**more, **kind, "key": key}, KINDS, st.text(min_size=1), attributes)
    raw = contexts.map(lambda context: json.dumps(context).encode())
    return raw.map(lambda text: base64.urlsafe_b64encode(text).decode())


KINDS = st.sampled_from([{}, {"kind": "user"}, {"kind": "organization"}])
schemathesis.openapi.format("base64url", encoded_contexts())

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
            "LAUNCHDARKLY_CLIENT_SIDE_ID": CLIENT_SIDE_ID,
            "LAUNCHDARKLY_MOBILE_KEY_SHA256": hashlib.sha256(f"Bearer {TOKEN}".encode()).hexdigest(),
            "EXPLORER": "on",
        }
    )
    app.invoke("reconcile", {})
    return app


def does_what_the_description_says(method: str, path: str) -> Any:
    """A test of one operation, with a name of its own: items of one name are one item to those who distribute them."""
    is_of_client_sdks = "/sdk/" in path or "/msdk/" in path
    examples = 10 if method == "options" else 20 if is_of_client_sdks else 50
    # The client SDKs may add to their query; and the tests present the key where an example leaves it out.
    excluded = [negative_data_rejection] if is_of_client_sdks else []

    @schema.include(method=method.upper(), path=path).parametrize()
    @settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def test(case: schemathesis.Case[Any], described_app: App) -> None:
        gateway.app = described_app
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=excluded)

    return test


OPERATIONS = [(method, path) for path, item in DESCRIBED.items() for method in item if method != "parameters"]
TESTS = {
    re.sub(r"\W+", "_", f"test {method} {path} does what the description says"): (method, path)
    for method, path in OPERATIONS
}
globals().update({name: does_what_the_description_says(*operation) for name, operation in TESTS.items()})


def test_each_operation_has_a_test_of_its_own() -> None:
    assert len(TESTS) == len(OPERATIONS) == schema.statistic.operations.total
