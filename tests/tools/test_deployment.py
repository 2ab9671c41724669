"""Every clone finds what is deployed, and writes the record from which Chalice knows it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.aws import Aws
from tests.tools.conftest import Configure
from tools import deployment
from tools.deployment import find
from tools.stages import Stage, StageError

Json = dict[str, Any]

NAME = "serverless-flags-production"
TAG = "version=1.34.0:stage=production:app=serverless-flags"
FUNCTIONS = {"api_handler": NAME, "on_event": f"{NAME}-on_event", "reconcile": f"{NAME}-reconcile"}
PLACE = "account 123456789012 in eu-central-1"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


def create_role(aws: Aws, name: str) -> str:
    role = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    return str(role["Role"]["Arn"])


def create_function(aws: Aws, name: str, tags: dict[str, str], role: str) -> str:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", "")
    function = aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=role,
        Handler="app.app",
        Code={"ZipFile": code.getvalue()},
        Tags=tags,
    )
    return str(function["FunctionArn"])


def create_api(aws: Aws, calls: str, name: str = "serverless-flags") -> str:
    """Its ID; with one resource, which calls the function of this name."""
    client = aws.client("apigateway")
    api = client.create_rest_api(name=name)["id"]
    (root,) = client.get_resources(restApiId=api)["items"]
    client.put_method(restApiId=api, resourceId=root["id"], httpMethod="GET", authorizationType="NONE")
    arn = f"arn:aws:lambda:eu-central-1:123456789012:function:{calls}"
    client.put_integration(
        restApiId=api,
        resourceId=root["id"],
        httpMethod="GET",
        type="AWS_PROXY",
        integrationHttpMethod="POST",
        uri=f"arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{arn}/invocations",
    )
    return str(api)


def create_all(aws: Aws, name: str = NAME, stage: str = "production") -> str:
    """All that Chalice deploys of a stage; the ID of its API."""
    tags = {"aws-chalice": f"version=1.34.0:stage={stage}:app=serverless-flags"}
    for function, own_name in FUNCTIONS.items():
        role = create_role(aws, f"{name}-{function}")
        create_function(aws, own_name.replace(NAME, name), tags, role)
    aws.client("events").put_rule(Name=f"{name}-reconcile-event", ScheduleExpression="rate(5 minutes)")
    return create_api(aws, name)


def recorded(stage: Stage) -> dict[str, Json]:
    record = json.loads(stage.record_file.read_text())
    assert (record["schema_version"], record["backend"]) == ("2.0", "api")
    return {each["name"]: each for each in record["resources"]}


@pytest.fixture
def stage(configure: Configure, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """``production`` in a clone that has deployed nothing; the command of this module finds it there."""
    stage = configure()
    monkeypatch.setattr(deployment, "Stage", lambda name: Stage(name, stage.folder))
    return stage


def command(*arguments: str) -> int:
    return deployment.main(["production", *arguments])


def test_another_clone_records_what_chalice_would_have_recorded(aws: Aws, stage: Stage) -> None:
    api = create_all(aws)
    create_all(aws, "serverless-flags-production-eu", "production-eu")  # begins with the name of this stage
    create_api(aws, "somebody-elses-function")
    assert command() == 0
    account, lambdas = "arn:aws:iam::123456789012:role/", "arn:aws:lambda:eu-central-1:123456789012:function:"
    assert recorded(stage) == {
        **{
            f"{function}_role": {
                "name": f"{function}_role",
                "resource_type": "iam_role",
                "role_arn": f"{account}{NAME}-{function}",
                "role_name": f"{NAME}-{function}",
            }
            for function in FUNCTIONS
        },
        **{
            function: {"name": function, "resource_type": "lambda_function", "lambda_arn": lambdas + name}
            for function, name in FUNCTIONS.items()
        },
        "reconcile-event": {
            "name": "reconcile-event",
            "resource_type": "cloudwatch_event",
            "rule_name": f"{NAME}-reconcile-event",
        },
        "rest_api": {
            "name": "rest_api",
            "resource_type": "rest_api",
            "rest_api_id": api,
            "rest_api_url": f"https://{api}.execute-api.eu-central-1.amazonaws.com/production/",
        },
    }


def test_a_function_of_the_users_is_found_with_its_queue(aws: Aws, stage: Stage) -> None:
    create_all(aws)
    arn = create_function(aws, f"{NAME}-orders", {"aws-chalice": TAG}, create_role(aws, f"{NAME}-orders"))
    queue = aws.client("sqs").create_queue(QueueName="orders")["QueueUrl"]
    queue_arn = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    mapping = aws.client("lambda").create_event_source_mapping(
        FunctionName=f"{NAME}-orders", EventSourceArn=queue_arn["QueueArn"]
    )
    assert command() == 0
    resources = recorded(stage)
    assert resources["orders"]["lambda_arn"] == arn
    assert resources["orders_role"]["role_name"] == f"{NAME}-orders"
    assert resources["orders-sqs-event-source"] == {
        "name": "orders-sqs-event-source",
        "resource_type": "sqs_event",
        "queue": "orders",
        "queue_arn": queue_arn["QueueArn"],
        "event_uuid": mapping["UUID"],
        "lambda_arn": arn,
    }


def test_a_record_that_is_out_of_date_is_replaced_but_for_what_is_not_looked_for(aws: Aws, stage: Stage) -> None:
    api = create_all(aws)
    command()
    record = json.loads(stage.record_file.read_text())
    domain = {"name": "api_gateway_custom_domain", "resource_type": "domain_name", "domain_name": "flags.example.com"}
    stage.record_file.write_text(json.dumps({**record, "resources": [*record["resources"], domain]}))
    aws.client("lambda").delete_function(FunctionName=f"{NAME}-on_event")
    aws.client("events").delete_rule(Name=f"{NAME}-reconcile-event")
    assert command() == 0
    resources = recorded(stage)
    assert {"on_event", "reconcile-event"} & set(resources) == set()
    assert resources["api_gateway_custom_domain"] == domain
    assert resources["rest_api"]["rest_api_id"] == api
    assert resources["on_event_role"]["role_name"] == f"{NAME}-on_event"


def test_the_record_of_another_account_is_not_kept(aws: Aws, stage: Stage) -> None:
    stage.record_file.parent.mkdir(exist_ok=True)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:serverless-flags-production"
    foreign = [
        {"name": "api_handler", "resource_type": "lambda_function", "lambda_arn": arn},
        {"name": "domain", "resource_type": "domain_name", "domain_name": "flags.example.com"},
    ]
    stage.record_file.write_text(json.dumps({"resources": foreign, "schema_version": "2.0"}))
    assert command() == 0
    assert not stage.record_file.exists()


def test_a_partial_deployment_is_found_whatever_the_record_says(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.record_file.parent.mkdir(exist_ok=True)
    stage.record_file.write_text("{")
    create_function(aws, NAME, {"aws-chalice": TAG}, create_role(aws, f"{NAME}-api_handler"))
    assert command() == 0
    assert set(recorded(stage)) == {"api_handler_role", "api_handler"}
    assert capsys.readouterr().out == (f"Stage 'production' is deployed to {PLACE}: it has no API, with 1 functions.\n")


def test_two_apis_are_both_named_until_one_is_chosen(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = create_all(aws), create_api(aws, NAME)
    assert command() == 1
    line = capsys.readouterr().err
    assert line.startswith("Stage 'production' has 2 APIs: ")
    assert line.count("\n") == 1
    for api in (one, other):
        assert f"{api} (created " in line
        assert f", https://{api}.execute-api.eu-central-1.amazonaws.com/production/)" in line
    assert not stage.record_file.exists()
    assert command("--rest-api", other) == 0
    assert recorded(stage)["rest_api"]["rest_api_id"] == other
    assert command("--rest-api", "zzz") == 1
    assert capsys.readouterr().err in {
        f"zzz is no API of stage 'production'; it has: {first}, {second}.\n"
        for first, second in ((one, other), (other, one))
    }


FOREIGN: list[tuple[dict[str, str], str]] = [
    ({}, "it has no tag aws-chalice"),
    (
        {"aws-chalice": "version=1.34.0:stage=dev:app=other"},
        "its tag aws-chalice is 'version=1.34.0:stage=dev:app=other'",
    ),
    (
        {"aws-chalice": TAG, "aws:cloudformation:stack-name": "flags"},
        "the CloudFormation stack flags has deployed it",
    ),
    ({"aws-chalice": TAG, "managed-by": "terraform"}, "it is managed by terraform"),
]


@pytest.mark.parametrize(("tags", "owner"), FOREIGN, ids=["untagged", "another app", "CloudFormation", "Terraform"])
def test_a_function_of_another_owner_is_not_taken_over(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str], tags: dict[str, str], owner: str
) -> None:
    create_function(aws, f"{NAME}-reconcile", tags, create_role(aws, "role"))
    assert command() == 1
    assert capsys.readouterr().err == f"The function {NAME}-reconcile is not of this stage: {owner}.\n"


def test_where_nothing_is_deployed_there_is_nothing_to_delete(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--to-delete") == 1
    assert capsys.readouterr().err == (
        f"Nothing of stage 'production' is deployed to {PLACE}, so there is nothing to delete.\n"
    )
    assert command() == 0
    assert capsys.readouterr().out == f"Nothing of stage 'production' is deployed to {PLACE} yet.\n"


def test_what_is_to_be_deleted_is_told_before_and_never_the_roles_of_another_region(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = create_all(aws)
    assert command("--to-delete") == 0
    lambdas = "arn:aws:lambda:eu-central-1:123456789012:function:"
    deleted = [
        f"Deleting of stage 'production' in {PLACE}:",
        f"  rest api https://{api}.execute-api.eu-central-1.amazonaws.com/production/",
        f"  cloudwatch event {NAME}-reconcile-event",
        *(f"  lambda function {lambdas}{name}" for name in reversed(FUNCTIONS.values())),
    ]
    roles = [f"  iam role {NAME}-{function}" for function in reversed(FUNCTIONS)]
    assert capsys.readouterr().out.splitlines() == [*deleted, *roles]
    assert "reconcile_role" in recorded(stage)

    monkeypatch.setattr(deployment, "_other_regions", lambda _: ["us-east-1"])
    assert command("--to-delete") == 0
    stay = "The roles stay, because functions of the stage in us-east-1 have them too."
    assert capsys.readouterr().out.splitlines() == [*deleted, stay]
    assert not [name for name in recorded(stage) if name.endswith("_role")]


def test_from_another_region_nothing_is_deleted(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_all(aws)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert command("--to-delete") == 1
    assert capsys.readouterr().err == (
        "Nothing of stage 'production' is deployed to account 123456789012 in us-east-1, so there is nothing to "
        "delete. It is deployed to eu-central-1.\n"
    )
    assert not stage.record_file.exists()
    assert command() == 0
    assert capsys.readouterr().out == (
        "Nothing of stage 'production' is deployed to account 123456789012 in us-east-1 yet.\n"
    )


def test_a_region_that_is_closed_is_told_and_taken_for_empty(
    aws: Aws, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_all(aws)
    real = boto3.client

    def client(service: str, region_name: str | None = None) -> Any:
        """(``Any``: boto3 declares no types.)"""
        made = real(service, region_name=region_name)
        if region_name is not None:
            made.meta.events.register("before-call", refuse)
        return made

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetFunctionConfiguration")

    monkeypatch.setattr(boto3, "client", client)
    assert command("--to-delete") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "us-east-1 may not be asked whether the stage is deployed there, so it is taken for not." in lines
    assert f"  iam role {NAME}-reconcile" in lines


def test_what_is_not_deployed_has_neither_an_address_nor_a_function(aws: Aws, stage: Stage) -> None:
    nothing = find(stage)
    with pytest.raises(StageError) as raised:
        _ = nothing.url
    assert str(raised.value) == f"Stage 'production' is not deployed to {PLACE}: make deploy STAGE=production"
    with pytest.raises(StageError) as raised:
        nothing.function_name("reconcile")
    assert str(raised.value) == (
        f"reconcile of stage 'production' is not deployed to {PLACE}: make deploy STAGE=production"
    )


def test_the_folder_of_the_clone_is_the_stages(stage: Stage, tmp_path: Path) -> None:
    assert stage.record_file == tmp_path / ".chalice" / "deployed" / "production.json"
