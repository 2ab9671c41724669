"""A secret is replaced on both sides, and whatever fails in between leaves one that works."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests_mock

from tests.support.aws import Aws
from tests.tools.test_register_webhook import API, CREATED, PARAMETER, URL, secret_in_ssm
from tools import rotate
from tools.stages import StageError

Json = dict[str, Any]

SDK_KEY = "/serverless-flags/production/sdk-key"
RESET = f"{API}/api/v2/projects/default/environments/production/apiKey"
REFRESHED = {"status": "refreshed", "revision": "r2", "flags": 2, "segments": 1, "changed": False}


class Account:
    """LaunchDarkly's answers, and the deployed stage, whose function cannot run here."""

    def __init__(self, mock: requests_mock.Mocker) -> None:
        self.mock = mock
        self.invoked: list[tuple[str, Json]] = []
        webhook = {**CREATED, "_id": "57be", "secret": "old"}
        mock.get(f"{API}/api/v2/webhooks", json={"items": [webhook]})
        mock.patch(f"{API}/api/v2/webhooks/57be", json={})
        mock.post(RESET, json={"apiKey": "sdk-new"})

    def invoke(self, function: str, event: Json) -> Json:
        self.invoked.append((function, event))
        return REFRESHED

    def patched(self) -> list[Json]:
        return [operation for each in self.mock.request_history if each.method == "PATCH" for operation in each.json()]


@pytest.fixture
def account(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("LAUNCHDARKLY_ACCESS_TOKEN", "api-token")
    deployment = SimpleNamespace(url=URL, function_name=lambda name: f"serverless-flags-production-{name}")
    monkeypatch.setattr(rotate, "find", lambda _: deployment)
    with requests_mock.Mocker(real_http=True) as mock:
        account = Account(mock)
        monkeypatch.setattr(rotate, "invoke", account.invoke)
        yield account


def put(aws: Aws, name: str, value: str, key: str = "alias/aws/ssm") -> None:
    aws.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", KeyId=key)


def value_of(aws: Aws, name: str) -> str:
    return str(aws.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def test_the_sdk_key_is_reset_put_into_ssm_with_its_kms_key_and_tried(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, SDK_KEY, "sdk-old", "alias/ours")
    assert rotate.main(["sdk-key", "production"]) == 0
    (reset,) = [each for each in account.mock.request_history if each.method == "POST" and each.url.startswith(API)]
    assert 3_500_000 < int(reset.qs["expiry"][0]) - reset_at_ms(aws) < 3_700_000
    assert value_of(aws, SDK_KEY) == "sdk-new"
    (described,) = aws.client("ssm").describe_parameters()["Parameters"]
    assert described["KeyId"] == "alias/ours"
    assert account.invoked == [("serverless-flags-production-reconcile", {})]
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "LaunchDarkly has a new SDK key; the old one is accepted for 60 minutes.",
        f"The SSM parameter {SDK_KEY} holds it.",
        "A refresh with it: 2 flags and 1 segments, unchanged, revision r2.",
    ]
    assert "sdk-" not in output.out.replace(SDK_KEY, "") + output.err


def reset_at_ms(aws: Aws) -> float:
    (parameter,) = aws.client("ssm").describe_parameters()["Parameters"]
    return float(parameter["LastModifiedDate"].timestamp() * 1000)


def test_a_key_that_ssm_does_not_take_is_told_while_the_old_one_goes_on(
    aws: Aws, account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, SDK_KEY, "sdk-old")

    def refuse(*_: object) -> None:
        raise StageError("SSM refuses.")

    monkeypatch.setattr(rotate.Parameter, "put", refuse)
    assert rotate.main(["sdk-key", "production"]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[1:] == [
        "It is not in SSM: copy it from LaunchDarkly's environment into the parameter before that."
    ]
    assert output.err == "SSM refuses.\n"
    assert account.invoked == []


def test_the_webhooks_secret_is_replaced_on_both_sides(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, PARAMETER, "old")
    assert rotate.main(["webhook-secret", "production"]) == 0
    secret = secret_in_ssm(aws)
    assert len(bytes.fromhex(secret)) == 32
    assert account.patched() == [{"op": "replace", "path": "/secret", "value": secret}]
    assert account.invoked == [("serverless-flags-production-reconcile", {})]
    output = capsys.readouterr()
    assert secret not in output.out + output.err


def test_where_launchdarkly_refuses_the_old_secret_comes_back(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, PARAMETER, "old")
    account.mock.patch(f"{API}/api/v2/webhooks/57be", status_code=403, json={})
    assert rotate.main(["webhook-secret", "production"]) == 1
    assert secret_in_ssm(aws) == "old"
    assert capsys.readouterr().out == f"The SSM parameter {PARAMETER} holds the old secret again.\n"


REFUSED: list[tuple[list[str], str]] = [
    (["sdk-key", "production"], f"There is no SSM parameter {SDK_KEY} in eu-central-1."),
    (["sdk-key", "production", "--grace-minutes", "5"], "GRACE_MINUTES must be 15 or more: functions keep a key for"),
    (["webhook-secret", "local"], "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER is not set; it names where the secret is."),
]


@pytest.mark.parametrize(("arguments", "beginning"), REFUSED)
def test_nothing_is_changed_where_something_is_missing(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str], arguments: list[str], beginning: str
) -> None:
    assert rotate.main(arguments) == 1
    assert capsys.readouterr().err.startswith(beginning)
    assert not [each for each in account.mock.request_history if each.method in ("POST", "PATCH") and API in each.url]


def test_a_webhook_that_is_not_there_is_told(aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    put(aws, PARAMETER, "old")
    account.mock.get(f"{API}/api/v2/webhooks", json={"items": []})
    assert rotate.main(["webhook-secret", "production"]) == 1
    assert capsys.readouterr().err == (
        "LaunchDarkly has no webhook serverless-flags-production: make webhook STAGE=production\n"
    )
    assert secret_in_ssm(aws) == "old"
