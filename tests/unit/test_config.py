"""Every setting: valid, missing, contradictory, malformed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from chalicelib.config import (
    ROWS,
    VARIABLES,
    EnvironmentResource,
    SecretSource,
    is_behind_iam,
    load_settings,
    missing_for_chalice_local,
)
from chalicelib.errors import ConfigurationError
from tests.support.data import PROJECT

REDIS = {"REDIS_URL": "redis://127.0.0.1:6379"}
DEFAULTS: dict[str, Any] = {
    "sdk_key": SecretSource("LAUNCHDARKLY_SDK_KEY", is_key=True),
    "webhook_secret": SecretSource("LAUNCHDARKLY_WEBHOOK_SECRET"),
    "allow_unsigned_webhooks": False,
    "environment": None,
    "base_uri": None,
    "stream_uri": None,
    "events_uri": None,
    "flag_file": None,
    "mode": "daemon",
    "redis_url": "redis://127.0.0.1:6379",
    "redis_auth": "password",
    "dynamodb_table": None,
    "store_prefix": "launchdarkly",
    "store_cache_seconds": 15.0,
    "big_segments_redis_url": None,
    "big_segments_table": None,
    "big_segments_prefix": None,
    "big_segments_cache_seconds": 5.0,
    "flags_max_age_seconds": 1.0,
    "evaluate_auth": "token",
    "token_digests": frozenset(),
    "client_token_digests": frozenset(),
    "mobile_token_digests": frozenset(),
    "client_side_id": None,
    "mobile_key_digests": frozenset(),
    "is_secure_mode": False,
    "max_body_bytes": 65_536,
    "events_mode": None,
    "events_flush_seconds": 10.0,
    "events_private_attributes": (),
    "events_omit_anonymous": False,
    "track_accepts_client_tokens": False,
    "is_status_closed": False,
    "cors_allow_origin": None,
    "has_explorer": False,
    "is_local": False,
}
PASSWORD = "hunter2"
DIGEST_A, DIGEST_B = "a1" * 32, "b2" * 32

ORIGINS = (
    "*",
    "https://app.example.com",
    "https://app.example.com:8443",
    "http://localhost:3000",
    "https://xn--grn-hoa.example",
    "http://127.0.0.1:65535",
    "http://[::1]:8000",
    "http://intra_net",
    "https://app.example.com:80",
)
NO_ORIGINS = (
    "app.example.com",
    "https://app.example.com/",
    "https://a.example,https://b.example",
    "https://",
    "https://*.example.com",
    "https://App.example.com",
    "HTTPS://app.example.com",
    "https://app.example.com:443",
    "http://app.example.com:80",
    "https://app.example.com:",
    "https://app.example.com:65536",
    "https://app.example.com:08",
    "https://app.example.com?x",
    "https://app.example.com#x",
    "https://grün.example",
    "null",
)
"""What no browser sends as its origin: a wildcard, a path, a user, capital letters, a port that goes without saying."""

VALID: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"LAUNCHDARKLY_SDK_KEY": "sdk-1"}, {"sdk_key": SecretSource("LAUNCHDARKLY_SDK_KEY", "sdk-1", is_key=True)}),
    (
        {"LAUNCHDARKLY_SDK_KEY_PARAMETER": "/flags/key"},
        {"sdk_key": SecretSource("LAUNCHDARKLY_SDK_KEY", parameter="/flags/key", is_key=True)},
    ),
    (
        {"LAUNCHDARKLY_WEBHOOK_SECRET": "s"},
        {"webhook_secret": SecretSource("LAUNCHDARKLY_WEBHOOK_SECRET", "s")},
    ),
    (
        {"LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": "/flags/secret"},
        {"webhook_secret": SecretSource("LAUNCHDARKLY_WEBHOOK_SECRET", parameter="/flags/secret")},
    ),
    ({"LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow"}, {"allow_unsigned_webhooks": True}),
    ({"LAUNCHDARKLY_WEBHOOK_UNSIGNED": "refuse"}, {}),
    (
        {"LAUNCHDARKLY_ENVIRONMENT": "proj/default:env/production"},
        {"environment": EnvironmentResource("default", "production")},
    ),
    (
        {
            "LAUNCHDARKLY_BASE_URI": "https://sdk.eu.launchdarkly.com",
            "LAUNCHDARKLY_STREAM_URI": "http://relay:8030/",
            "LAUNCHDARKLY_EVENTS_URI": "https://events.eu.launchdarkly.com/path",
        },
        {
            "base_uri": "https://sdk.eu.launchdarkly.com",
            "stream_uri": "http://relay:8030/",
            "events_uri": "https://events.eu.launchdarkly.com/path",
        },
    ),
    ({"LAUNCHDARKLY_FLAG_FILE": "flags.json"}, {"flag_file": "flags.json"}),
    ({"EVALUATION_MODE": "daemon"}, {}),
    ({"EVALUATION_MODE": "direct", "REDIS_URL": ""}, {"mode": "direct", "redis_url": None}),
    ({"REDIS_URL": "rediss://:pw@cache.example.com:6380/2"}, {"redis_url": "rediss://:pw@cache.example.com:6380/2"}),
    ({"REDIS_AUTH": "iam"}, {"redis_auth": "iam"}),
    ({"REDIS_URL": "unix:///run/valkey.sock"}, {"redis_url": "unix:///run/valkey.sock"}),
    ({"REDIS_URL": "embedded"}, {"redis_url": "embedded"}),
    ({"REDIS_URL": "", "DYNAMODB_TABLE": "flags"}, {"redis_url": None, "dynamodb_table": "flags"}),
    (
        {"EVALUATE_AUTH": " none\n", "STORE_CACHE_SECONDS": "\t2 "},
        {"evaluate_auth": "none", "store_cache_seconds": 2.0},
    ),
    ({"LAUNCHDARKLY_SDK_KEY": " sdk-1\n"}, {"sdk_key": SecretSource("LAUNCHDARKLY_SDK_KEY", "sdk-1", is_key=True)}),
    ({"LAUNCHDARKLY_FLAG_FILE": "  "}, {}),
    ({"STORE_PREFIX": "{launchdarkly}"}, {"store_prefix": "{launchdarkly}"}),
    ({"STORE_PREFIX": "none"}, {"store_prefix": ""}),
    ({"STORE_PREFIX": ""}, {"store_prefix": "launchdarkly"}),
    ({"STORE_CACHE_SECONDS": "0"}, {"store_cache_seconds": 0.0}),
    ({"STORE_CACHE_SECONDS": "2.5"}, {"store_cache_seconds": 2.5}),
    ({"BIG_SEGMENTS_REDIS_URL": "rediss://u:pw@big"}, {"big_segments_redis_url": "rediss://u:pw@big"}),
    ({"BIG_SEGMENTS_TABLE": "big"}, {"big_segments_table": "big"}),
    *(
        ({"REDIS_URL": "", "DYNAMODB_TABLE": table}, {"redis_url": None, "dynamodb_table": table})
        for table in ("My_flags.v2-eu", "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/flags")
    ),
    *(
        ({"LAUNCHDARKLY_STREAM_URI": uri}, {"stream_uri": uri})
        for uri in (
            "http://[::1]:8030",
            "https://grün.example:443/relay/",
            "http://u:p@relay:65535",
            "http://relay:/path",
            "http://127.0.0.1",
        )
    ),
    *(({"FLAGS_MAX_AGE_SECONDS": text}, {"flags_max_age_seconds": 0.5}) for text in (".5", "5e-1", "+0.50")),
    ({"BIG_SEGMENTS_PREFIX": "{big}"}, {"big_segments_prefix": "{big}"}),
    ({"BIG_SEGMENTS_PREFIX": "none"}, {"big_segments_prefix": ""}),
    ({"BIG_SEGMENTS_CACHE_SECONDS": "0"}, {"big_segments_cache_seconds": 0.0}),
    (
        {"EVALUATION_MODE": "direct", "REDIS_URL": "", "BIG_SEGMENTS_TABLE": "big", "BIG_SEGMENTS_PREFIX": "p"},
        {"mode": "direct", "redis_url": None, "big_segments_table": "big", "big_segments_prefix": "p"},
    ),
    ({"FLAGS_MAX_AGE_SECONDS": "0"}, {"flags_max_age_seconds": 0.0}),
    ({"FLAGS_MAX_AGE_SECONDS": "60"}, {"flags_max_age_seconds": 60.0}),
    ({"EVALUATE_AUTH": "iam"}, {"evaluate_auth": "iam"}),
    ({"EVALUATE_AUTH": "none"}, {"evaluate_auth": "none"}),
    (
        {"EVALUATE_TOKEN_SHA256": f" {DIGEST_A.upper()},\n{DIGEST_B}, "},
        {"token_digests": frozenset({DIGEST_A, DIGEST_B})},
    ),
    *(({"CORS_ALLOW_ORIGIN": origin}, {"cors_allow_origin": origin}) for origin in ORIGINS),
    ({"EVALUATE_CLIENT_TOKEN_SHA256": DIGEST_A}, {"client_token_digests": frozenset({DIGEST_A})}),
    ({"EVALUATE_MOBILE_TOKEN_SHA256": DIGEST_A}, {"mobile_token_digests": frozenset({DIGEST_A})}),
    ({"LAUNCHDARKLY_CLIENT_SIDE_ID": "5f1a6c0e9b"}, {"client_side_id": "5f1a6c0e9b"}),
    (
        {"LAUNCHDARKLY_MOBILE_KEY_SHA256": f"{DIGEST_A},{DIGEST_B}"},
        {"mobile_key_digests": frozenset({DIGEST_A, DIGEST_B})},
    ),
    ({"LAUNCHDARKLY_SECURE_MODE": "off"}, {}),
    (
        {"LAUNCHDARKLY_SECURE_MODE": "on", "LAUNCHDARKLY_SDK_KEY": "sdk-1"},
        {"is_secure_mode": True, "sdk_key": SecretSource("LAUNCHDARKLY_SDK_KEY", "sdk-1", is_key=True)},
    ),
    ({"EVALUATE_MAX_BODY_BYTES": "1024"}, {"max_body_bytes": 1024}),
    ({"EVALUATE_MAX_BODY_BYTES": "1000000"}, {"max_body_bytes": 1_000_000}),
    ({"STATUS_AUTH": "none"}, {}),
    ({"STATUS_AUTH": "token"}, {"is_status_closed": True}),
    *(({"EVENTS": mode}, {"events_mode": mode}) for mode in ("off", "summary", "full")),
    ({"EVENTS_FLUSH_SECONDS": "0"}, {"events_flush_seconds": 0.0}),
    ({"EVENTS_PRIVATE_ATTRIBUTES": "all"}, {"events_private_attributes": None}),
    (
        {"EVENTS_PRIVATE_ATTRIBUTES": "email, /address/street,/a~1b/~0,first name"},
        {"events_private_attributes": ("email", "/address/street", "/a~1b/~0", "first name")},
    ),
    ({"EVENTS_OMIT_ANONYMOUS": "on"}, {"events_omit_anonymous": True}),
    ({"TRACK_CLIENT_TOKENS": "allow"}, {"track_accepts_client_tokens": True}),
]


@pytest.mark.parametrize(("variables", "changed"), VALID)
def test_valid_settings_are_read(variables: dict[str, str], changed: dict[str, Any]) -> None:
    assert load_settings({**REDIS, **variables}).values == {**DEFAULTS, **changed}


def test_an_empty_variable_counts_as_unset() -> None:
    names = {name for variables, _ in VALID for name in variables} - {"REDIS_URL"}
    assert load_settings({**dict.fromkeys(names, ""), **REDIS}).values == DEFAULTS


def test_the_mode_has_a_name() -> None:
    assert not load_settings(REDIS).direct_mode
    assert load_settings({"EVALUATION_MODE": "direct"}).direct_mode


_NOT_A_RESOURCE = (
    "LAUNCHDARKLY_ENVIRONMENT is {!r}; expected a LaunchDarkly resource such as proj/default:env/production."
)
_A_URL = "a URL that starts with https:// or http://, without a query, and with a port up to 65535 if with any"
_A_TABLE = "the name of a DynamoDB table: at most 255 letters, digits, hyphens, dots and underscores"
_NOT_SHOWN = "malformed (and not shown: it may hold a secret)"
_NOT_A_DIGEST = (
    f"EVALUATE_TOKEN_SHA256 is {_NOT_SHOWN}; expected SHA-256 digests of 64 hexadecimal digits each, "
    "separated by commas (the digest of a token, never the token)."
)
_NOT_A_STORE = (
    f"REDIS_URL is {_NOT_SHOWN}; expected a URL that starts with redis://, rediss:// or unix://, or 'embedded'."
)
_NOT_AN_ID = (
    f"LAUNCHDARKLY_CLIENT_SIDE_ID is {_NOT_SHOWN}; expected the client-side ID of a LaunchDarkly environment, letters "
    "and digits, and none of its keys."
)
_NO_KEY_TO_HASH_WITH = (
    "LAUNCHDARKLY_SECURE_MODE is 'on', which compares with hashes that are made with the SDK key; set "
    "LAUNCHDARKLY_SDK_KEY or LAUNCHDARKLY_SDK_KEY_PARAMETER."
)
INVALID: list[tuple[dict[str, str], str]] = [
    (
        {"REDIS_URL": ""},
        "Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode needs exactly one of them.",
    ),
    (
        {"DYNAMODB_TABLE": "flags"},
        "REDIS_URL and DYNAMODB_TABLE are both set; set exactly one of them.",
    ),
    (
        {"EVALUATION_MODE": "direct"},
        "REDIS_URL is set, but EVALUATION_MODE is 'direct', which uses no store; unset one.",
    ),
    (
        {"EVALUATION_MODE": "direct", "REDIS_URL": "", "DYNAMODB_TABLE": "flags"},
        "DYNAMODB_TABLE is set, but EVALUATION_MODE is 'direct', which uses no store; unset one.",
    ),
    (
        {"LAUNCHDARKLY_SDK_KEY": PASSWORD, "LAUNCHDARKLY_SDK_KEY_PARAMETER": "/key"},
        "LAUNCHDARKLY_SDK_KEY and LAUNCHDARKLY_SDK_KEY_PARAMETER are both set; set one of them.",
    ),
    (
        {"LAUNCHDARKLY_WEBHOOK_SECRET": PASSWORD, "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": "/secret"},
        "LAUNCHDARKLY_WEBHOOK_SECRET and LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER are both set; set one of them.",
    ),
    (
        {"BIG_SEGMENTS_REDIS_URL": "redis://big", "BIG_SEGMENTS_TABLE": "big"},
        "BIG_SEGMENTS_REDIS_URL and BIG_SEGMENTS_TABLE are both set; set at most one of them.",
    ),
    *(
        (
            {"BIG_SEGMENTS_REDIS_URL": url},
            f"BIG_SEGMENTS_REDIS_URL is {_NOT_SHOWN}; expected a URL that starts with redis://, rediss:// or unix://.",
        )
        for url in ("embedded", f"http://:{PASSWORD}@big")
    ),
    (
        {"EVALUATION_MODE": "direct", "REDIS_URL": "", "BIG_SEGMENTS_PREFIX": "p"},
        (
            "BIG_SEGMENTS_PREFIX is set, but EVALUATION_MODE is 'direct', which has no flag store; set "
            "BIG_SEGMENTS_REDIS_URL or BIG_SEGMENTS_TABLE as well, or unset it."
        ),
    ),
    (
        {"BIG_SEGMENTS_CACHE_SECONDS": "-1"},
        "BIG_SEGMENTS_CACHE_SECONDS is '-1'; expected a number of seconds, 0 or more.",
    ),
    ({"EVALUATION_MODE": "Daemon"}, "EVALUATION_MODE is 'Daemon'; expected one of: daemon, direct."),
    (
        {"LAUNCHDARKLY_WEBHOOK_UNSIGNED": "true"},
        "LAUNCHDARKLY_WEBHOOK_UNSIGNED is 'true'; expected one of: allow, refuse.",
    ),
    ({"EVALUATE_AUTH": "basic"}, "EVALUATE_AUTH is 'basic'; expected one of: token, iam, none."),
    *(
        ({"REDIS_URL": url}, _NOT_A_STORE)
        for url in (f"http://:{PASSWORD}@localhost", f"localhost:6379?password={PASSWORD}", "Embedded")
    ),
    *(
        ({"LAUNCHDARKLY_ENVIRONMENT": resource}, _NOT_A_RESOURCE.format(resource))
        for resource in (
            "production",
            "proj/default",
            "proj/:env/production",
            "proj/a:env/b:flag/c",
            "proj/a;t:env/b",
            "proj/a:env/*",
            "proj/*:env/b",
            "proj/a:env/~",
            "proj/a: env/b",
            "proj/a:env/b c",
        )
    ),
    *(
        ({name: uri}, f"{name} is {uri!r}; expected {_A_URL}.")
        for name in ("LAUNCHDARKLY_BASE_URI", "LAUNCHDARKLY_STREAM_URI", "LAUNCHDARKLY_EVENTS_URI")
        for uri in (
            "relay:8030",
            "ftp://relay",
            "https://",
            "http:///path",
            "https://a relay",
            "https://relay:65536",
            "https://relay:0",
            "https://relay:port",
            "https://relay:٣",
            "https://relay:8030:8031",
            "https://[::1",
            "https://[relay",
            "https://relay]",
            "https://::1",
            "https://re[lay",
            "https://[]",
            "https://:443",
            "https://relay?env=a",
            "https://relay/#a",
            "https://relay\\all",
        )
    ),
    *(
        ({name: uri}, f"{name} is {_NOT_SHOWN}; expected {_A_URL}.")
        for name in ("LAUNCHDARKLY_BASE_URI", "LAUNCHDARKLY_STREAM_URI", "LAUNCHDARKLY_EVENTS_URI")
        for uri in (
            f"u:{PASSWORD}@relay",
            f"ftp://u:{PASSWORD}@relay",
            f"https://u:{PASSWORD}@a relay",
            f"https://u:{PASSWORD}@",
        )
    ),
    (
        {"CORS_ALLOW_ORIGIN": f"u:{PASSWORD}@app.example.com"},
        f"CORS_ALLOW_ORIGIN is {_NOT_SHOWN}; expected one origin such as https://app.example.com, or *.",
    ),
    (
        {"EVALUATE_TOKEN_SHA256": DIGEST_A, "EVALUATE_CLIENT_TOKEN_SHA256": f"{DIGEST_B},{DIGEST_A}"},
        "EVALUATE_TOKEN_SHA256 and EVALUATE_CLIENT_TOKEN_SHA256 hold the same digest; a token is one or the other.",
    ),
    *(
        (
            {"STORE_CACHE_SECONDS": seconds},
            f"STORE_CACHE_SECONDS is {seconds!r}; expected a number of seconds, 0 or more.",
        )
        for seconds in ("-1", "soon", "nan", "inf", "1e999", "15s", "1_0", "१५", "1-", "1e3e3")
    ),
    (
        {"FLAGS_MAX_AGE_SECONDS": "-1"},
        "FLAGS_MAX_AGE_SECONDS is '-1'; expected a number of seconds, 0 or more.",
    ),
    *(
        (
            {"REDIS_URL": "", "DYNAMODB_TABLE": "flags", name: table},
            f"{name} is {table!r}; expected {_A_TABLE}.",
        )
        for name in ("DYNAMODB_TABLE", "BIG_SEGMENTS_TABLE")
        for table in (
            "my flags",
            "flags/index/a",
            "flägs",
            "arn:aws:dynamodb:eu-central-1:123456789012:table/a/b",
            "f" * 256,
        )
    ),
    *(
        ({"EVALUATE_TOKEN_SHA256": digests}, _NOT_A_DIGEST)
        for digests in (PASSWORD, f"{DIGEST_A},{PASSWORD}", DIGEST_A + "0", DIGEST_A[:-1], "g" * 64)
    ),
    *(
        (
            {"CORS_ALLOW_ORIGIN": origin},
            f"CORS_ALLOW_ORIGIN is {origin!r}; expected one origin such as https://app.example.com, or *.",
        )
        for origin in NO_ORIGINS
    ),
    *(
        (
            {"EVALUATE_MAX_BODY_BYTES": number},
            f"EVALUATE_MAX_BODY_BYTES is {number!r}; expected a number of bytes from 1024 to 1000000.",
        )
        for number in ("0", "1023", "1000001", "-1", "64k", "1e4", "2048.0", "९९९९", "9" * 5000)
    ),
    *(
        (
            {"LAUNCHDARKLY_CLIENT_SIDE_ID": identifier},
            _NOT_AN_ID,
        )
        for identifier in (f"sdk-{PASSWORD}", f"mob-{PASSWORD}", "5f1a,5f1b", "a/b", "é", "a" * 65)
    ),
    ({"LAUNCHDARKLY_SECURE_MODE": "true"}, "LAUNCHDARKLY_SECURE_MODE is 'true'; expected one of: on, off."),
    (
        {"LAUNCHDARKLY_SECURE_MODE": "on"},
        _NO_KEY_TO_HASH_WITH,
    ),
    ({"STATUS_AUTH": "iam"}, "STATUS_AUTH is 'iam'; expected one of: none, token."),
    ({"EVENTS": "on"}, "EVENTS is 'on'; expected one of: off, summary, full."),
    (
        {"EVALUATION_MODE": "direct", "REDIS_URL": "", "EVENTS": "summary"},
        "EVENTS is 'summary', but in direct mode the SDK sends all; expected one of: off, full.",
    ),
    ({"EVENTS_FLUSH_SECONDS": "-1"}, "EVENTS_FLUSH_SECONDS is '-1'; expected a number of seconds, 0 or more."),
    *(
        (
            {"EVENTS_PRIVATE_ATTRIBUTES": references},
            f"EVENTS_PRIVATE_ATTRIBUTES is {references!r}; expected attribute references, separated by commas, or all.",
        )
        for references in (",", "email,,name", "/", "//a", "/a/", "/a~2b", "/a~")
    ),
    ({"EVENTS_OMIT_ANONYMOUS": "yes"}, "EVENTS_OMIT_ANONYMOUS is 'yes'; expected one of: on, off."),
    ({"TRACK_CLIENT_TOKENS": "on"}, "TRACK_CLIENT_TOKENS is 'on'; expected one of: allow, refuse."),
    *(
        (
            {one: f"{DIGEST_A},{DIGEST_B}", other: DIGEST_A.upper()},
            f"{one} and {other} hold the same digest; a token is one or the other.",
        )
        for one, other in itertools.combinations(
            ("EVALUATE_TOKEN_SHA256", "EVALUATE_CLIENT_TOKEN_SHA256", "EVALUATE_MOBILE_TOKEN_SHA256"), 2
        )
    ),
]


@pytest.mark.parametrize(("variables", "message"), INVALID)
def test_an_invalid_setting_is_an_error_that_names_it_and_holds_no_secret(
    variables: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_settings({**REDIS, **variables})
    assert str(raised.value) == message
    assert PASSWORD not in message


def test_settings_can_be_logged_without_their_secrets() -> None:
    settings = load_settings(
        {
            "LAUNCHDARKLY_SDK_KEY": PASSWORD,
            "LAUNCHDARKLY_WEBHOOK_SECRET": PASSWORD,
            "REDIS_URL": f"redis://:{PASSWORD}@localhost",
            "BIG_SEGMENTS_REDIS_URL": f"redis://:{PASSWORD}@localhost",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "https_proxy": f"http://u:{PASSWORD}@proxy",
            "LAUNCHDARKLY_STREAM_URI": "http://relay:8030",
        }
    )
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr((settings.sdk_key, settings.webhook_secret))
    assert "stream_uri='http://relay:8030'" in repr(settings)


@pytest.mark.parametrize(("auth", "is_behind"), [("iam", True), (" iam\n", True), ("token", False), ("", False)])
def test_the_gateway_and_the_app_agree_on_iam(auth: str, is_behind: bool) -> None:
    variables = {**REDIS, "EVALUATE_AUTH": auth}
    assert is_behind_iam(variables) is is_behind
    assert (load_settings(variables).evaluate_auth == "iam") is is_behind


def test_each_side_gets_the_variables_that_are_meant_for_it() -> None:
    meant_for_aws = {"AWS_REGION": "eu-central-1", "HTTPS_PROXY": "http://a", "https_proxy": "http://b"}
    settings = load_settings({**REDIS, **meant_for_aws, "no_proxy": "c", "PATH": "d"})
    assert settings.aws == meant_for_aws
    assert settings.proxies == {"https_proxy": "http://b", "no_proxy": "c"}


LOCAL = {"LOCAL_STAGE": "on"}
EXAMPLES = {"redis_url": "embedded", "flag_file": "examples/flags.json"}
OPEN = {"evaluate_auth": "none", "has_explorer": True, "allow_unsigned_webhooks": True}
LOCAL_CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing else": ({}, {**EXAMPLES, **OPEN}),
    "an empty variable": ({"REDIS_URL": " "}, {**EXAMPLES, **OPEN}),
    "a file": ({"LAUNCHDARKLY_FLAG_FILE": "mine.json"}, {"redis_url": "embedded", "flag_file": "mine.json", **OPEN}),
    "an SDK key": ({"LAUNCHDARKLY_SDK_KEY": "sdk-1"}, {"redis_url": "embedded", "flag_file": None, **OPEN}),
    "a parameter": ({"LAUNCHDARKLY_SDK_KEY_PARAMETER": "/a"}, {"redis_url": "embedded", "flag_file": None, **OPEN}),
    "a Redis": ({"REDIS_URL": "redis://a"}, {"redis_url": "redis://a", "flag_file": None, **OPEN}),
    "a table": ({"DYNAMODB_TABLE": "a"}, {"redis_url": None, "dynamodb_table": "a", "flag_file": None, **OPEN}),
    "direct mode": ({"EVALUATION_MODE": "direct"}, {"redis_url": None, "flag_file": "examples/flags.json", **OPEN}),
    "a token": ({"EVALUATE_TOKEN_SHA256": DIGEST_A}, {**EXAMPLES, **OPEN, "evaluate_auth": "token"}),
    "IAM": ({"EVALUATE_AUTH": "iam"}, {**EXAMPLES, **OPEN, "evaluate_auth": "iam", "has_explorer": False}),
    "no explorer": ({"EXPLORER": "off"}, {**EXAMPLES, **OPEN, "has_explorer": False}),
    "signed webhooks": (
        {"LAUNCHDARKLY_WEBHOOK_UNSIGNED": "refuse"},
        {**EXAMPLES, **OPEN, "allow_unsigned_webhooks": False},
    ),
}


@pytest.mark.parametrize(("variables", "expected"), LOCAL_CASES.values(), ids=LOCAL_CASES)
def test_the_local_stage_sets_what_nobody_else_has_set(variables: dict[str, str], expected: dict[str, Any]) -> None:
    settings = load_settings({**LOCAL, **variables})
    assert {name: settings.values[name] for name in expected} == expected
    assert settings.is_local


def test_the_local_stage_is_refused_on_lambda() -> None:
    with pytest.raises(ConfigurationError, match=r"LOCAL_STAGE is 'on', which is for development"):
        load_settings({**LOCAL, "AWS_LAMBDA_FUNCTION_NAME": "serverless-flags-production"})


def test_a_page_cannot_sign_its_requests() -> None:
    with pytest.raises(ConfigurationError, match="EXPLORER is 'on', but EVALUATE_AUTH is 'iam'"):
        load_settings({**REDIS, "EXPLORER": "on", "EVALUATE_AUTH": "iam"})


CLI = {"AWS_CHALICE_CLI_MODE": "true"}


@pytest.mark.parametrize(
    ("arguments", "variables", "missing"),
    [
        (["local"], {**CLI, **REDIS}, "EVALUATE_TOKEN_SHA256 is empty, so every evaluation is refused."),
        (["local"], CLI, "Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode needs exactly one of them."),
        (["local"], {**CLI, **REDIS, "EVALUATE_TOKEN_SHA256": DIGEST_A}, None),
        (["local", "--stage", "local"], {**CLI, **LOCAL}, None),
        (["deploy"], {**CLI, **REDIS}, None),
        (["local"], REDIS, None),
    ],
)
def test_chalice_local_says_what_is_missing(
    arguments: list[str], variables: dict[str, str], missing: str | None
) -> None:
    assert missing_for_chalice_local(arguments, variables) == missing


def test_a_setting_cannot_be_changed() -> None:
    settings = load_settings(REDIS)
    with pytest.raises(AttributeError):
        settings.mode = "direct"  # type: ignore[misc]


def test_every_variable_is_explained() -> None:
    """In its row, and with the same name in the table of docs/settings.md."""
    assert all(row.meaning.endswith(".") for row in ROWS)
    table = (PROJECT / "docs" / "settings.md").read_text()
    assert [name for name in VARIABLES if f"`{name}`" not in table] == []
    assert "LAUNCHDARKLY_SDK_KEY_PARAMETER" in VARIABLES


def test_settings_come_from_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://from-the-process")
    monkeypatch.setenv("STORE_PREFIX", "shop")
    settings = load_settings()
    assert (settings.redis_url, settings.store_prefix) == ("redis://from-the-process", "shop")
