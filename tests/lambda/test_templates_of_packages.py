"""What `make package` writes for CloudFormation and Terraform can be deployed, and has what `make deploy` has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import copy_project
from tools.mend_package import mend_sam, mend_terraform
from tools.stages import Stage

Json = dict[str, Any]

NAME = "serverless-flags-production"
OWN = {"api_handler": NAME, "on_event": f"{NAME}-on_event", "reconcile": f"{NAME}-reconcile"}
"""The project's own functions, beside which a user may have more."""


@pytest.fixture(scope="module")
def sam(packaged: Path) -> Json:
    template: Json = json.loads((packaged / "out" / "sam.json").read_text())
    return template


@pytest.fixture(scope="module")
def terraform(packaged: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The package itself is there, so that only the template is made."""
    project = shutil.copytree(packaged, tmp_path_factory.mktemp("terraform") / "project")
    chalice = [str(programs / "chalice"), "package", "--stage", "production", "--pkg-format", "terraform", "terraform"]
    environment = {**os.environ, "AWS_DEFAULT_REGION": "eu-central-1"}
    subprocess.run(chalice, cwd=project, env=environment, check=True, capture_output=True)
    document = json.loads((project / "terraform" / "chalice.tf.json").read_text())
    return mend_terraform(document, Stage("production", project))


def of_kind(template: Json, kind: str) -> dict[str, Json]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def test_cloudformation_names_functions_and_logs_as_policies_and_alarms_know_them(sam: Json) -> None:
    functions = {each["FunctionName"]: each for each in of_kind(sam, "AWS::Serverless::Function").values()}
    assert set(OWN.values()) <= set(functions)
    groups = of_kind(sam, "AWS::Logs::LogGroup")
    for name, function in functions.items():
        assert (function["AutoPublishAlias"], function["AutoPublishAliasAllProperties"]) == ("live", True)
        group = groups[function["LoggingConfig"]["LogGroup"]["Ref"]]
        assert group == {"LogGroupName": f"/aws/lambda/{name}", "RetentionInDays": {"Ref": "LogDays"}}
    provisioned = {name for name, function in functions.items() if "ProvisionedConcurrencyConfig" in function}
    assert provisioned == {OWN["api_handler"], OWN["on_event"]}
    assert sam["Parameters"]["ProvisionedConcurrency"]["Default"] == 0


def test_cloudformations_api_calls_the_version_that_is_live(sam: Json) -> None:
    api = of_kind(sam, "AWS::Serverless::Api")["RestAPI"]
    paths = api["DefinitionBody"]["paths"]
    methods = [method for each in paths.values() for method in each.values()]
    uris = {method["x-amazon-apigateway-integration"].get("uri", {}).get("Fn::Sub") for method in methods}
    assert {uri.partition("functions/")[2] for uri in uris if uri} == {"${APIHandlerAliaslive}/invocations"}
    permission = of_kind(sam, "AWS::Lambda::Permission")["APIHandlerInvokePermission"]
    assert permission["FunctionName"] == {"Ref": "APIHandlerAliaslive"}
    assert (api["StageName"], api["OpenApiVersion"]) == ("production", "2.0")


def test_cloudformation_creates_the_table_unless_it_is_there(sam: Json) -> None:
    table = sam["Resources"]["Table"]
    assert (table["Type"], table["Condition"]) == ("AWS::DynamoDB::Table", "HasTable")
    assert sam["Parameters"]["TableName"]["Default"] == NAME
    assert sam["Parameters"]["CreateTable"]["AllowedValues"] == ["true", "false"]
    assert sam["Outputs"]["TableArn"]["Condition"] == "HasTable"


def test_terraform_takes_versions_that_there_are(terraform: Json) -> None:
    assert terraform["terraform"] == {
        "required_version": ">= 1.5.0",
        "required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 6.0.0, < 7.0.0"}},
    }
    assert set(terraform["data"]) == {"aws_caller_identity", "aws_partition", "aws_region"}
    assert "aws_region.chalice.name" not in json.dumps(terraform)


def test_every_reference_of_terraform_leads_somewhere(terraform: Json) -> None:
    resources = {f"{kind}.{name}" for kind, each in terraform["resource"].items() for name in each}
    data = {f"data.{kind}.{name}" for kind, each in terraform["data"].items() for name in each}
    others = {f"var.{name}" for name in terraform["variable"]} | {f"local.{name}" for name in terraform["locals"]}
    text = json.dumps({key: value for key, value in terraform.items() if key != "variable"})
    known = resources | data | others
    named = re.findall(r"(?<![\w.-])((?:data\.)?aws_\w+\.[\w-]+|var\.\w+|local\.\w+)(?=[.}\\) ])", text)
    assert {name for name in named if name not in known} == set()
    assert {"var.log_days", "var.create_table", "var.provisioned_concurrency"} <= set(named)


def test_terraforms_functions_have_logs_an_alias_and_a_stage_in_every_name(terraform: Json) -> None:
    resource = terraform["resource"]
    for name, function_name in OWN.items():
        function = resource["aws_lambda_function"][name]
        assert (function["function_name"], function["publish"]) == (function_name, True)
        assert function["tags"]["managed-by"] == "terraform"
        assert resource["aws_cloudwatch_log_group"][name]["name"] == f"/aws/lambda/{function_name}"
        assert resource["aws_lambda_alias"][name]["name"] == "live"
    assert set(resource["aws_lambda_provisioned_concurrency_config"]) == {"api_handler", "on_event"}
    assert resource["aws_cloudwatch_event_rule"]["reconcile-event"]["name"] == f"{NAME}-reconcile-event"
    assert resource["aws_cloudwatch_event_target"]["reconcile-event"]["arn"] == "${aws_lambda_alias.reconcile.arn}"
    assert resource["aws_lambda_permission"]["rest_api_invoke"]["qualifier"] == "${aws_lambda_alias.api_handler.name}"
    assert "aws_lambda_alias.api_handler.invoke_arn" in terraform["locals"]["chalice_api_swagger"]


def test_terraforms_stage_is_a_resource_of_its_own(terraform: Json) -> None:
    assert set(terraform["resource"]["aws_api_gateway_deployment"]["rest_api"]) == {
        "rest_api_id",
        "triggers",
        "lifecycle",
    }
    assert terraform["resource"]["aws_api_gateway_stage"]["rest_api"]["stage_name"] == "production"
    assert terraform["output"]["EndpointURL"]["value"] == "${aws_api_gateway_stage.rest_api.invoke_url}/"
    table = terraform["resource"]["aws_dynamodb_table"]["flags"]
    assert (table["name"], table["hash_key"], table["range_key"]) == (NAME, "namespace", "key")


def test_a_stage_with_redis_has_no_table(tmp_path: Path) -> None:
    stage = Stage("production", copy_project(tmp_path))
    path = tmp_path / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    variables = config["stages"]["production"]["environment_variables"]
    del variables["DYNAMODB_TABLE"]
    variables["REDIS_URL"] = "rediss://cache.example.com"
    path.write_text(json.dumps(config))
    bare: Json = {"Resources": {}, "Outputs": {}}
    assert set(mend_sam(bare, stage)["Parameters"]) == {"LogDays", "ProvisionedConcurrency"}
    document = mend_terraform({"resource": {"aws_lambda_function": {}}, "locals": {}, "data": {}}, stage)
    assert "aws_dynamodb_table" not in document["resource"]
    assert set(document["variable"]) == {"log_days", "provisioned_concurrency"}
