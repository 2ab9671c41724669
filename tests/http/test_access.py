"""Who gets in: every route, every way to authenticate, and what a client-side token sees."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ldclient.impl.evaluator import Evaluator

from chalicelib.read.evaluation import Options, etag
from tests.support.app import App, Environment, LoadApp
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.shared_apps import SharedApps

SERVER, NEXT, CLIENT = "server-token", "next-server-token", "client-token"
USER = {"kind": "user", "key": "anna"}
OFREP = {"context": {"targetingKey": "anna"}}
BODIES: dict[str, object] = {
    "/evaluate": USER,
    "/evaluate/public": USER,
    "/ofrep/v1/evaluate/flags": OFREP,
    "/ofrep/v1/evaluate/flags/public": OFREP,
}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


TOKENS = {
    "EVALUATE_AUTH": "token",
    "EVALUATE_TOKEN_SHA256": f"{digest(SERVER)},{digest(NEXT).upper()}",
    "EVALUATE_CLIENT_TOKEN_SHA256": digest(CLIENT),
}
FLAGS = by_key(
    boolean_flag("public", clientSide=True),
    boolean_flag("secret-plan", on=False),
    boolean_flag(
        "depends", clientSide=True, prerequisites=[{"key": k, "variation": 0} for k in ("public", "secret-plan")]
    ),
)
"""For everybody and for servers; one that everybody sees depends on one that they must not see."""


@pytest.fixture
def closed_app(shared_apps: SharedApps, front: str) -> App:
    return shared_apps.app({"flags": FLAGS}, front, **TOKENS)


MISSING = "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'."
WRONG = "The token is not accepted."
TWO = "The Authorization and X-API-Key headers hold different tokens; send one."

CREDENTIALS: list[tuple[dict[str, str], str | None]] = [
    (bearer(SERVER), None),
    (bearer(NEXT), None),
    (bearer(CLIENT), None),
    ({"authorization": f"bearer  {SERVER} "}, None),
    ({"X-API-Key": SERVER}, None),
    ({"x-api-key": CLIENT}, None),
    ({**bearer(SERVER), "X-API-Key": SERVER}, None),
    ({"Authorization": "Basic YTpi", "X-API-Key": SERVER}, None),
    ({}, MISSING),
    ({"Authorization": ""}, MISSING),
    ({"Authorization": SERVER}, MISSING),
    ({"Authorization": "Bearer "}, MISSING),
    ({"Authorization": "Basic YTpi"}, MISSING),
    (bearer("wrong"), WRONG),
    (bearer(digest(SERVER)), WRONG),
    ({"X-API-Key": SERVER.upper()}, WRONG),
    ({**bearer(SERVER), "X-API-Key": CLIENT}, TWO),
    ({**bearer(SERVER), "X-API-Key": "wrong"}, TWO),
]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("headers", "refusal"), CREDENTIALS)
def test_only_an_accepted_token_gets_in(
    closed_app: App, path: str, headers: dict[str, str], refusal: str | None
) -> None:
    answer = closed_app.post(path, BODIES[path], headers)
    if refusal is None:
        assert answer.status_code == 200
    else:
        shape = {"errorDetails": refusal} if "ofrep" in path else {"Code": "UnauthorizedError", "Message": refusal}
        assert (answer.status_code, answer.json_body, answer.headers["WWW-Authenticate"]) == (401, shape, "Bearer")


@pytest.mark.parametrize("path", BODIES)
def test_a_token_in_the_query_is_no_token(closed_app: App, path: str) -> None:
    assert closed_app.post(f"{path}?token={SERVER}&access_token={SERVER}", BODIES[path]).status_code == 401


@pytest.mark.parametrize("path", BODIES)
def test_a_refused_caller_learns_nothing_from_body_query_or_flag(closed_app: App, path: str) -> None:
    expected = closed_app.post(path, BODIES[path], bearer("wrong"))
    for body, suffix in [(b"", ""), (b"{", ""), (b" " * 2_000_000, ""), (b"{}", "?withReasons=maybe")]:
        answer = closed_app.post(path + suffix, body, bearer("wrong"))
        assert (answer.status_code, answer.json_body) == (401, expected.json_body)


def test_status_and_webhook_have_rules_of_their_own(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(FLAGS)
    app = load_app({**environment, **TOKENS})
    assert app.webhook()["status"] == "refreshed"
    assert app.client.http.get("/status").status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_without_digests_everybody_is_refused_and_the_log_says_what_to_set(
    shared_apps: SharedApps, front: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = shared_apps.app(None, front, EVALUATE_AUTH="token")
    assert app.post(path, BODIES[path], bearer(SERVER)).status_code == 401
    assert "every evaluation is refused: set EVALUATE_TOKEN_SHA256, or EVALUATE_AUTH to iam or none" in caplog.messages


@pytest.mark.parametrize("setting", [{}, {"EVALUATE_AUTH": ""}])
def test_token_is_what_is_asked_for_when_nothing_is_set(
    load_app: LoadApp, environment: Environment, setting: Environment
) -> None:
    environment |= TOKENS
    del environment["EVALUATE_AUTH"]
    app = load_app({**environment, **setting})
    assert app.post("/evaluate", USER).status_code == 401


@pytest.mark.parametrize("path", BODIES)
def test_one_digest_cannot_be_both_kinds_of_token(
    load_app: LoadApp, environment: Environment, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = load_app({**environment, **TOKENS, "EVALUATE_CLIENT_TOKEN_SHA256": digest(SERVER)})
    answer = app.post(path, BODIES[path], bearer(SERVER))
    assert answer.status_code == 503
    assert digest(SERVER) not in answer.body.decode()
    assert "EVALUATE_TOKEN_SHA256 and EVALUATE_CLIENT_TOKEN_SHA256 hold the same digest" in caplog.text
    assert digest(SERVER) not in caplog.text


# What a client-side token sees.


@pytest.mark.parametrize("query", ["", "?clientSideOnly=false", "?flags=public,depends,secret-plan"])
def test_a_client_side_token_sees_client_side_flags_only(closed_app: App, query: str) -> None:
    answer = closed_app.post("/evaluate" + query, USER, bearer(CLIENT))
    assert answer.json_body == {
        "public": {"value": True, "variation": 0, "version": 1},
        "depends": {"value": False, "variation": 1, "version": 1, "prerequisites": ["public"]},
    }


def test_a_server_side_token_sees_all_flags(closed_app: App) -> None:
    assert set(closed_app.post("/evaluate", USER, bearer(SERVER)).json_body) == {"public", "secret-plan", "depends"}


def test_a_client_side_token_sees_client_side_flags_only_by_ofrep(closed_app: App) -> None:
    answer = closed_app.post("/ofrep/v1/evaluate/flags", OFREP, bearer(CLIENT))
    assert {flag["key"] for flag in answer.json_body["flags"]} == {"public", "depends"}


@pytest.mark.parametrize("path", ["/evaluate/", "/ofrep/v1/evaluate/flags/"])
def test_a_server_side_flag_is_for_a_client_side_token_as_if_it_did_not_exist(closed_app: App, path: str) -> None:
    body = OFREP if "ofrep" in path else USER
    hidden = closed_app.post(path + "secret-plan", body, bearer(CLIENT))
    absent = closed_app.post(path + "absent-plan", body, bearer(CLIENT))
    assert (hidden.status_code, hidden.body) == (404, absent.body.replace(b"absent", b"secret"))
    assert set(hidden.headers) == set(absent.headers)
    assert closed_app.post(path + "secret-plan", body, bearer(SERVER)).status_code == 200


@pytest.mark.parametrize("path", [*BODIES, "/evaluate?withReasons=true", "/evaluate/depends"])
def test_no_answer_for_a_client_side_token_names_a_server_side_flag(closed_app: App, path: str) -> None:
    body = BODIES.get(path, USER)
    assert "secret" not in closed_app.post(path, body, bearer(CLIENT)).body.decode()


def test_the_reason_keeps_all_else(closed_app: App) -> None:
    assert closed_app.post("/evaluate/depends", USER, bearer(CLIENT)).json_body["reason"] == {
        "kind": "PREREQUISITE_FAILED"
    }
    assert closed_app.post("/evaluate/depends", USER, bearer(SERVER)).json_body["reason"] == {
        "kind": "PREREQUISITE_FAILED",
        "prerequisiteKey": "secret-plan",
    }


def test_the_tag_of_a_server_side_answer_is_no_use_to_a_client_side_token(closed_app: App) -> None:
    tag = closed_app.post("/evaluate", USER, bearer(SERVER)).headers["ETag"]
    assert closed_app.post("/evaluate", USER, {**bearer(CLIENT), "If-None-Match": tag}).status_code == 200


# Mobile devices and browsers.

MOBILE = "mobile-token"


@pytest.fixture
def both_app(shared_apps: SharedApps, front: str) -> App:
    def available(key: str, *, browser: bool, mobile: bool, **fields: Any) -> dict[str, Any]:
        return boolean_flag(
            key, clientSideAvailability={"usingEnvironmentId": browser, "usingMobileKey": mobile}, **fields
        )

    flags = by_key(
        available("browser", browser=True, mobile=False),
        available("mobile", browser=False, mobile=True),
        available("both", browser=True, mobile=True, prerequisites=[{"key": "mobile", "variation": 0}]),
        available("server", browser=False, mobile=False),
        available("contradicts", browser=False, mobile=False, clientSide=True),
        available("agrees", browser=True, mobile=False, clientSide=True),
        boolean_flag("half", clientSideAvailability={"usingMobileKey": True}),
        boolean_flag("of-old", clientSide=True),
        boolean_flag("of-old-server", clientSide=False),
        boolean_flag("null", clientSide=True, clientSideAvailability=None),
    )
    return shared_apps.app({"flags": flags}, front, **TOKENS, EVALUATE_MOBILE_TOKEN_SHA256=digest(MOBILE))


SEEN = {
    CLIENT: {"browser", "both", "agrees", "of-old", "null"},
    MOBILE: {"mobile", "both", "half", "of-old", "of-old-server", "null"},
}


@pytest.mark.parametrize(("token", "seen"), SEEN.items())
def test_browsers_and_mobile_devices_see_the_flags_that_are_available_to_them(
    both_app: App, token: str, seen: set[str]
) -> None:
    every = set(both_app.post("/evaluate", USER, bearer(SERVER)).json_body)
    assert len(every) == 10
    assert set(both_app.post("/evaluate", USER, bearer(token)).json_body) == seen
    assert set(both_app.post("/evaluate?clientSideOnly=true", USER, bearer(token)).json_body) == seen
    bulk = both_app.post("/ofrep/v1/evaluate/flags", OFREP, bearer(token)).json_body
    assert {flag["key"] for flag in bulk["flags"]} == seen
    for path, body in (("/evaluate/", USER), ("/ofrep/v1/evaluate/flags/", OFREP)):
        found = {key for key in every if both_app.post(path + key, body, bearer(token)).status_code == 200}
        assert found == seen


def test_client_side_only_means_browsers_for_a_server_side_token(both_app: App) -> None:
    assert set(both_app.post("/evaluate?clientSideOnly=true", USER, bearer(SERVER)).json_body) == SEEN[CLIENT]
    assert both_app.post("/evaluate/mobile?clientSideOnly=true", USER, bearer(SERVER)).status_code == 404
    assert both_app.post("/evaluate/browser?clientSideOnly=true", USER, bearer(SERVER)).status_code == 200
    event = {"context": USER, "clientSideOnly": True}
    assert set(both_app.invoke("on_event", event)["flags"]) == SEEN[CLIENT]


def test_a_prerequisite_is_named_to_those_who_may_see_it(both_app: App) -> None:
    def prerequisites(token: str) -> object:
        return both_app.post("/evaluate", USER, bearer(token)).json_body["both"].get("prerequisites")

    assert (prerequisites(MOBILE), prerequisites(CLIENT)) == (["mobile"], None)


@pytest.mark.parametrize("token", [CLIENT, MOBILE])
@pytest.mark.parametrize("path", ["/evaluate/", "/ofrep/v1/evaluate/flags/"])
def test_a_flag_that_the_caller_must_not_see_is_not_run(
    both_app: App, token: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long its rules take would tell that it is there, and they would run on whatever a browser sends."""
    evaluated: list[str] = []
    evaluate = Evaluator.evaluate

    def recorded(self: Evaluator, flag: Any, *others: Any) -> Any:
        evaluated.append(flag.key)
        return evaluate(self, flag, *others)

    monkeypatch.setattr(Evaluator, "evaluate", recorded)
    body = OFREP if "ofrep" in path else USER
    assert both_app.post(path + "server", body, bearer(token)).status_code == 404
    both_app.post(path.removesuffix("/"), body, bearer(token))
    assert "both" in evaluated
    assert "server" not in evaluated


def test_no_tag_makes_a_flag_exist(both_app: App) -> None:
    """Nor does one tell that it does: whoever knows the revision can compute the tag that the answer would have."""
    revision = both_app.post("/evaluate", USER, bearer(SERVER)).headers["X-Flags-Revision"]
    computed = etag(revision, USER, "server", Options(client_side_only=True, conceal=True)._asdict())
    for key, token, tag in (("absent", SERVER, "*"), ("server", CLIENT, "*"), ("server", CLIENT, computed)):
        answer = both_app.post(f"/evaluate/{key}", USER, {**bearer(token), "If-None-Match": tag})
        assert (answer.status_code, answer.json_body["Message"]) == (404, f"There is no flag {key!r}.")
        existing = both_app.post("/evaluate/both", USER, {**bearer(token), "If-None-Match": "*"})
        assert existing.status_code == 304


# IAM.

AS_DEPLOYED = """
import json, os, sys
from chalice.cli.factory import CLIFactory
from chalice.deploy.swagger import CFNSwaggerGenerator
factory = CLIFactory(sys.argv[1], environ=os.environ)
app = factory.create_config_obj(chalice_stage_name=sys.argv[2]).chalice_app
print(json.dumps(CFNSwaggerGenerator().generate_swagger(app)["paths"]))
"""
"""What the Chalice CLI makes of a stage, up to the API description that it deploys."""


def api_of_stage(folder: Path, auth: str) -> dict[str, Any]:
    (folder / ".chalice").mkdir()
    config = {"version": "2.0", "app_name": "x", "stages": {"some": {"environment_variables": {"EVALUATE_AUTH": auth}}}}
    (folder / ".chalice" / "config.json").write_text(json.dumps(config))
    for name in ("app.py", "chalicelib"):
        (folder / name).symlink_to(PROJECT / name)
    command = [sys.executable, "-c", AS_DEPLOYED, str(folder), "some"]
    described: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=folder).stdout)
    return described


OWN_ROUTES = {*yaml.safe_load((PROJECT / "docs" / "openapi.yaml").read_text())["paths"]}
"""Users may have routes behind the same check."""


@pytest.mark.rest_api
@pytest.mark.parametrize("auth", ["iam", "token"])
def test_api_gateway_checks_signatures_where_the_stage_says_iam_and_only_of_evaluations(
    tmp_path: Path, auth: str
) -> None:
    signed = {
        f"{method} {path}"
        for path, methods in api_of_stage(tmp_path, auth).items()
        for method, described in methods.items()
        if path in OWN_ROUTES and described.get("security") == [{"sigv4": []}]
    }
    assert signed == (
        {
            "post /evaluate",
            "post /evaluate/{flag_key}",
            "post /ofrep/v1/evaluate/flags",
            "post /ofrep/v1/evaluate/flags/{flag_key}",
            "post /track",
        }
        if auth == "iam"
        else set()
    )


@pytest.mark.rest_api
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
def test_iam_needs_the_caller_that_only_api_gateway_can_name(shared_apps: SharedApps, path: str) -> None:
    app = shared_apps.app({"flags": FLAGS}, **{**TOKENS, "EVALUATE_AUTH": "iam"})
    for headers in ({}, bearer(SERVER), {"userArn": "arn:aws:iam::1:user/a", "X-API-Key": SERVER}):
        answer = app.post(path, BODIES[path], headers)
        assert answer.status_code == 401
        assert "must be signed with AWS Signature Version 4" in answer.body.decode()
    assert as_signed_by(app, "arn:aws:iam::123456789012:user/anna", path)["statusCode"] == 200
    assert as_signed_by(app, None, path)["statusCode"] == 401


def as_signed_by(app: App, user_arn: str | None, path: str) -> Any:
    """API Gateway's event for a request whose signature it has checked."""
    resource = path.replace("/public", "/{flag_key}")
    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": resource, "identity": {"userArn": user_arn}},
        "headers": {"content-type": "application/json"},
        "pathParameters": {"flag_key": "public"},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": json.dumps(BODIES[path]),
        "isBase64Encoded": False,
    }
    return app.module.app(event, None)


@pytest.mark.rest_api
def test_make_token_prints_a_token_and_the_digest_that_lets_it_in(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    command = [sys.executable, str(PROJECT / "tools" / "new_token.py")]
    printed = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    tokens = [output.splitlines()[0].removeprefix("token:").strip() for output in printed]
    assert len(set(tokens)) == 2
    new_digest = printed[0].splitlines()[1].removeprefix("digest:").strip()
    launchdarkly.replace(FLAGS)
    app = load_app({**environment, **TOKENS, "EVALUATE_TOKEN_SHA256": new_digest})
    app.invoke("reconcile", {})
    assert app.post("/evaluate", USER, bearer(tokens[0])).status_code == 200
    assert app.post("/evaluate", USER, bearer(tokens[1])).status_code == 401
