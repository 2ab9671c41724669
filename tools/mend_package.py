"""Mend the template that `chalice package` writes: `python -m tools.mend_package production build/package`.

Chalice 1.34 names no function for CloudFormation, though policies, logs and alarms go by the names, and for Terraform
it writes what no version since 1.4 and no AWS provider since 6 takes, and rules of the same name for every stage. Both
get what `make deploy` does beside `chalice deploy`, and what it cannot: the expiry of the logs, the alias ``live``,
provisioned concurrency if it is asked for, and the table of infrastructure/table.yaml unless that has its own stack.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer
from chalice.utils import to_cfn_resource_name

from tools.command_line import run
from tools.functions import functions_of
from tools.gateway_responses import gateway_responses, merge_template, origin_of
from tools.stages import Stage, StageError

Json = dict[str, Any]

ALIAS = "live"
_FASTER = ("api_handler", "on_event")
"""The functions that somebody waits for, which alone get provisioned concurrency."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mend_package", description="Mend the template that Chalice writes.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument("folder", type=Path, help="where `chalice package` has written")
    options = parser.parse_args(arguments)
    return run(lambda: _mend(Stage(options.stage), options.folder))


def _mend(stage: Stage, folder: Path) -> None:
    mended = False
    for name, mend in (("sam.json", mend_sam), ("chalice.tf.json", mend_terraform)):
        path = folder / name
        if path.exists():
            path.write_text(json.dumps(mend(json.loads(path.read_text()), stage), indent=2) + "\n")
            mended = True
    if not mended:
        raise StageError(f"There is neither sam.json nor chalice.tf.json in {folder}.")


def mend_sam(template: Json, stage: Stage) -> Json:
    """For CloudFormation, as SAM reads it."""
    names = {_logical_id(each.name): each.name for each in functions_of(stage.folder)}
    resources: Json = {}
    for logical_id, resource in template["Resources"].items():
        resources[logical_id] = resource
        if resource["Type"] == "AWS::Serverless::Function":
            name = names[logical_id]
            group = f"{logical_id}LogGroup"
            resources[group] = _log_group(stage.function_name(name))
            resource["Properties"] |= _sam_properties(stage.function_name(name), group)
            if name in _FASTER:
                resource["Properties"]["ProvisionedConcurrencyConfig"] = _if_provisioned()
    if "RestAPI" in resources:
        _call_the_alias(resources)
        api = resources["RestAPI"]["Properties"]
        api["OpenApiVersion"] = "2.0"  # or SAM adds a stage that is called "Stage"
        api.update(merge_template(gateway_responses(origin_of(stage)))["Resources"]["RestAPI"]["Properties"])
    table = _table(stage)
    return {
        **template,
        "Parameters": {**_SAM_PARAMETERS, **table.get("Parameters", {})},
        "Conditions": {**_SAM_CONDITIONS, **table.get("Conditions", {})},
        "Resources": {**resources, **table.get("Resources", {})},
        "Outputs": {**template["Outputs"], **table.get("Outputs", {})},
    }


_SAM_PARAMETERS = {
    "LogDays": {"Type": "Number", "Default": 30, "Description": "How long the functions' logs are kept."},
    "ProvisionedConcurrency": {
        "Type": "Number",
        "Default": 0,
        "MinValue": 0,
        "Description": "Instances of the API's function and of on_event that are always warm, at their price.",
    },
}
_SAM_CONDITIONS = {"IsProvisioned": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ProvisionedConcurrency"}, 0]}]}}


def _logical_id(function: str) -> str:
    return "APIHandler" if function == "api_handler" else str(to_cfn_resource_name(function))


def _log_group(function_name: str) -> Json:
    return {
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {"LogGroupName": f"/aws/lambda/{function_name}", "RetentionInDays": {"Ref": "LogDays"}},
    }


def _sam_properties(function_name: str, group: str) -> Json:
    """SAM publishes a version, which the alias needs, only for new code unless it is told to for every change."""
    return {
        "FunctionName": function_name,
        "LoggingConfig": {"LogGroup": {"Ref": group}},
        "AutoPublishAlias": ALIAS,
        "AutoPublishAliasAllProperties": True,
    }


def _if_provisioned() -> Json:
    settings = {"ProvisionedConcurrentExecutions": {"Ref": "ProvisionedConcurrency"}}
    return {"Fn::If": ["IsProvisioned", settings, {"Ref": "AWS::NoValue"}]}


def _call_the_alias(resources: Json) -> None:
    """API Gateway calls the version that is live, which alone can have provisioned concurrency.

    SAM's own name of the alias: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/
    sam-specification-generated-resources-function.html
    """
    alias = f"APIHandlerAlias{ALIAS}"
    resources["APIHandlerInvokePermission"]["Properties"]["FunctionName"] = {"Ref": alias}
    for methods in resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"].values():
        for method in methods.values():
            if uri := method.get("x-amazon-apigateway-integration", {}).get("uri"):
                uri["Fn::Sub"] = uri["Fn::Sub"].replace("${APIHandler.Arn}", f"${{{alias}}}")


def _table(stage: Stage) -> Json:
    """What infrastructure/table.yaml says, on a condition; empty for a stage with another store."""
    name = stage.environment().get("DYNAMODB_TABLE")
    if not name:
        return {}
    text = (stage.folder / "infrastructure" / "table.yaml").read_text()
    table: Json = YAMLTemplateSerializer().load_template(text, "table.yaml")
    table["Parameters"]["TableName"]["Default"] = name
    create = {"Type": "String", "Default": "true", "AllowedValues": ["true", "false"]}
    table["Parameters"]["CreateTable"] = {**create, "Description": "false: the table has a stack of its own."}
    table["Conditions"] = {"HasTable": {"Fn::Equals": [{"Ref": "CreateTable"}, "true"]}}
    for each in (*table["Resources"].values(), *table["Outputs"].values()):
        each["Condition"] = "HasTable"
    return table


# Terraform.


def mend_terraform(document: Json, stage: Stage) -> Json:
    """For Terraform 1.5 and later, with version 6 of its AWS provider."""
    resources = document["resource"]
    resources["aws_lambda_alias"] = {}
    resources["aws_cloudwatch_log_group"] = {}
    for name, function in resources["aws_lambda_function"].items():
        group = {"name": f"/aws/lambda/{function['function_name']}", "retention_in_days": "${var.log_days}"}
        resources["aws_cloudwatch_log_group"][name] = group
        resources["aws_lambda_alias"][name] = {
            "name": ALIAS,
            "function_name": f"${{aws_lambda_function.{name}.function_name}}",
            "function_version": f"${{aws_lambda_function.{name}.version}}",
        }
        function["publish"] = True
        function["tags"]["managed-by"] = "terraform"
        function["logging_config"] = {
            "log_format": "Text",
            "log_group": f"${{aws_cloudwatch_log_group.{name}.name}}",
        }
    for name, rule in resources.get("aws_cloudwatch_event_rule", {}).items():
        rule["name"] = f"{stage.deployment}-{name}"
    resources["aws_lambda_provisioned_concurrency_config"] = _provisioned(resources["aws_lambda_function"])
    _call_terraforms_aliases(document)
    _stage_of_its_own(document, stage)
    table = stage.environment().get("DYNAMODB_TABLE")
    if table:
        resources["aws_dynamodb_table"] = {"flags": {"count": "${var.create_table ? 1 : 0}", **_terraform_table(table)}}
    document["data"].pop("null_data_source", None)
    document["terraform"] = {
        "required_version": ">= 1.5.0",
        "required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 6.0.0, < 7.0.0"}},
    }
    variables = (
        _TERRAFORM_VARIABLES if table else {k: v for k, v in _TERRAFORM_VARIABLES.items() if k != "create_table"}
    )
    return {**_with_region(document), "variable": variables}


_TERRAFORM_VARIABLES = {
    "log_days": {"type": "number", "default": 30, "description": "How long the functions' logs are kept."},
    "provisioned_concurrency": {
        "type": "number",
        "default": 0,
        "description": "Instances of the API's function and of on_event that are always warm, at their price.",
    },
    "create_table": {"type": "bool", "default": True, "description": "false: the table is there already."},
}


def _provisioned(functions: Json) -> Json:
    return {
        name: {
            "count": "${var.provisioned_concurrency > 0 ? 1 : 0}",
            "function_name": f"${{aws_lambda_alias.{name}.function_name}}",
            "qualifier": f"${{aws_lambda_alias.{name}.name}}",
            "provisioned_concurrent_executions": "${var.provisioned_concurrency}",
        }
        for name in functions
        if name in _FASTER
    }


def _call_terraforms_aliases(document: Json) -> None:
    """What invokes a function invokes the version that is live."""
    resources = document["resource"]
    for permission in resources.get("aws_lambda_permission", {}).values():
        name = permission["function_name"].split(".")[1]
        permission["function_name"] = f"${{aws_lambda_alias.{name}.function_name}}"
        permission["qualifier"] = f"${{aws_lambda_alias.{name}.name}}"
    for target in resources.get("aws_cloudwatch_event_target", {}).values():
        target["arn"] = target["arn"].replace("aws_lambda_function.", "aws_lambda_alias.")
    for name, text in document["locals"].items():
        document["locals"][name] = text.replace("aws_lambda_function.", "aws_lambda_alias.")


def _stage_of_its_own(document: Json, stage: Stage) -> None:
    """Version 6 of the provider has taken the stage out of the deployment."""
    resources = document["resource"]
    if "aws_api_gateway_deployment" not in resources:
        return
    deployment = resources["aws_api_gateway_deployment"]["rest_api"]
    deployment.pop("stage_name")
    deployment["triggers"] = {"redeployment": deployment.pop("stage_description")}
    resources["aws_api_gateway_stage"] = {
        "rest_api": {
            "rest_api_id": "${aws_api_gateway_rest_api.rest_api.id}",
            "deployment_id": "${aws_api_gateway_deployment.rest_api.id}",
            "stage_name": stage.api_stage,
        }
    }
    document["output"]["EndpointURL"]["value"] = "${aws_api_gateway_stage.rest_api.invoke_url}/"


def _terraform_table(name: str) -> Json:
    """infrastructure/table.yaml in the words of Terraform."""
    return {
        "name": name,
        "billing_mode": "PAY_PER_REQUEST",
        "hash_key": "namespace",
        "range_key": "key",
        "attribute": [{"name": "namespace", "type": "S"}, {"name": "key", "type": "S"}],
        "ttl": {"attribute_name": "expires", "enabled": True},
        "server_side_encryption": {"enabled": True},
        "point_in_time_recovery": {"enabled": True},
        "deletion_protection_enabled": True,
        "tags": {"application": "serverless-flags"},
    }


def _with_region(document: Json) -> Json:
    """Version 6 calls ``region`` what was ``name``."""
    text = json.dumps(document).replace("data.aws_region.chalice.name", "data.aws_region.chalice.region")
    mended: Json = json.loads(text)
    return mended


if __name__ == "__main__":
    sys.exit(main())
