"""The app itself, imported anew and called as API Gateway and Lambda call it."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from chalice.test import Client

import chalicelib.wiring
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tests.support.data import PROJECT
from tests.support.fronts import REST, FrontClient
from tests.support.timings import PATIENT

Json = dict[str, Any]
Environment = dict[str, str]


class App:
    """A freshly imported app with an environment of its own, called as a front door (of FRONTS) and Lambda call it."""

    def __init__(self, module: Any, front: str = REST) -> None:
        self.module = module
        self.front = front
        self.client = Client(module.app, stage_name="test")
        if front != REST:
            self.client._http_client = FrontClient(module.app, front)

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


def import_app(timing: Timing = Timing()) -> Any:
    """A new module from ``app.py``, in ``sys.modules`` as `app`, with parts of its own that ``flags`` shares.

    Its environment is that of the process.
    """
    chalicelib.wiring.wiring = Wiring(timing)
    spec = importlib.util.spec_from_file_location("app", PROJECT / "app.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["app"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


QUICK = PATIENT._replace(settle_seconds=0.05)
"""A webhook that announces no version is over soon: most tests change LaunchDarkly before they announce it."""

OURS = (
    *("LAUNCHDARKLY_", "EVALUAT", "REDIS_", "DYNAMODB_", "STORE_", "CORS_", "AWS_", "BIG_SEGMENTS_"),
    *("EVENTS", "FLAGS_", "TRACK_", "STATUS_", "EXPLORER"),
)
"""How the variables begin that the app or AWS's SDK looks at."""


def open_environment(redis_url: str, launchdarkly_uri: str) -> Environment:
    """Daemon mode over this store and this LaunchDarkly, open for the tests."""
    return {
        "REDIS_URL": redis_url,
        "LAUNCHDARKLY_SDK_KEY": "sdk-key",
        "LAUNCHDARKLY_STREAM_URI": launchdarkly_uri,
        "LAUNCHDARKLY_BASE_URI": launchdarkly_uri,
        "LAUNCHDARKLY_EVENTS_URI": launchdarkly_uri,
        "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow",
        "EVALUATE_AUTH": "none",
    }


def import_app_in(
    patch: pytest.MonkeyPatch, environment: Environment, timing: Timing = QUICK, front: str = REST
) -> App:
    """A new app with exactly this environment, until ``patch`` is undone."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        patch.delenv(name)
    for name, value in environment.items():
        patch.setenv(name, value)
    patch.setitem(sys.modules, "app", None)  # what there was comes back after the test
    return App(import_app(timing), front)


LoadApp = Callable[..., App]
"""(environment, timing=...) -> the app with these settings, which waits by this Timing, or by QUICK."""


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged beside the line of each request."""
    return [record for record in caplog.records if not hasattr(record, "fields")]
