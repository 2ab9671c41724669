"""The webhook is registered once, signed, for one environment; LaunchDarkly's refusals are told in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import requests_mock

from tests.support.aws import Aws
from tools import register_webhook

API = "https://app.launchdarkly.com"
URL = "https://abc.execute-api.eu-central-1.amazonaws.com/production/"
PARAMETER = "/serverless-flags/production/webhook-secret"
STATEMENTS = [
    {"effect": "allow", "resources": ["proj/default:env/production:flag/*"], "actions": ["*"]},
    {"effect": "allow", "resources": ["proj/default:env/production:segment/*"], "actions": ["*"]},
]
CREATED = {"name": "serverless-flags-production", "url": f"{URL}webhook", "on": True, "statements": STATEMENTS}

Json = dict[str, Any]


class Account:
    """LaunchDarkly's answers for an account with these webhooks, and what was asked of it."""

    def __init__(self, mock: requests_mock.Mocker) -> None:
        self.mock = mock
        self.webhooks: list[Json] = []
        mock.get(f"{API}/api/v2/projects/default/environments/production", json={"key": "production"})
        mock.get(f"{API}/api/v2/webhooks", json=lambda *_: {"items": self.webhooks})
        mock.post(f"{API}/api/v2/webhooks", json=self._create, status_code=201)
        mock.patch(f"{API}/api/v2/webhooks/57be", json=self._patch)

    def changes(self) -> list[tuple[str, Any]]:
        return [(each.method, each.json()) for each in self.mock.request_history if each.method in ("POST", "PATCH")]

    def _create(self, request: requests.PreparedRequest, _: object) -> Json:
        webhook = {**request.json(), "_id": "57be"}  # type: ignore[attr-defined]
        self.webhooks.append(webhook)
        return webhook

    def _patch(self, request: requests.PreparedRequest, _: object) -> Json:
        webhook = next(each for each in self.webhooks if each["_id"] == "57be")
        for operation in request.json():  # type: ignore[attr-defined]
            assert operation["op"] == ("replace" if operation["path"][1:] in webhook else "add")
            webhook[operation["path"][1:]] = operation["value"]
        return webhook


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("LAUNCHDARKLY_ACCESS_TOKEN", "api-token")
    with requests_mock.Mocker() as mock:
        yield Account(mock)


def register(*options: str) -> int:
    return register_webhook.main(["production", "--url", URL, *options])


def secret_in_ssm(aws: Aws) -> str:
    parameter = aws.client("ssm").get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]
    assert parameter["Type"] == "SecureString"
    return str(parameter["Value"])


def test_it_creates_a_signed_webhook_for_this_environments_flags_and_segments(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register() == 0
    secret = secret_in_ssm(aws)
    assert len(bytes.fromhex(secret)) == 32
    assert account.changes() == [("POST", {**CREATED, "sign": True, "secret": secret, "tags": ["serverless-flags"]})]
    assert {each.headers["Authorization"] for each in account.mock.request_history} == {"api-token"}
    assert capsys.readouterr().out == (
        f"put a new secret into the SSM parameter {PARAMETER}\n"
        f"create the webhook serverless-flags-production for {URL}webhook\n"
    )


def test_running_it_twice_changes_nothing(aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    register()
    secret = secret_in_ssm(aws)
    account.mock.reset_mock()
    capsys.readouterr()
    assert register() == 0
    assert (account.changes(), capsys.readouterr().out) == ([], "nothing to do\n")
    assert secret_in_ssm(aws) == secret


def test_the_order_and_the_empty_fields_of_statements_do_not_matter(aws: Aws, account: Account) -> None:
    register()
    account.mock.reset_mock()
    account.webhooks[0]["statements"] = [{**each, "notResources": [], "notActions": []} for each in STATEMENTS[::-1]]
    assert register() == 0
    assert account.changes() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("on", False), ("statements", STATEMENTS[:1]), ("statements", [{**STATEMENTS[0], "resources": ["proj/*"]}])],
)
def test_it_mends_what_was_changed_by_hand(aws: Aws, account: Account, field: str, value: Any) -> None:
    register()
    wanted = account.webhooks[0][field]
    account.webhooks[0][field] = value
    account.mock.reset_mock()
    assert register() == 0
    assert account.changes() == [("PATCH", [{"op": "replace", "path": f"/{field}", "value": wanted}])]


def test_an_app_that_was_deployed_anew_keeps_its_webhook_and_gets_its_new_address(aws: Aws, account: Account) -> None:
    register()
    account.mock.reset_mock()
    assert register_webhook.main(["production", "--url", "https://new.example.com/production"]) == 0
    new = {"op": "replace", "path": "/url", "value": "https://new.example.com/production/webhook"}
    assert account.changes() == [("PATCH", [new])]


def test_a_secret_that_is_gone_from_ssm_is_replaced_on_both_sides(aws: Aws, account: Account) -> None:
    register()
    aws.client("ssm").delete_parameter(Name=PARAMETER)
    account.mock.reset_mock()
    assert register() == 0
    assert account.changes() == [("PATCH", [{"op": "replace", "path": "/secret", "value": secret_in_ssm(aws)}])]


def test_white_space_around_the_secret_in_ssm_is_no_part_of_it(aws: Aws, account: Account) -> None:
    """The app leaves it out as well: what was written with an editor ends with a line."""
    aws.put_secret(PARAMETER, "of-an-editor\n")
    assert register() == 0
    ((_, created),) = account.changes()
    assert created["secret"] == "of-an-editor"
    account.mock.reset_mock()
    assert register() == 0
    assert account.changes() == []


def test_a_parameter_that_holds_no_secret_is_told(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_secret(PARAMETER, "two\nlines")
    assert register() == 1
    assert account.changes() == []
    assert capsys.readouterr().err == f"The SSM parameter {PARAMETER} holds no secret; expected one line of text.\n"


def test_a_secret_that_was_rotated_in_ssm_goes_to_launchdarkly(aws: Aws, account: Account) -> None:
    register()
    aws.put_secret(PARAMETER, "rotated")
    account.mock.reset_mock()
    assert register() == 0
    assert account.changes() == [("PATCH", [{"op": "replace", "path": "/secret", "value": "rotated"}])]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register("--dry-run") == 0
    assert account.changes() == []
    assert aws.client("ssm").describe_parameters()["Parameters"] == []
    assert capsys.readouterr().out == (
        f"would put a new secret into the SSM parameter {PARAMETER}\n"
        f"would create the webhook serverless-flags-production for {URL}webhook\n"
    )


REFUSALS: list[tuple[int, dict[str, str], Json, str]] = [
    (401, {}, {}, "LaunchDarkly does not accept the access token in LAUNCHDARKLY_ACCESS_TOKEN."),
    (
        403,
        {},
        {"message": "Denied"},
        "The access token may not do this; it needs the Writer role, or a custom role for webhook/*. Denied",
    ),
    (
        404,
        {},
        {"message": "Unknown project"},
        "LaunchDarkly has nothing there. Unknown project",
    ),
    (400, {}, {"message": "invalid url"}, "LaunchDarkly refuses this. invalid url"),
    (429, {"Retry-After": "7"}, {}, "LaunchDarkly's rate limit is reached; try again in 7 seconds."),
    (429, {}, {}, "LaunchDarkly's rate limit is reached; try again in 10 seconds."),
    (503, {}, {}, "LaunchDarkly has a problem; try again later."),
]


@pytest.mark.parametrize(("status", "headers", "body", "meaning"), REFUSALS)
def test_a_refusal_is_one_line_and_changes_nothing(
    aws: Aws,
    account: Account,
    capsys: pytest.CaptureFixture[str],
    status: int,
    headers: dict[str, str],
    body: Json,
    meaning: str,
) -> None:
    path = "/api/v2/projects/default/environments/production"
    account.mock.get(API + path, status_code=status, headers=headers, json=body)
    assert register() == 1
    assert capsys.readouterr() == ("", f"GET {path}: HTTP {status}. {meaning}\n")
    assert account.changes() == []
    assert aws.client("ssm").describe_parameters()["Parameters"] == []


def test_a_rate_limit_with_a_reset_time_says_how_many_seconds_are_left(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    reset_ms = round((time.time() + 3600) * 1000)
    account.mock.get(f"{API}/api/v2/webhooks", status_code=429, headers={"X-Ratelimit-Reset": str(reset_ms)})
    assert register() == 1
    seconds = int(capsys.readouterr().err.rpartition(" in ")[2].split()[0])
    assert 3000 < seconds <= 3600


def test_a_run_that_failed_half_way_goes_on_with_the_same_secret(aws: Aws, account: Account) -> None:
    account.mock.post(f"{API}/api/v2/webhooks", status_code=503)
    assert register() == 1
    secret = secret_in_ssm(aws)
    Account(account.mock)
    account.mock.reset_mock()
    assert register() == 0
    ((_, created),) = account.changes()
    assert created["secret"] == secret == secret_in_ssm(aws)


def test_an_address_that_is_not_launchdarklys_api_is_told(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.mock.get("https://example.com/api/v2/projects/default/environments/production", text="<html>")
    assert register("--api", "https://example.com") == 1
    assert capsys.readouterr().err == "https://example.com answers, but not as LaunchDarkly's API does.\n"


@pytest.mark.parametrize(("status", "line"), [(200, "answers, but not as LaunchDarkly's API does."), (400, "HTTP 400")])
def test_json_that_is_no_object_is_told(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str], status: int, line: str
) -> None:
    account.mock.get(f"{API}/api/v2/projects/default/environments/production", json=["x"], status_code=status)
    assert register() == 1
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("token", ["api-…", "api-\ntoken"])
def test_what_cannot_be_an_access_token_is_told(
    aws: Aws, account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    monkeypatch.setenv("LAUNCHDARKLY_ACCESS_TOKEN", token)
    assert register() == 1
    assert capsys.readouterr().err == (
        "LAUNCHDARKLY_ACCESS_TOKEN holds no access token; expected ASCII characters on one line.\n"
    )


def test_white_space_around_an_access_token_is_no_part_of_it(
    aws: Aws, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHDARKLY_ACCESS_TOKEN", " api-token\n")
    assert register() == 0
    assert {each.headers["Authorization"] for each in account.mock.request_history} == {"api-token"}


def test_without_a_connection_it_says_so(aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{API}/api/v2/projects/default/environments/production"
    account.mock.get(path, exc=requests.exceptions.ConnectTimeout)
    assert register() == 1
    assert capsys.readouterr().err == f"{API} cannot be reached: ConnectTimeout.\n"


def test_without_an_access_token_it_says_where_to_get_one(
    aws: Aws, account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LAUNCHDARKLY_ACCESS_TOKEN")
    assert register() == 1
    assert capsys.readouterr().err == (
        "LAUNCHDARKLY_ACCESS_TOKEN is not set; create an API access token in LaunchDarkly.\n"
    )


def test_a_stage_that_is_not_deployed_has_no_address(
    aws: Aws, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register_webhook.main(["local"]) == 1
    assert capsys.readouterr().err == (
        "Stage 'local' is not deployed to account 123456789012 in eu-central-1: make deploy STAGE=local\n"
    )
