"""The app itself, imported anew and called as API Gateway and Lambda call it."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from chalice.test import Client

import chalicelib.wiring
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tests.support.data import PROJECT

Json = dict[str, Any]
Environment = dict[str, str]


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


def import_app() -> Any:
    """A new module from ``app.py``, in ``sys.modules`` as `app`, with parts of its own that ``flags`` shares.

    Its environment is that of the process.
    """
    chalicelib.wiring.wiring = Wiring()
    spec = importlib.util.spec_from_file_location("app", PROJECT / "app.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["app"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


QUICK = Timing(settle_seconds=0.05)
"""A webhook that announces no version is over soon: most tests change LaunchDarkly before they announce it."""

LoadApp = Callable[..., App]
"""(environment, timing=...) -> the app with these settings, which waits by this Timing, or by QUICK."""


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged beside the line of each request."""
    return [record for record in caplog.records if not hasattr(record, "fields")]
