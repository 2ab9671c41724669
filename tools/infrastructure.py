"""Deploy the CloudFormation stack that a stage needs: `python -m tools.infrastructure eu`.

A stage with ``DYNAMODB_TABLE`` needs a table, one with ``REDIS_URL`` a cache; a stage that is not written yet has its
store told by ``--store``. `--monitoring` deploys the alarms and the dashboard instead. What a stack was given and is
not told again stays as it is, and a stack that has all that already is left alone.

Needs cloudformation:DescribeStacks, CreateStack and UpdateStack, and the rights on what the templates hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from chalicelib.config import Settings
from tools.command_line import run
from tools.stages import PROJECT, Stage, StageError, read_config

_NO_STACK = "does not exist"
_NOTHING_TO_DO = "No updates are to be performed"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="infrastructure", description="Deploy the stack that a stage needs.")
    parser.add_argument("stage", help="a stage, which need not be in .chalice/config.json if the store is told")
    parser.add_argument("--store", choices=("dynamodb", "redis"), help="default: what the stage says")
    parser.add_argument("--vpc", help="for a cache: the VPC that it shares with the functions")
    parser.add_argument("--subnets", help="for a cache: private subnets with a route to the internet, by commas")
    parser.add_argument("--iam-user", help="for a cache: the user that logs in by IAM; default: no login")
    parser.add_argument("--monitoring", action="store_true", help="alarms and a dashboard instead")
    parser.add_argument("--alarm-email", help="who is told of alarms")
    return run(lambda: _deploy(parser.parse_args(arguments)))


def _deploy(options: argparse.Namespace) -> None:
    name = stack_name(options.stage)
    if _variables(options.stage).get(Settings.is_local.name, "").strip() == "on":
        raise StageError(f"Stage {options.stage!r} is for development, on this machine: it needs nothing in AWS.")
    if options.monitoring:
        stage = Stage(options.stage)
        parameters = {"Deployment": stage.deployment, "ApiName": stage.app, "ApiStage": stage.api_stage}
        deploy_stack(f"{name}-monitoring", "monitoring.yaml", {**parameters, "AlarmEmail": options.alarm_email})
    elif _store(options) == "redis":
        network = {"VpcId": options.vpc, "SubnetIds": options.subnets}
        deploy_stack(name, "valkey.yaml", {"CacheName": name, **network, "IamUser": options.iam_user})
    else:
        deploy_stack(name, "table.yaml", {"TableName": _variables(options.stage).get("DYNAMODB_TABLE", name)})


def stack_name(stage: str) -> str:
    return f"serverless-flags-{stage}"


def outputs_of(stack: str) -> dict[str, str]:
    """By name; empty where there is no such stack."""
    found = _described(stack)
    return {each["OutputKey"]: each["OutputValue"] for each in (found or {}).get("Outputs", [])}


def deploy_stack(name: str, template: str, parameters: Mapping[str, str | None]) -> None:
    """Create or update it, and wait. A parameter that is None keeps what it has. Raises StageError when that fails."""
    cloudformation = boto3.client("cloudformation")
    existing = _described(name)
    said = {key: value for key, value in parameters.items() if value is not None}
    given: list[dict[str, object]] = [{"ParameterKey": key, "ParameterValue": value} for key, value in said.items()]
    if existing is not None:
        others = [each["ParameterKey"] for each in existing.get("Parameters", []) if each["ParameterKey"] not in said]
        given += [{"ParameterKey": key, "UsePreviousValue": True} for key in others]
    body = (PROJECT / "infrastructure" / template).read_text()
    change = cloudformation.create_stack if existing is None else cloudformation.update_stack
    print(
        f"{'Creating' if existing is None else 'Updating'} the stack {name} from infrastructure/{template}.", flush=True
    )
    try:
        change(StackName=name, TemplateBody=body, Parameters=given)
    except ClientError as error:
        if _NOTHING_TO_DO not in str(error):
            raise StageError(f"The stack {name} cannot be deployed: {error.response['Error']['Message']}") from None
        print("It has all of that already.")
        return
    _wait(cloudformation, name, "stack_create_complete" if existing is None else "stack_update_complete")
    for key, value in outputs_of(name).items():
        print(f"  {key}: {value}")


def _wait(cloudformation: Any, name: str, outcome: str) -> None:
    try:
        cloudformation.get_waiter(outcome).wait(StackName=name, WaiterConfig={"Delay": 5})
    except WaiterError:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [each["ResourceStatusReason"] for each in events if "FAILED" in each["ResourceStatus"]]
        raise StageError(f"The stack {name} was not deployed: {reasons[-1] if reasons else 'see its events'}") from None


def _described(stack: str) -> dict[str, Any] | None:
    try:
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if _NO_STACK in str(error):
            return None
        raise
    return dict(found)


def _store(options: argparse.Namespace) -> str:
    variables = _variables(options.stage)
    if options.store:
        return str(options.store)
    if not variables:
        raise StageError(
            f"There is no stage {options.stage!r} in .chalice/config.json; make stage STAGE={options.stage} writes it, "
            "or say STORE=dynamodb or STORE=redis."
        )
    return "redis" if variables.get("REDIS_URL") else "dynamodb"


def _variables(stage: str) -> dict[str, str]:
    """Of the stage; empty where it is not written yet."""
    stages = read_config(PROJECT / ".chalice" / "config.json")["stages"]
    variables: dict[str, str] = stages.get(stage, {}).get("environment_variables", {})
    return variables


if __name__ == "__main__":
    sys.exit(main())
