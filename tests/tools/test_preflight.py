"""A deployment that would not work is stopped before it starts, with a line for each reason."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from tests.support.aws import Aws
from tests.tools.conftest import Configure
from tools import preflight
from tools.preflight import problems

SDK_KEY = "/serverless-flags/production/sdk-key"
SECRET_IN_CONFIG = "LAUNCHDARKLY_SDK_KEY must not be in .chalice/config.json; use LAUNCHDARKLY_SDK_KEY_PARAMETER."

SETTINGS: list[tuple[dict[str, str | None], list[str]]] = [
    (
        {"LAUNCHDARKLY_ENVIROMENT": "proj/default:env/production"},
        ["LAUNCHDARKLY_ENVIROMENT is no setting of this app; did you mean LAUNCHDARKLY_ENVIRONMENT?"],
    ),
    ({"LOG_COLOUR": "blue"}, ["LOG_COLOUR is no setting of this app."]),
    (
        {"REDIS_URL": "redis://cache:6379"},
        ["REDIS_URL and DYNAMODB_TABLE are both set; set exactly one of them."],
    ),
    (
        {"REDIS_URL": "embedded", "DYNAMODB_TABLE": None},
        ["REDIS_URL is 'embedded', which is for development; nothing on Lambda starts that server."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": ""},
        ["EVALUATE_TOKEN_SHA256 is empty: every evaluation over HTTP would be refused. Set it, or EVALUATE_AUTH."],
    ),
    (
        {"EVALUATE_TOKEN_SHA256": "", "EVALUATE_CLIENT_TOKEN_SHA256": "0" * 64, "LOG_COLOUR": "blue"},
        ["LOG_COLOUR is no setting of this app."],
    ),
    ({"LAUNCHDARKLY_SDK_KEY": "sdk-0", "LAUNCHDARKLY_SDK_KEY_PARAMETER": None}, [SECRET_IN_CONFIG]),
    (
        {"LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": None},
        ["LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER is not set; it names the SSM parameter that holds the secret."],
    ),
    (
        {"STORE_CACHE_SECOND": "1", "STORE_CACHE_SECONDS": "soon"},
        [
            "STORE_CACHE_SECOND is no setting of this app; did you mean STORE_CACHE_SECONDS?",
            "STORE_CACHE_SECONDS is 'soon'; expected a number of seconds, 0 or more.",
        ],
    ),
]


@pytest.mark.parametrize(("variables", "lines"), SETTINGS)
def test_each_wrong_setting_is_one_line(
    configure: Configure, variables: dict[str, str | None], lines: list[str]
) -> None:
    assert problems(configure(**variables)) == lines


def test_a_table_that_the_policies_do_not_name_is_told_for_every_function(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("renamed")
    assert problems(configure(DYNAMODB_TABLE="renamed")) == [
        "policy-production.json does not allow api_handler to use table/renamed, which config.json names.",
        "policy-production-on_event.json does not allow on_event to use table/renamed, which config.json names.",
        "policy-production-reconcile.json does not allow reconcile to use table/renamed, which config.json names.",
    ]


def test_a_missing_parameter_and_a_missing_table_come_with_the_commands_that_create_them(
    configure: Configure, aws: Aws
) -> None:
    parameter, table = problems(configure())
    assert parameter == (
        f"There is no SSM parameter {SDK_KEY} in eu-central-1: "
        f"aws ssm put-parameter --type SecureString --name {SDK_KEY} --value ..."
    )
    assert table == (
        "There is no table serverless-flags-production in eu-central-1: "
        "aws cloudformation deploy --stack-name serverless-flags-production "
        "--template-file infrastructure/table.yaml --parameter-overrides TableName=serverless-flags-production"
    )


def test_a_table_with_another_key_is_refused(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production", partition_key="id")
    (line,) = problems(configure())
    assert line == (
        "The table serverless-flags-production has another key than LaunchDarkly's: "
        "partition key namespace, sort key key."
    )


def test_a_stage_that_has_all_it_needs_has_no_problems(configure: Configure, aws: Aws) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    assert problems(configure()) == []


def test_without_credentials_it_says_so_in_one_line(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found first
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert problems(configure()) == ["AWS cannot be asked: Unable to locate credentials"]


def test_the_command_prints_the_lines_and_fails(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main(["staging"]) == 1
    assert capsys.readouterr() == (
        "",
        "There is no stage 'staging' in .chalice/config.json; it has: local, dev, production.\n",
    )


def test_a_function_without_a_policy_file_is_told(configure: Configure, aws: Aws, tmp_path: Path) -> None:
    aws.put_secret(SDK_KEY, "sdk-key")
    aws.create_table("serverless-flags-production")
    stage = configure()
    (tmp_path / ".chalice" / "policy-production-reconcile.json").unlink()
    assert problems(stage) == ["policy-production-reconcile.json is not there; reconcile is deployed with that policy."]
