"""The routes of LaunchDarkly's client SDKs: what they present, what they may see, and what caches may keep."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context

from chalicelib.runtime.logs import JsonFormatter
from tests.support.app import App, Environment, LoadApp
from tests.support.data import Json, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

ID = "5f1a6c0e9b2d4c0a1b3e5d7f"
MOBILE_KEY = "mob-2f6e1c1e-0000-4b5d-9a51-27f0c4f4b001"
PAGE, DEVICE = f"/sdk/evalx/{ID}/contexts", "/msdk/evalx/contexts"
ORIGIN = "https://app.example.com"
ANNA = {"kind": "user", "key": "anna"}
NO_ENVIRONMENT = "There is no such environment here: LAUNCHDARKLY_CLIENT_SIDE_ID names the one that is served."

FLAGS = by_key(
    boolean_flag("for-all", 3, clientSideAvailability={"usingEnvironmentId": True, "usingMobileKey": True}),
    boolean_flag("for-pages", 4, clientSideAvailability={"usingEnvironmentId": True, "usingMobileKey": False}),
    boolean_flag("for-devices", 5, clientSideAvailability={"usingEnvironmentId": False, "usingMobileKey": True}),
    boolean_flag("hidden", 6, clientSideAvailability={"usingEnvironmentId": False, "usingMobileKey": False}),
    boolean_flag(
        "needs-hidden",
        7,
        prerequisites=[{"key": "hidden", "variation": 1}, {"key": "for-all", "variation": 0}],
        clientSideAvailability={"usingEnvironmentId": True, "usingMobileKey": True},
    ),
    boolean_flag(
        "after-hidden",
        8,
        prerequisites=[{"key": "for-all", "variation": 0}, {"key": "hidden", "variation": 0}],
        clientSideAvailability={"usingEnvironmentId": True, "usingMobileKey": True},
    ),
)
SERVED: Json = {
    "for-all": {"value": True, "variation": 0, "version": 3},
    "needs-hidden": {"value": False, "variation": 1, "version": 7},
    "after-hidden": {"value": True, "variation": 0, "version": 8, "prerequisites": ["for-all"]},
}
ON_PAGES = {**SERVED, "for-pages": {"value": True, "variation": 0, "version": 4}}
ON_DEVICES = {**SERVED, "for-devices": {"value": True, "variation": 0, "version": 5}}


@pytest.fixture
def settings(environment: Environment) -> Environment:
    return {
        **environment,
        "EVALUATE_AUTH": "token",
        "CORS_ALLOW_ORIGIN": ORIGIN,
        "LAUNCHDARKLY_CLIENT_SIDE_ID": ID,
        "LAUNCHDARKLY_MOBILE_KEY_SHA256": hashlib.sha256(MOBILE_KEY.encode()).hexdigest(),
    }


@pytest.fixture
def served(load_app: LoadApp, settings: Environment, launchdarkly: FakeLaunchDarkly) -> App:
    launchdarkly.replace(FLAGS)
    app = load_app(settings)
    app.invoke("reconcile", {})
    return app


def encoded(context: object) -> str:
    """As the SDKs put a context into a path, with its padding."""
    return base64.urlsafe_b64encode(json.dumps(context).encode()).decode()


def get(app: App, path: str, **headers: str) -> Any:
    return app.client.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def as_page(app: App, context: object = ANNA, query: str = "", **headers: str) -> Any:
    return get(app, f"{PAGE}/{encoded(context)}{query}", **headers)


def as_device(app: App, context: object = ANNA, key: str = MOBILE_KEY) -> Any:
    return get(app, f"{DEVICE}/{encoded(context)}", authorization=key)


def outcome(answer: Any) -> tuple[int, Any]:
    return answer.status_code, answer.json_body.get("Message", answer.json_body)


# What they see.


def test_a_page_sees_what_is_available_to_pages_and_a_device_what_is_to_devices(served: App) -> None:
    assert outcome(as_page(served)) == (200, ON_PAGES)
    assert outcome(as_device(served)) == (200, ON_DEVICES)


def test_reasons_are_there_when_they_are_asked_for_and_conceal_what_is_hidden(served: App) -> None:
    answer = as_page(served, query="?withReasons=true").json_body
    assert {key: each["reason"] for key, each in answer.items()} == {
        "for-all": {"kind": "FALLTHROUGH"},
        "for-pages": {"kind": "FALLTHROUGH"},
        "needs-hidden": {"kind": "PREREQUISITE_FAILED"},
        "after-hidden": {"kind": "FALLTHROUGH"},
    }
    without = {key: {name: value for name, value in each.items() if name != "reason"} for key, each in answer.items()}
    assert without == ON_PAGES


QUERIES_WITHOUT_EFFECT = (
    "?withReasons=false",
    "?withReasons=1",
    "?withReasons=true&withReasons=false",
    "?flags=hidden",
    "?clientSideOnly=false&x",
)


@pytest.mark.parametrize("query", QUERIES_WITHOUT_EFFECT)
def test_nothing_else_in_the_query_counts(served: App, query: str) -> None:
    assert outcome(as_page(served, query=query)) == (200, ON_PAGES)


def test_in_direct_mode_they_see_the_same(
    load_app: LoadApp, settings: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(FLAGS)
    app = load_app({**settings, "REDIS_URL": "", "EVALUATION_MODE": "direct"})
    try:
        assert (outcome(as_page(app)), outcome(as_device(app))) == ((200, ON_PAGES), (200, ON_DEVICES))
        assert "ETag" not in as_page(app).headers
    finally:
        app.module.wiring.direct_flags.client.close()


ODD = {"kind": "user", "key": "🔑 clé ?>~ÿ", "name": "subjects?_d=Ѐ~~~???>>>"}
USER = {"key": "anna", "custom": {"beta": True}, "anonymous": False}


@pytest.mark.parametrize("context", [ANNA, ODD, USER])
def test_the_context_is_taken_in_every_form_of_base64(served: App, context: Json) -> None:
    text = json.dumps(context, ensure_ascii=False)
    forms = set()
    for spaces in range(3):  # of every length modulo three
        raw = (text + " " * spaces).encode()
        padded = base64.urlsafe_b64encode(raw).decode()
        standard = base64.b64encode(raw).decode()
        forms |= {padded, padded.rstrip("="), quote(padded, safe=""), quote(standard, safe="")}
    for form in forms:
        assert outcome(get(served, f"{PAGE}/{form}")) == (200, ON_PAGES)
        assert outcome(get(served, f"/sdk/evalx/{ID}/users/{form}")) == (200, ON_PAGES)
        for path in (DEVICE, "/msdk/evalx/users"):
            assert outcome(get(served, f"{path}/{form}", authorization=MOBILE_KEY)) == (200, ON_DEVICES)


def test_there_are_no_goals(served: App) -> None:
    answer = get(served, f"/sdk/goals/{ID}")
    assert (answer.status_code, answer.json_body) == (200, [])
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert outcome(get(served, "/sdk/goals/other")) == (404, NO_ENVIRONMENT)


# Who may ask.


@pytest.mark.parametrize("identifier", ["other", ID.upper(), ID[:-1], ID + "0", quote(f"{ID}/", safe=""), MOBILE_KEY])
@pytest.mark.parametrize("kind", ["contexts", "users"])
def test_another_environment_is_a_404_whatever_is_asked_for(served: App, identifier: str, kind: str) -> None:
    for context in (encoded(ANNA), "no-base64!", encoded({})):
        assert outcome(get(served, f"/sdk/evalx/{identifier}/{kind}/{context}")) == (404, NO_ENVIRONMENT)


@pytest.mark.parametrize("key", [MOBILE_KEY, f"api_key {MOBILE_KEY}", f"API_KEY  {MOBILE_KEY} "])
def test_a_mobile_key_is_accepted_as_the_sdks_send_it(served: App, key: str) -> None:
    assert as_device(served, key=key).status_code == 200


REFUSED = [
    ("", "A mobile key is required: send it as 'Authorization: <mobile key>'."),
    ("api_key ", "The mobile key is not accepted."),
    (ID, "The mobile key is not accepted."),
    ("mob-other", "The mobile key is not accepted."),
    (MOBILE_KEY.upper(), "The mobile key is not accepted."),
    (f"Bearer {MOBILE_KEY}", "The mobile key is not accepted."),
    (hashlib.sha256(MOBILE_KEY.encode()).hexdigest(), "The mobile key is not accepted."),
    ("mob-\ud800", "The mobile key is not accepted."),
]


@pytest.mark.parametrize(("key", "message"), REFUSED)
def test_another_mobile_key_is_a_401_whatever_is_asked_for(served: App, key: str, message: str) -> None:
    for context in (encoded(ANNA), "no-base64!"):
        answer = get(served, f"{DEVICE}/{context}", authorization=key)
        assert (*outcome(answer), answer.headers["WWW-Authenticate"]) == (401, message, "Bearer")


def test_neither_opens_the_other_routes(served: App) -> None:
    for key in (ID, MOBILE_KEY):
        assert served.post("/evaluate", ANNA, {"Authorization": f"Bearer {key}"}).status_code == 401
        assert served.post("/evaluate/hidden", ANNA, {"X-API-Key": key}).status_code == 401


def test_without_the_settings_nothing_is_served(load_app: LoadApp, environment: Environment) -> None:
    app = load_app(environment)
    assert outcome(as_page(app)) == (404, NO_ENVIRONMENT)
    assert outcome(get(app, f"/sdk/goals/{ID}")) == (404, NO_ENVIRONMENT)
    message = "No mobile key is accepted here: LAUNCHDARKLY_MOBILE_KEY_SHA256 is not set."
    assert outcome(as_device(app)) == (404, message)


# Secure mode.

WRONG_HASH = "The environment is in secure mode, and h is not the hash of the context's key."
HASHED: list[Json] = [
    ANNA,
    ODD,
    USER,
    {"kind": "org", "key": "a:b%c"},
    {"kind": "multi", "user": {"key": "anna"}, "org": {"key": "b:c"}},
]


@pytest.fixture
def secure(load_app: LoadApp, settings: Environment, served: App) -> App:
    return load_app({**settings, "LAUNCHDARKLY_SECURE_MODE": "on"})


def hash_of(context: Json, sdk_key: str = "sdk-key") -> str:
    """As a page's server makes it, with LaunchDarkly's SDK."""
    with LDClient(Config(sdk_key, offline=True)) as client:
        known = context if "kind" in context else {"kind": "user", **context}
        return str(client.secure_mode_hash(Context.from_dict(known)))


@pytest.mark.parametrize("context", HASHED)
def test_in_secure_mode_the_hash_of_the_contexts_key_is_wanted(secure: App, context: Json) -> None:
    right = hash_of(context)
    assert outcome(as_page(secure, context, f"?h={right}")) == (200, ON_PAGES)
    others = (
        hash_of({"kind": "user", "key": "ben"}),
        hash_of(context, "sdk-other"),
        right.upper(),
        right[:-1],
        "é",
        "",
    )
    for query in ("", *(f"?h={quote(other)}" for other in others)):
        assert outcome(as_page(secure, context, query)) == (400, WRONG_HASH)


def test_in_secure_mode_nothing_is_learnt_without_a_hash(secure: App) -> None:
    held = as_page(secure, ANNA, f"?h={hash_of(ANNA)}").headers["ETag"]
    answer = as_page(secure, ANNA, if_none_match=held)
    assert outcome(answer) == (400, WRONG_HASH)
    assert {name for name in answer.headers if name.startswith(("ETag", "X-Flags", "Cache"))} == set()


def test_secure_mode_is_for_pages_only(secure: App) -> None:
    assert as_device(secure).status_code == 200
    assert get(secure, f"/sdk/goals/{ID}").status_code == 200


# What is refused.

BAD: list[tuple[str, str]] = [
    ("a", "The context in the path is not base64url: its length is impossible."),
    ("%25%25", "The context in the path is not base64url."),
    ("eyJ9%20", "The context in the path is not base64url."),
    ("e30===", "The context in the path is not base64url."),
    ("gr%C3%B6%C3%9Fe", "The context in the path is not base64url."),
    (base64.urlsafe_b64encode(b"\xff").decode(), "The context in the path is not valid UTF-8."),
    (base64.urlsafe_b64encode(b"{").decode(), "The context in the path is not valid JSON at line 1 column 2."),
    (
        base64.urlsafe_b64encode(b'{"key": NaN}').decode(),
        "The context in the path is not valid JSON: NaN is not a JSON number.",
    ),
    (encoded([]), "A context must be a JSON object, not an array."),
    (encoded({}), "A context must have a 'kind' and a 'key'; a legacy user must have a 'key'."),
    (encoded({"kind": "user"}), "Invalid context: context key must not be None or empty."),
    (encoded({**ANNA, "a": list(range(101))}), "An array in the context has 101 elements; at most 100 are accepted."),
    (encoded({**ANNA, "a": "x" * 4097}), "A string in the context has 4097 characters; at most 4096 are accepted."),
]


@pytest.mark.parametrize(("context", "message"), BAD)
def test_a_bad_context_is_a_400_that_says_what_is_wrong(served: App, context: str, message: str) -> None:
    assert outcome(get(served, f"{PAGE}/{context}")) == (400, message)
    assert outcome(get(served, f"{DEVICE}/{context}", authorization=MOBILE_KEY)) == (400, message)


def test_a_path_that_no_gateway_lets_through_is_a_414(served: App) -> None:
    longest = encoded({**ANNA, "a": "x" * 4000, "b": "x" * 3631})
    assert len(longest) == 10_240
    assert get(served, f"{PAGE}/{longest}").status_code == 200
    answer = get(served, f"{PAGE}/{longest}A")
    message = (
        "The context in the path has 10241 characters; at most 10240 are accepted, and API Gateway counts the headers "
        "among them."
    )
    assert (answer.status_code, answer.json_body) == (414, {"Code": "UriTooLongError", "Message": message})


def test_the_limit_of_a_body_is_that_of_a_context_in_the_path(
    load_app: LoadApp, settings: Environment, served: App
) -> None:
    app = load_app({**settings, "EVALUATE_MAX_BODY_BYTES": "1024"})
    context = {**ANNA, "a": "x" * 1024}
    size = len(json.dumps(context))
    message = f"The context in the path has {size} bytes; at most 1024 are accepted."
    assert outcome(as_page(app, context)) == (400, message)


def test_the_log_holds_no_context(served: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    as_page(served, {"kind": "user", "key": "anna-the-secret"})
    as_device(served, {"kind": "user"})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert [json.loads(line)["status"] for line in lines] == [200, 400]
    for secret in (encoded({"kind": "user", "key": "anna-the-secret"}), "anna-the-secret", MOBILE_KEY):
        assert [line for line in lines if secret in line] == []


# Browsers and caches.

EXPOSED = "ETag, Retry-After, X-Flags-Revision, X-Flags-Stale, X-Flags-Synced-At"
ON_EVERY_ANSWER = {"Access-Control-Allow-Origin": ORIGIN, "Access-Control-Expose-Headers": EXPOSED}
PATHS = (PAGE, f"/sdk/evalx/{ID}/users", DEVICE, "/msdk/evalx/users")


def cors(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", [*(f"{path}/e30" for path in PATHS), f"/sdk/goals/{ID}", "/sdk/goals/other"])
def test_a_preflight_lets_the_sdks_headers_through(served: App, path: str) -> None:
    asked = "x-launchdarkly-user-agent, x-launchdarkly-wrapper,traceparent"
    answer = served.client.http.options(path, headers={"Access-Control-Request-Headers": asked})
    assert (answer.status_code, answer.body, answer.headers["Allow"]) == (204, b"", "GET, OPTIONS")
    assert cors(answer) == {
        **ON_EVERY_ANSWER,
        "Access-Control-Allow-Methods": "GET",
        "Access-Control-Allow-Headers": (
            "Authorization, Content-Type, If-None-Match, X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token, "
            "X-API-Key, X-LaunchDarkly-Tags, X-LaunchDarkly-User-Agent, X-LaunchDarkly-Wrapper, traceparent"
        ),
        "Access-Control-Max-Age": "7200",
    }


def test_every_answer_may_be_read_by_the_page(served: App, load_app: LoadApp, settings: Environment) -> None:
    empty = load_app({**settings, "STORE_PREFIX": "empty"})
    answers = [
        (200, as_page(served)),
        (304, as_page(served, if_none_match="*")),
        (400, get(served, f"{PAGE}/e30")),
        (401, as_device(served, key="mob-other")),
        (404, get(served, "/sdk/evalx/other/contexts/e30")),
        (405, served.client.http.request("REPORT", f"{PAGE}/e30")),
        (414, get(served, f"{PAGE}/{'e' * 10_241}")),
        (503, as_page(empty)),
    ]
    assert [(answer.status_code, cors(answer)) for _, answer in answers] == [
        (status, ON_EVERY_ANSWER) for status, _ in answers
    ]
    assert answers[5][1].json_body["Message"] == (
        "Unsupported method: REPORT. Send GET; API Gateway lets no REPORT through, so switch useReport off."
    )


def test_who_holds_the_current_answer_gets_a_304_until_a_flag_changes(
    served: App, launchdarkly: FakeLaunchDarkly
) -> None:
    first = as_page(served)
    again = as_page(served, if_none_match=first.headers["ETag"])
    assert (again.status_code, again.body, again.headers) == (304, b"", first.headers)

    launchdarkly.put_flag({**FLAGS["for-pages"], "version": 9, "on": False})
    served.invoke("reconcile", {})
    changed = as_page(served, if_none_match=first.headers["ETag"])
    assert changed.status_code == 200
    assert changed.json_body["for-pages"] == {"value": False, "variation": 1, "version": 9}


def test_each_question_has_a_tag_of_its_own(served: App) -> None:
    answers = [as_page(served), as_page(served, query="?withReasons=true"), as_page(served, ODD), as_device(served)]
    assert len({answer.headers["ETag"] for answer in answers}) == len(answers)


def test_caches_ask_again_and_only_those_of_pages_are_shared(served: App, secure: App) -> None:
    caching = [
        (answer.headers["Cache-Control"], answer.headers.get("Vary"))
        for answer in (as_page(served), as_page(secure, query=f"?h={hash_of(ANNA)}"), as_device(served))
    ]
    assert caching == [
        ("public, max-age=0, must-revalidate", None),
        ("private, max-age=0, must-revalidate", None),
        ("private, max-age=0, must-revalidate", "Authorization"),
    ]


# What a page starts from.


def test_bootstrap_is_what_the_server_side_sdk_makes_for_a_page(
    load_app: LoadApp, settings: Environment, served: App, launchdarkly: FakeLaunchDarkly
) -> None:
    app = load_app({**settings, "EVALUATE_AUTH": "none"})
    config = Config("sdk-key", stream_uri=launchdarkly.uri, send_events=False, diagnostic_opt_out=True)
    with LDClient(config, start_wait=60) as client:
        state = client.all_flags_state(Context.from_dict(ANNA), with_reasons=True).to_json_dict()
    answer = app.post("/evaluate?format=bootstrap&withReasons=true", ANNA)
    assert (answer.status_code, answer.json_body) == (200, state)
    assert answer.json_body["$valid"] is True

    answer = app.post("/evaluate?format=bootstrap&clientSideOnly=true&flags=for-pages,hidden", ANNA)
    assert answer.json_body == {
        "for-pages": True,
        "$flagsState": {"for-pages": {"variation": 0, "version": 4}},
        "$valid": True,
    }


def test_bootstrap_takes_nothing_from_other_answers(load_app: LoadApp, settings: Environment, served: App) -> None:
    app = load_app({**settings, "EVALUATE_AUTH": "none"})
    flags = app.evaluate(ANNA)
    first, second = (app.evaluate(ANNA, "?format=bootstrap") for _ in range(2))
    assert first == second
    assert app.evaluate(ANNA) == flags


def test_bootstrap_has_a_tag_of_its_own(load_app: LoadApp, settings: Environment, served: App) -> None:
    app = load_app({**settings, "EVALUATE_AUTH": "none"})
    tags = [app.post(path, ANNA).headers["ETag"] for path in ("/evaluate", "/evaluate?format=bootstrap")]
    assert tags[0] != tags[1]
    again = app.post("/evaluate?format=bootstrap", ANNA, {"If-None-Match": tags[1]})
    assert again.status_code == 304


def test_bootstrap_works_in_direct_mode_too(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("on", 3)))
    app = load_app({**environment, "REDIS_URL": "", "EVALUATION_MODE": "direct"})
    try:
        assert app.post("/evaluate?format=bootstrap", ANNA).json_body == {
            "on": True,
            "$flagsState": {"on": {"variation": 0, "version": 3}},
            "$valid": True,
        }
    finally:
        app.module.wiring.direct_flags.client.close()


@pytest.mark.parametrize("form", ["evalx", "", "Bootstrap"])
def test_no_other_format_is_known(load_app: LoadApp, settings: Environment, served: App, form: str) -> None:
    app = load_app({**settings, "EVALUATE_AUTH": "none"})
    message = "The query parameter format must be bootstrap, or absent."
    assert outcome(app.post(f"/evaluate?format={form}", ANNA)) == (400, message)
    assert outcome(app.post(f"/evaluate?format=bootstrap&format={form}", ANNA)) == (400, message)
    assert app.post("/evaluate/for-all?format=bootstrap", ANNA).status_code == 400
