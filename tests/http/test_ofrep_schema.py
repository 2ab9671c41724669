"""Every answer of the OFREP routes is one that the protocol knows."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import redis

from tests.support import ofrep_schema, parity
from tests.support.app import App, Environment, LoadApp
from tests.support.fake_launchdarkly import FakeLaunchDarkly

PATH = "/ofrep/v1/evaluate/flags"


@pytest.fixture
def parity_app(app: App, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(parity.FLAGS, parity.ALL_SEGMENTS)
    app.invoke("reconcile", {})
    return app


def as_openfeature_has_it(context: dict[str, Any]) -> dict[str, Any]:
    """With a ``targetingKey``, which the protocol wants of every context."""
    return {"targetingKey": context.get("key", "several"), **{k: v for k, v in context.items() if k != "key"}}


def check(answer: Any, schemas: dict[int, dict[str, Any]], status: int | None = None) -> None:
    if status is not None:
        assert answer.status_code == status
    jsonschema.validate(answer.json_body, schemas.get(answer.status_code, ofrep_schema.ERROR))


@pytest.mark.no_cover
def test_evaluations_are(parity_app: App, valkey: redis.Redis) -> None:
    valkey.hset("launchdarkly:features", "targets", "{broken")
    valkey.delete("launchdarkly:$sync")
    statuses = set()
    for name in sorted(parity.EVERYBODY):
        request = {"context": as_openfeature_has_it(parity.CONTEXTS[name])}
        check(parity_app.post(PATH, request), ofrep_schema.BULK, 200)
        for key in (*parity.FLAGS, "no such flag") if name in ("anna", "multi") else ():
            answer = parity_app.post(f"{PATH}/{quote(key, safe='')}", request)
            check(answer, ofrep_schema.SINGLE)
            statuses.add(answer.status_code)
    assert statuses == {200, 400, 404}


REQUEST = {"context": {"targetingKey": "anna"}}


@pytest.mark.parametrize("body", [b"", b"{", [], {}, {"context": 1}, {"context": {}}, {"context": {"targetingKey": 1}}])
def test_refusals_are(parity_app: App, body: object) -> None:
    check(parity_app.post(PATH, body), ofrep_schema.BULK, 400)
    check(parity_app.post(f"{PATH}/targets", body), ofrep_schema.SINGLE, 400)


@pytest.mark.parametrize(("path", "schemas"), [(PATH, ofrep_schema.BULK), (f"{PATH}/targets", ofrep_schema.SINGLE)])
def test_errors_are(
    parity_app: App,
    load_app: LoadApp,
    environment: Environment,
    path: str,
    schemas: dict[int, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(parity_app.client.http.get(path), schemas, 405)
    check(parity_app.post(path, REQUEST, {"Content-Type": "text/plain"}), schemas, 415)
    check(load_app({**environment, "EVALUATE_AUTH": "token"}).post(path, REQUEST), schemas, 401)
    check(load_app({**environment, "STORE_PREFIX": "empty"}).post(path, REQUEST), schemas, 503)
    monkeypatch.setattr(parity_app.module.app, "current_flags", lambda **_: 1 / 0)
    check(parity_app.post(path, REQUEST), schemas, 500)


def test_the_schemas_refuse_what_is_none() -> None:
    for body in ({}, {"key": "a", "reason": "DEFAULT"}, {"key": "a", "reason": "STATIC", "value": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body, ofrep_schema.SUCCESS)
    for metadata in ({"revision": None}, {"of": {"version": 1}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"flags": [], "metadata": metadata}, ofrep_schema.BULK_SUCCESS)
