"""docs/openapi.yaml is what the app does: schemathesis tries to prove otherwise."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from tests.support.app import App, LoadApp
from tests.support.data import EXAMPLES, PROJECT
from tests.support.wsgi import WsgiGateway

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

TOKEN = "test-token"
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
            "EXPLORER": "on",
        }
    )
    app.invoke("reconcile", {})
    return app


OPERATIONS = [(method, path) for path, item in DESCRIBED.items() for method in item if method != "parameters"]


@pytest.mark.no_cover
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_an_operation_does_what_the_description_says(method: str, path: str, described_app: App) -> None:
    """As schemathesis' own items, except that the requests are made up here and not in each process that collects."""

    @settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def call(case: Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})

    gateway.app = described_app
    requests_to(method, path, call)()


def test_each_operation_has_a_test_of_its_own() -> None:
    assert len(set(OPERATIONS)) == description().statistic.operations.total


@functools.cache
def description() -> BaseSchema:
    """What schemathesis makes of the file. It is large: only the process that runs these tests loads it."""
    import schemathesis

    description = schemathesis.openapi.from_path(DESCRIPTION)
    description.app = gateway
    return description


def requests_to(method: str, path: str, call: Callable[[Case[Any]], None]) -> Callable[[], None]:
    """All the requests to this operation that schemathesis' own plugin makes up, as one function."""
    from schemathesis.checks import load_all_checks
    from schemathesis.generation.feedback import FeedbackSources
    from schemathesis.pytest._test_builder import build_operation_test
    from schemathesis.python._constants.orchestrator import make_constants_value_source

    load_all_checks()
    schema = description().include(method=method.upper(), path=path)
    feedback = FeedbackSources(constants_value_source=make_constants_value_source(schema))
    return build_operation_test(
        config=schema.config, operation=schema[path][method], test_func=call, given_kwargs={}, feedback=feedback
    )
