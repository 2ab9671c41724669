"""A Lambda handler over the app: each invocation is many requests of every kind, as a warm function gets them.

The event is ``{"rounds": 100, "refreshes": 5, "version": 7}``. Between the requests, LaunchDarkly announces a
version of the flag ``changing`` that is one higher each time. Returns the number of requests that were answered.
"""

from __future__ import annotations

import json
from typing import Any

import app
from tests.support.lambda_runtime import api_event
from tests.support.webhooks import flag_entry

JSON = {"content-type": "application/json"}


def handle(event: dict[str, Any], lambda_context: object) -> int:
    answered = 0
    for number in range(event["rounds"]):
        answered += _evaluate(number, lambda_context)
    for version in range(event["version"], event["version"] + event["refreshes"]):
        _refresh(version, lambda_context)
    return answered


def _evaluate(number: int, lambda_context: object) -> int:
    """Requests of every kind, those for all flags in every fourth round; contexts come again after a thousand."""
    user = {"kind": "user", "key": f"user-{number % 1000}", "groups": ["beta"] * (number % 3)}
    context = json.dumps(user)
    ofrep = json.dumps({"context": {"targetingKey": user["key"]}})
    all_flags = api_event("/evaluate", context, JSON, {})
    chosen = {**all_flags, "multiValueQueryStringParameters": {"flags": ["flag-1,flag-7"], "withReasons": ["true"]}}
    one, unknown = (api_event("/evaluate/{flag_key}", context, JSON, {"flag_key": key}) for key in ("flag-3", "none"))
    bulk = api_event("/ofrep/v1/evaluate/flags", ofrep, JSON, {})
    single = api_event("/ofrep/v1/evaluate/flags/{flag_key}", ofrep, JSON, {"flag_key": "flag-4"})
    bad = api_event("/evaluate", '{"kind": "user"}', JSON, {})
    requests = [(chosen, 200), (one, 200), (unknown, 404), (single, 200), (bad, 400)]
    requests += [(all_flags, 200), (bulk, 200)] if number % 4 == 0 else [(chosen, 200), (one, 200)]
    for request, status in requests:
        answer = app.app(request, lambda_context)
        assert answer["statusCode"] == status, answer
    held = {**chosen, "headers": {**JSON, "if-none-match": app.app(chosen, lambda_context)["headers"]["ETag"]}}
    assert app.app(held, lambda_context)["statusCode"] == 304
    assert app.on_event({"context": user, "flag": "flag-5"}, lambda_context)["flag"]["key"] == "flag-5"
    batch = app.on_event({"contexts": [user, {}, user], "flags": ["flag-2"]}, lambda_context)
    assert len(batch["results"]) == 3
    return len(requests) + 4


def _refresh(version: int, lambda_context: object) -> None:
    entry = flag_entry("changing", version)
    answer = app.app(api_event("/webhook", json.dumps(entry), JSON, {}), lambda_context)
    body = json.loads(answer["body"])
    assert answer["statusCode"] == 200, body
    assert body["confirmed"], body
