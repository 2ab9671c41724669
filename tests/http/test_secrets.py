"""Secrets come from Parameter Store: once per process, again when they were rotated, with an error that helps."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from tests.support.app import QUICK, App, Environment, LoadApp
from tests.support.aws import Aws
from tests.support.data import Json, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.webhooks import signature_of

ENTRY = json.dumps({"kind": "flag", "name": "Shiny"}).encode()


@pytest.fixture
def sdk_key_parameter() -> str:
    return f"/{uuid.uuid4()}/sdk-key"


@pytest.fixture
def secret_parameter() -> str:
    return f"/{uuid.uuid4()}/webhook-secret"


@pytest.fixture
def deployed(
    load_app: LoadApp, environment: Environment, aws: Aws, sdk_key_parameter: str, secret_parameter: str
) -> App:
    """The app with both secrets in Parameter Store, which does not hold them yet."""
    settings = {name: value for name, value in environment.items() if "KEY" not in name and "UNSIGNED" not in name}
    settings["LAUNCHDARKLY_SDK_KEY_PARAMETER"] = sdk_key_parameter
    settings["LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER"] = secret_parameter
    return load_app({**settings, **aws.environment}, QUICK._replace(secret_read_seconds=60))  # of moto, at first


def post_signed(app: App, secret: str) -> Any:
    return app.post("/webhook", ENTRY, {"X-LD-Signature": signature_of(ENTRY, secret)})


NOT_CONFIGURED: Json = {
    "Code": "ServiceUnavailableError",
    "Message": "The app is not configured correctly; its log says which setting is wrong.",
}


def unreadable(parameter: str, reason: str) -> str:
    """What the log says."""
    setting = "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER"
    return f"ConfigurationError: {setting} names {parameter!r}, which cannot be read: {reason}."


def test_both_secrets_come_from_parameter_store(
    deployed: App, aws: Aws, launchdarkly: FakeLaunchDarkly, sdk_key_parameter: str, secret_parameter: str
) -> None:
    aws.put_secret(sdk_key_parameter, "sdk-key-in-ssm")
    aws.put_secret(secret_parameter, "old")
    assert post_signed(deployed, "old").status_code == 200
    assert launchdarkly.sdk_keys == ["sdk-key-in-ssm"]


def test_a_missing_parameter_is_named_in_the_log_and_is_not_remembered_as_missing(
    deployed: App,
    aws: Aws,
    launchdarkly: FakeLaunchDarkly,
    sdk_key_parameter: str,
    secret_parameter: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = post_signed(deployed, "old")
    assert answer.status_code == 503
    assert answer.json_body == NOT_CONFIGURED
    assert unreadable(secret_parameter, "there is no such parameter in this region") in caplog.messages
    assert launchdarkly.stream_count == 0

    aws.put_secret(secret_parameter, "old")
    aws.put_secret(sdk_key_parameter, "sdk-key")
    assert post_signed(deployed, "old").status_code == 200


def test_a_rotated_webhook_secret_is_picked_up_without_a_deploy(
    deployed: App, aws: Aws, sdk_key_parameter: str, secret_parameter: str
) -> None:
    aws.put_secret(sdk_key_parameter, "sdk-key")
    aws.put_secret(secret_parameter, "old")
    assert post_signed(deployed, "old").status_code == 200

    aws.put_secret(secret_parameter, "new")
    assert post_signed(deployed, "new").status_code == 200
    assert post_signed(deployed, "old").status_code == 401


def test_forged_signatures_ask_parameter_store_once_a_minute_at_most(
    deployed: App, aws: Aws, secret_parameter: str
) -> None:
    aws.put_secret(secret_parameter, "real")
    assert post_signed(deployed, "forged").status_code == 401
    aws.client("ssm").delete_parameter(Name=secret_parameter)  # another look would be a 503
    assert [post_signed(deployed, "forged").status_code for _ in range(5)] == [401] * 5


def test_an_unsigned_webhook_never_makes_it_look_again(
    deployed: App, aws: Aws, sdk_key_parameter: str, secret_parameter: str
) -> None:
    aws.put_secret(sdk_key_parameter, "sdk-key")
    aws.put_secret(secret_parameter, "real")
    assert post_signed(deployed, "real").status_code == 200
    aws.client("ssm").delete_parameter(Name=secret_parameter)
    assert deployed.post("/webhook", ENTRY).status_code == 401, "another look would be a 503"


def test_a_rotated_sdk_key_is_picked_up_without_a_deploy(
    deployed: App, aws: Aws, launchdarkly: FakeLaunchDarkly, sdk_key_parameter: str, secret_parameter: str
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    aws.put_secret(secret_parameter, "secret")
    aws.put_secret(sdk_key_parameter, "old-key")
    assert post_signed(deployed, "secret").status_code == 200

    aws.put_secret(sdk_key_parameter, "new-key")
    launchdarkly.revoked_sdk_keys.add("old-key")
    assert post_signed(deployed, "secret").status_code == 200
    assert launchdarkly.sdk_keys == ["old-key", "old-key", "new-key"]


def test_parameter_store_out_of_reach_is_a_503_without_an_address(
    load_app: LoadApp, environment: Environment, secret_parameter: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = load_app(
        {
            **environment,
            "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": secret_parameter,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
    )
    answer = post_signed(app, "old")
    assert answer.status_code == 503
    assert answer.json_body == NOT_CONFIGURED
    assert unreadable(secret_parameter, "EndpointConnectionError") in caplog.messages


def test_a_page_whose_hash_was_made_with_a_rotated_sdk_key_is_served_at_once(
    load_app: LoadApp, environment: Environment, launchdarkly: FakeLaunchDarkly, aws: Aws, sdk_key_parameter: str
) -> None:
    settings = {name: value for name, value in environment.items() if "KEY" not in name}
    secure = {"LAUNCHDARKLY_CLIENT_SIDE_ID": "5f1a", "LAUNCHDARKLY_SECURE_MODE": "on"}
    app = load_app({**settings, **secure, "LAUNCHDARKLY_SDK_KEY_PARAMETER": sdk_key_parameter, **aws.environment})
    aws.put_secret(sdk_key_parameter, "old-key")
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    app.invoke("reconcile", {})
    context = base64.urlsafe_b64encode(b'{"kind": "user", "key": "anna"}').decode()

    def status(sdk_key: str | None) -> int:
        query = "" if sdk_key is None else f"?h={signature_of(b'anna', sdk_key)}"  # an HMAC-SHA256 as well
        return int(app.client.http.get(f"/sdk/evalx/5f1a/contexts/{context}{query}").status_code)

    assert status("old-key") == 200
    aws.client("ssm").delete_parameter(Name=sdk_key_parameter)
    assert status(None) == 400, "without a hash it does not look"
    aws.put_secret(sdk_key_parameter, "new-key")
    assert [status("new-key"), status("old-key"), status("another")] == [200, 400, 400]
