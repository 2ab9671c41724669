"""What each front door has of its own: paths, queries, cookies, signatures. The other files run behind all of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from chalice.app import IAMAuthorizer, Response

from tests.http.test_access import BODIES, SERVER, USER, bearer, digest
from tests.support.app import App
from tests.support.data import boolean_flag, by_key
from tests.support.fronts import BALANCER, FRONTS, HTTP, REST, SIGNER, STAGE, URL, FrontClient, event_of
from tests.support.shared_apps import SharedApps

Json = dict[str, Any]
DOORS = [front for front in FRONTS if front != REST]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def keyed_app(shared_apps: SharedApps, front: str) -> App:
    keys = ("plain", "a b", "a+b", "a,b", "100%", "größe")
    return shared_apps.app({"flags": by_key(*(boolean_flag(key) for key in keys))}, front)


def call(app: App, event: Json) -> Json:
    answer: Json = app.module.app(event, None)
    return answer


def evaluation(app: App, front: str, target: str, change: Callable[[Json], object] | None = None) -> tuple[int, Json]:
    """The status and body for the event after ``change``."""
    event = event_of(front, "POST", target, JSON, json.dumps(USER).encode())
    if change is not None:
        change(event)
    answer = call(app, event)
    return answer["statusCode"], json.loads(answer["body"])


# Paths.


def with_route(key: str, **parameters: str) -> Callable[[Json], object]:
    return lambda event: event.update(routeKey=key, pathParameters=parameters)


def in_stage(stage: str, path: str) -> Callable[[Json], object]:
    def change(event: Json) -> None:
        event["requestContext"]["stage"], event["rawPath"] = stage, path

    return change


HTTP_API: list[tuple[Callable[[Json], object] | None, str]] = [
    (None, "plain"),
    (in_stage("$default", "/evaluate/plain"), "plain"),
    (in_stage("evaluate", "/evaluate/evaluate/plain"), "plain"),
    (in_stage("eval", "/evaluate/plain"), "plain"),
    (in_stage("$default", "/evaluate/plain/"), "plain"),
    (in_stage("prod", "/prod/evaluate/größe"), "größe"),
    (in_stage("prod", "/prod/evaluate/100%"), "100%"),
    (in_stage("prod", "/prod/evaluate/a+b"), "a+b"),
    (with_route("POST /evaluate/{flag_key}", flag_key="a b"), "a b"),
    (with_route("ANY /{proxy+}", proxy="evaluate/größe"), "größe"),
    (with_route("POST /{proxy+}", proxy="evaluate/100%"), "100%"),
]


@pytest.mark.parametrize(("change", "key"), HTTP_API)
def test_an_http_api_finds_the_flag_by_any_of_its_own_routes_and_in_any_stage(
    keyed_app: App, change: Callable[[Json], object] | None, key: str
) -> None:
    status, body = evaluation(keyed_app, HTTP, "/evaluate/plain", change)
    assert (status, body["key"]) == (200, key)


@pytest.mark.parametrize("path", ["/", f"/{STAGE}", f"/{STAGE}/"])
def test_the_root_of_a_stage_is_the_root(app: App, path: str) -> None:
    event = {**event_of(HTTP, "GET", "/", {}, b""), "rawPath": path}
    answer = call(app, event)
    assert (answer["statusCode"], json.loads(answer["body"])["Code"]) == (404, "NotFoundError")


# Queries.


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("flags=plain&flags=a%20b", {"plain", "a b"}),
        ("flags=plain,a+b", {"plain", "a b"}),
        ("flags=plain%2Ca%2Bb", {"plain", "a+b"}),
        ("fl%61gs=100%25&flags=gr%C3%B6%C3%9Fe", {"100%", "größe"}),
        ("flags=", set()),
        ("flags", set()),
        ("&&flags=plain&", {"plain"}),
    ],
)
def test_a_query_is_decoded_once_and_repeated_parameters_are_all_there(
    keyed_app: App, front: str, query: str, keys: set[str]
) -> None:
    answer = keyed_app.post(f"/evaluate?{query}", USER)
    assert (answer.status_code, set(answer.json_body)) == (200, keys)


def singly(event: Json) -> None:
    """As a target group without multi-value headers has it: of each the last."""
    headers, query = event.pop("multiValueHeaders"), event.pop("multiValueQueryStringParameters")
    event["headers"] = {name: values[-1] for name, values in headers.items()}
    event["queryStringParameters"] = {name: values[-1] for name, values in query.items()}


def test_a_load_balancer_without_multi_value_headers_answers_in_its_own_shape(keyed_app: App) -> None:
    event = event_of(BALANCER, "POST", "/evaluate?flags=plain%2Ca%20b", JSON, json.dumps(USER).encode())
    singly(event)
    answer = call(keyed_app, event)
    assert set(json.loads(answer["body"])) == {"plain", "a b"}
    assert set(answer) == {"statusCode", "statusDescription", "headers", "body", "isBase64Encoded"}
    assert (answer["statusCode"], answer["statusDescription"]) == (200, "200 OK")
    assert answer["headers"]["Content-Type"] == "application/json"
    assert all(isinstance(value, str) for value in answer["headers"].values())


# Headers in several lines.


@pytest.mark.parametrize("front", DOORS)
@pytest.mark.parametrize("lines", [["{}", '"other"'], ['"other"', "{}"], ['"x", W/{}', '"y"', '"z"']])
def test_if_none_match_in_several_lines_is_one_list(keyed_app: App, front: str, lines: list[str]) -> None:
    held = keyed_app.post("/evaluate", USER).headers["ETag"]
    sent = [line.format(held) for line in lines]
    event = event_of(front, "POST", "/evaluate", {**JSON, "If-None-Match": ", ".join(sent)}, json.dumps(USER).encode())
    if front == BALANCER:
        event["multiValueHeaders"]["if-none-match"] = sent
    assert call(keyed_app, event)["statusCode"] == 304


@pytest.mark.parametrize("lines", [["{}", '"other"'], ['"other"', "{}"], ['"x", W/{}', '"y"', '"z"'], ['"x"', '"y"']])
def test_a_rest_api_hands_on_the_last_line_of_a_header_and_beside_it_all(keyed_app: App, lines: list[str]) -> None:
    held = keyed_app.post("/evaluate", USER).headers["ETag"]
    event = event_of(BALANCER, "POST", "/evaluate", JSON, json.dumps(USER).encode())
    sent = [line.format(held) for line in lines]
    headers = {**event["multiValueHeaders"], "If-None-Match": sent}
    of_rest_api = {
        "requestContext": {"httpMethod": "POST", "resourcePath": "/evaluate", "path": "/evaluate", "identity": {}},
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": event["body"],
    }
    assert call(keyed_app, of_rest_api)["statusCode"] == (304 if held in " ".join(sent) else 200)


def test_headers_that_a_page_asks_for_in_several_lines_are_all_allowed(shared_apps: SharedApps) -> None:
    app = shared_apps.app({"flags": {}}, BALANCER, CORS_ALLOW_ORIGIN="https://app.example.com")
    event = event_of(BALANCER, "OPTIONS", "/evaluate", {}, b"")
    event["multiValueHeaders"]["access-control-request-headers"] = ["x-one", "x-two"]
    (allowed,) = call(app, event)["multiValueHeaders"]["Access-Control-Allow-Headers"]
    assert allowed.endswith(", x-one, x-two")


# What routes of a user's own send and are sent.


def add_route(app: App, path: str, **options: Any) -> Callable[[Callable[[], Any]], None]:
    """``@app.route``, which declares no types."""

    def add(view: Callable[[], Any]) -> None:
        app.module.app.route(path, **options)(view)

    return add


def with_a_jar(app: App) -> App:
    """A route that takes and sets cookies, and sends bytes."""

    @add_route(app, "/jar", methods=["GET", "POST"])
    def jar() -> Response:
        request = app.module.app.current_request
        headers = {
            "Set-Cookie": ["a=1; Secure", "b=2"],
            "Vary": ["Origin", "Accept"],
            "X-Cookie": request.headers.get("cookie", ""),
            "X-Ip": request.context["identity"]["sourceIp"],
            "Content-Type": "application/octet-stream",
        }
        return Response(b"\x00\xff" + request.raw_body, headers)

    return App(app.module)


COOKIE = {"Cookie": "x=1; y=2", "Accept": "application/octet-stream", "Content-Type": "application/json"}


@pytest.mark.parametrize("front", DOORS)
def test_cookies_and_bytes_get_through_in_both_directions(app: App, front: str) -> None:
    answer = call(with_a_jar(app), event_of(front, "POST", "/jar", COOKIE, b"\xfe"))
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == b"\x00\xff\xfe"
    if front == BALANCER:
        headers = answer["multiValueHeaders"]
        assert (headers["Set-Cookie"], headers["Vary"]) == (["a=1; Secure", "b=2"], ["Origin", "Accept"])
        assert (headers["X-Cookie"], headers["X-Ip"]) == (["x=1; y=2"], ["192.0.2.1"])
    else:
        headers = answer["headers"]
        assert (answer["cookies"], headers["Vary"]) == (["a=1; Secure", "b=2"], "Origin, Accept")
        assert (headers["X-Cookie"], headers["X-Ip"]) == ("x=1; y=2", "192.0.2.1")


def test_what_came_to_a_load_balancer_in_several_lines_is_put_together(app: App) -> None:
    event = event_of(BALANCER, "POST", "/jar", COOKIE, b"\xfe")
    lines = {"Cookie": ["x=1", "y=2"], "Accept": ["text/html", "application/octet-stream"]}
    event["multiValueHeaders"] |= {**lines, "x-forwarded-for": ["10.0.0.1, 192.0.2.7"]}
    answer = call(with_a_jar(app), event)
    assert answer["isBase64Encoded"] is True, "of a header that is no list the last line counts, as with a REST API"
    headers = answer["multiValueHeaders"]
    assert headers["X-Cookie"] == ["x=1; y=2"]
    assert headers["X-Ip"] == ["192.0.2.7"], "the last address is the load balancer's word"


def test_two_cookies_leave_a_load_balancer_that_takes_one_value_a_header(app: App) -> None:
    event = event_of(BALANCER, "GET", "/jar", COOKIE, b"")
    singly(event)
    headers = call(with_a_jar(app), event)["headers"]
    assert [value for name, value in headers.items() if name.lower() == "set-cookie"] == ["a=1; Secure", "b=2"]
    assert headers["Vary"] == "Origin, Accept"


# Who is let in.


@pytest.fixture
def signed_app(shared_apps: SharedApps) -> App:
    """An app that wants AWS signatures; it would also know a token."""
    flags = by_key(boolean_flag("public"))
    return shared_apps.app({"flags": flags}, EVALUATE_AUTH="iam", EVALUATE_TOKEN_SHA256=digest(SERVER))


@pytest.mark.parametrize("front", [URL, HTTP])
@pytest.mark.parametrize("path", BODIES)
def test_with_iam_only_a_caller_whose_signature_the_door_has_checked_gets_in(
    signed_app: App, front: str, path: str
) -> None:
    body = json.dumps(BODIES[path]).encode()
    signed = FrontClient(signed_app.module.app, front, signer=SIGNER)
    assert signed.request("POST", path, JSON, body).status_code == 200
    for headers in ({}, bearer(SERVER), {"userArn": SIGNER, "X-API-Key": SERVER}):
        answer = FrontClient(signed_app.module.app, front).request("POST", path, {**JSON, **headers}, body)
        message = answer.json_body.get("Message") or answer.json_body["errorDetails"]
        assert (answer.status_code, message) == (401, "The request must be signed with AWS Signature Version 4.")


@pytest.mark.parametrize("path", BODIES)
def test_with_iam_a_load_balancer_lets_nobody_in_and_says_why(signed_app: App, path: str) -> None:
    client = FrontClient(signed_app.module.app, BALANCER, signer=SIGNER)
    answer = client.request("POST", path, {**JSON, **bearer(SERVER)}, json.dumps(BODIES[path]).encode())
    message = answer.json_body.get("Message") or answer.json_body["errorDetails"]
    assert (answer.status_code, message) == (
        401,
        "A load balancer checks no AWS signatures, which this app asks for; call its other address.",
    )


@pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
@pytest.mark.parametrize("front", DOORS)
@pytest.mark.parametrize("option", ["authorizer", "api_key_required"])
def test_a_route_that_only_api_gateway_guards_is_shut_at_every_other_door(app: App, front: str, option: str) -> None:
    guard = IAMAuthorizer() if option == "authorizer" else True

    @add_route(app, "/guarded", **{option: guard})
    def guarded() -> Json:
        return {"secret": True}

    answer = FrontClient(app.module.app, front, signer=SIGNER).get("/guarded")
    assert (answer.status_code, answer.json_body) == (
        403,
        {
            "Code": "ForbiddenError",
            "Message": "Who calls this route is checked by API Gateway's REST API alone; call it there.",
        },
    )
    assert App(app.module).client.http.get("/guarded").json_body == {"secret": True}


@pytest.mark.parametrize("front", DOORS)
def test_browsers_may_ask_for_a_route_with_chalices_cors(app: App, front: str) -> None:
    @add_route(app, "/open", methods=["GET"], cors=True)
    def open_to_all() -> Json:
        return {}

    answer = FrontClient(app.module.app, front).options("/open")
    assert (answer.status_code, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,OPTIONS"


def test_a_fixed_path_comes_before_a_parameter(app: App) -> None:
    @add_route(app, "/evaluate/all", methods=["POST"])
    def fixed() -> Json:
        return {"fixed": True}

    for front in DOORS:
        assert FrontClient(app.module.app, front).post("/evaluate/" + quote("all")).json_body == {"fixed": True}
