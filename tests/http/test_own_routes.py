"""A route of a user's own behind the check of the evaluation routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chalice.app import IAMAuthorizer, Response

from chalicelib import flags
from chalicelib.testing import override
from tests.http.test_access import CLIENT, CREDENTIALS, SERVER, bearer, digest
from tests.support.app import App, LoadApp

ProtectedRoute = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]

TOKENS = {
    "REDIS_URL": "redis://never-asked",
    "EVALUATE_TOKEN_SHA256": f"{digest(SERVER)},{digest('next-server-token')}",
    "EVALUATE_CLIENT_TOKEN_SHA256": digest(CLIENT),
}
FLAGS_ALONE = "The token is for flags alone; this route needs one of EVALUATE_TOKEN_SHA256."
CASES = [
    (headers, refusal or (FLAGS_ALONE if any(CLIENT in value for value in headers.values()) else None))
    for headers, refusal in CREDENTIALS
]
"""What opens /evaluate, and why not this route."""


def with_own_routes(app: App) -> App:
    protected_route: ProtectedRoute = app.module.app.protected_route

    @protected_route("/prices/{product}", methods=["GET", "POST"], cors=True)
    def price(product: str) -> dict[str, Any]:
        new = flags.variation("new-pricing", {"key": product}, default=False)
        return {"product": product, "new": new, "body": app.module.app.current_request.json_body}

    @protected_route("/teapot")
    def teapot() -> Response:
        return Response("short and stout", {"Content-Type": "text/plain"}, 418)

    return App(app.module, app.front)


@pytest.fixture
def own_routes(load_app: LoadApp) -> App:
    return with_own_routes(load_app(TOKENS))


@pytest.mark.parametrize(("headers", "refusal"), CASES)
def test_only_a_token_for_every_flag_opens_it(own_routes: App, headers: dict[str, str], refusal: str | None) -> None:
    with override(new_pricing=True):
        answer = own_routes.post("/prices/tea", {"n": 1}, headers)
    assert answer.headers["Access-Control-Allow-Origin"] == "*", "or a browser would not learn why"
    if refusal is None:
        assert (answer.status_code, answer.json_body) == (200, {"product": "tea", "new": True, "body": {"n": 1}})
    else:
        shape = {"Code": "UnauthorizedError", "Message": refusal}
        assert (answer.status_code, answer.json_body, answer.headers["WWW-Authenticate"]) == (401, shape, "Bearer")


def test_the_view_answers_as_any_of_chalices_does(own_routes: App) -> None:
    answer = own_routes.client.http.get("/teapot", headers=bearer(SERVER))
    assert (answer.status_code, answer.body, answer.headers["Content-Type"]) == (418, b"short and stout", "text/plain")
    assert own_routes.client.http.get("/teapot").status_code == 401


def test_without_authorisation_it_is_open(load_app: LoadApp) -> None:
    own_routes = with_own_routes(load_app({"REDIS_URL": "redis://never-asked", "EVALUATE_AUTH": "none"}))
    assert own_routes.client.http.get("/teapot").status_code == 418


@pytest.mark.rest_api
@pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
def test_with_iam_api_gateway_checks_it_and_nobody_else_can_stand_in(load_app: LoadApp) -> None:
    own_routes = with_own_routes(load_app({"REDIS_URL": "redis://never-asked", "EVALUATE_AUTH": "iam"}))
    routes = own_routes.module.app.routes
    assert {type(routes[path]["GET"].authorizer) for path in ("/prices/{product}", "/teapot")} == {IAMAuthorizer}
    answer = own_routes.client.http.get("/teapot", headers=bearer(SERVER))
    assert (answer.status_code, answer.json_body["Message"]) == (
        401,
        "The request must be signed with AWS Signature Version 4.",
    )


def test_a_wrong_setting_closes_it(load_app: LoadApp) -> None:
    answer = with_own_routes(load_app({})).client.http.get("/teapot", headers=bearer(SERVER))
    assert (answer.status_code, answer.json_body["Code"]) == (503, "ServiceUnavailableError")


@pytest.mark.parametrize(
    ("body", "expected"), [("no", b"no"), ({"error": "no"}, b'{"error":"no"}'), ({"Code": "no"}, b'{"Code":"no"}')]
)
@pytest.mark.parametrize("status", [405, 415])
def test_a_view_may_refuse_a_method_or_a_media_type_in_its_own_words(
    load_app: LoadApp, status: int, body: object, expected: bytes
) -> None:
    app = load_app(TOKENS)
    app.module.app.route("/own")(lambda: Response(body, {}, status))
    answer = App(app.module, app.front).client.http.get("/own")
    assert (answer.status_code, answer.body) == (status, expected)
