"""docs/openapi.yaml is what the app does: schemathesis tries to prove otherwise."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES, PROJECT
from tests.support.wsgi import WsgiGateway

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

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


gateway = WsgiGateway()


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


OPERATIONS = [(method, path) for path, item in DESCRIBED.items() for method in item if method != "parameters"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_an_operation_does_what_the_description_says(method: str, path: str, described_app: App) -> None:
    """As schemathesis' own items, except that the requests are made up here and not in each process that collects."""
    from schemathesis.checks import negative_data_rejection

    is_of_client_sdks = path.startswith(("/sdk/", "/msdk/"))
    examples = 10 if method == "options" else 20 if is_of_client_sdks else 50
    # The client SDKs may add to their query; and the tests present the key where an example leaves it out.
    excluded = [negative_data_rejection] if is_of_client_sdks else []

    @settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def call(case: Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=excluded)

    gateway.app = described_app
    requests_to(method, path, call)()


def test_each_operation_has_a_test_of_its_own() -> None:
    assert len(set(OPERATIONS)) == description().statistic.operations.total


@functools.cache
def description() -> BaseSchema:
    """What schemathesis makes of the file. It is large: only the process that runs these tests loads it."""
    import schemathesis

    schemathesis.openapi.format("base64url", encoded_contexts())
    description = schemathesis.openapi.from_path(DESCRIPTION)
    description.app = gateway
    return description


def encoded_contexts() -> st.SearchStrategy[str]:
    """What the description cannot say of the context in a path."""
    names = st.text("abcæ_", min_size=1)
    attributes = st.dictionaries(names, st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=9), max_size=3)
    kinds = st.sampled_from([{}, {"kind": "user"}, {"kind": "organization"}])
    contexts = st.builds(lambda kind, key, more: {**more, **kind, "key": key}, kinds, st.text(min_size=1), attributes)
    raw = contexts.map(lambda context: json.dumps(context).encode())
    return raw.map(lambda text: base64.urlsafe_b64encode(text).decode())


def requests_to(method: str, path: str, call: Callable[[Case[Any]], None]) -> Callable[[], None]:
    """All the requests to this operation that schemathesis' own plugin makes up, as one function."""
    from schemathesis.checks import load_all_checks
    from schemathesis.generation.feedback import FeedbackSources
    from schemathesis.python._constants.orchestrator import make_constants_value_source

    builder = pytest.importorskip(
        "schemathesis.pytest._test_builder", reason="the last schemathesis for Python 3.10 has no such module"
    )
    load_all_checks()
    schema = description().include(method=method.upper(), path=path)
    feedback = FeedbackSources(constants_value_source=make_constants_value_source(schema))
    operation = schema[path][method]
    test: Callable[[], None] = builder.build_operation_test(
        config=schema.config, operation=operation, test_func=call, given_kwargs={}, feedback=feedback
    )
    return test
