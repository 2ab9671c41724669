"""The stack that a stage needs is deployed by one command, and once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import Aws
from tools import infrastructure
from tools.infrastructure import deploy_stack, outputs_of


def test_a_stack_is_created_once_and_then_left_alone(
    aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.cloudformation.exceptions import ValidationError
    from moto.cloudformation.models import CloudFormationBackend

    assert infrastructure.main(["production"]) == 0
    name = "serverless-flags-production"
    assert aws.client("dynamodb").describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
    assert outputs_of(name)["DynamodbTable"] == name

    def refuse(*_: object, **__: object) -> None:
        raise ValidationError(message="No updates are to be performed.")

    monkeypatch.setattr(CloudFormationBackend, "update_stack", refuse)  # as AWS does, and moto does not
    capsys.readouterr()
    assert infrastructure.main(["production"]) == 0
    assert capsys.readouterr() == (
        f"Updating the stack {name} from infrastructure/table.yaml.\nIt has all of that already.\n",
        "",
    )


def test_what_is_not_told_again_stays(aws: Aws) -> None:
    deploy_stack("flags", "table.yaml", {"TableName": "flags", "DeletionProtection": "false"})
    deploy_stack("flags", "table.yaml", {"TableName": None})
    (stack,) = aws.client("cloudformation").describe_stacks(StackName="flags")["Stacks"]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    assert parameters == {"TableName": "flags", "DeletionProtection": "false"}


def test_the_alarms_of_a_stage_are_a_stack_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed: list[Any] = []
    monkeypatch.setattr(infrastructure, "deploy_stack", lambda *arguments: deployed.append(arguments))
    assert infrastructure.main(["dev", "--monitoring", "--alarm-email", "you@example.com"]) == 0  # moto has no alarms
    (told,) = deployed
    assert told == (
        "serverless-flags-dev-monitoring",
        "monitoring.yaml",
        {
            "Deployment": "serverless-flags-dev",
            "ApiName": "serverless-flags",
            "ApiStage": "dev",
            "AlarmEmail": "you@example.com",
        },
    )


def test_without_a_stage_the_store_has_to_be_told(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    assert infrastructure.main(["eu"]) == 1
    assert capsys.readouterr().err == (
        "There is no stage 'eu' in .chalice/config.json; make stage STAGE=eu writes it, "
        "or say STORE=dynamodb or STORE=redis.\n"
    )
    assert infrastructure.main(["eu", "--store", "dynamodb"]) == 0
    assert outputs_of("serverless-flags-eu")["DynamodbTable"] == "serverless-flags-eu"


@pytest.mark.parametrize("option", ["--store=dynamodb", "--monitoring"])
def test_the_local_stage_needs_none(aws: Aws, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert infrastructure.main(["local", option]) == 1
    assert capsys.readouterr().err == ("Stage 'local' is for development, on this machine: it needs nothing in AWS.\n")
    assert aws.client("cloudformation").describe_stacks()["Stacks"] == []


@pytest.mark.parametrize("text", ["off", " "])
def test_a_stage_that_says_that_it_is_not_local_has_what_it_needs(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    deployed: list[Any] = []
    monkeypatch.setattr(infrastructure, "deploy_stack", lambda *arguments: deployed.append(arguments))
    monkeypatch.setattr(infrastructure, "_variables", lambda _: {"LOCAL_STAGE": text, "DYNAMODB_TABLE": "flags"})
    assert infrastructure.main(["eu"]) == 0
    assert deployed == [("serverless-flags-eu", "table.yaml", {"TableName": "flags"})]


def test_a_cache_without_a_network_is_told_in_the_words_of_cloudformation(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infrastructure.main(["eu", "--store", "redis"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("The stack serverless-flags-eu cannot be deployed: ")
    assert told.count("\n") == 1
