"""What is deployed of a stage, as the account has it.

Chalice knows what it deployed from ``.chalice/deployed/<stage>.json`` alone, which git ignores: in another clone, or in
CI, it would make a second API and delete nothing. So this record is written anew before each command that reads it:

`python -m tools.deployment production` for `chalice deploy`, `invoke` and `logs`, and
`python -m tools.deployment production --to-delete` for `chalice delete`.

A function is the stage's by its name and by the tag ``aws-chalice`` that Chalice gives it; an API by its name and by
the function that it calls, because the APIs of all stages have the same name. Reads only, but for the record.

Needs lambda:ListFunctions, ListTags and ListEventSourceMappings, iam:GetRole, events:ListRules, sts:GetCallerIdentity,
and apigateway:GET; to delete, ec2:DescribeRegions too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError

from tools.command_line import run
from tools.stages import FUNCTIONS, Stage, StageError

Json = dict[str, Any]

_EVENT_SOURCES = {
    "sqs": ("sqs_event", "queue_arn", "queue"),
    "kinesis": ("kinesis_event", "kinesis_arn", "stream"),
    "dynamodb": ("dynamodb_event", "stream_arn", None),
}
"""By AWS's service: Chalice's type of the resource, and what it calls its ARN and its name."""

_NOT_LOOKED_FOR = ("s3_event", "sns_event", "domain_name", "websocket_api", "lambda_layer", "log_group")
"""Types that the app does not use: where a user has added them, Chalice's own record of them is kept."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="deployment", description="Write Chalice's record of what is deployed.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument("--rest-api", help="the ID of the API that is the stage's, where there are several")
    parser.add_argument("--to-delete", action="store_true", help="say what `chalice delete` will delete")
    options = parser.parse_args(arguments)

    def write() -> None:
        stage = Stage(options.stage)
        deployment = find(stage, options.rest_api)
        print(_to_delete(stage, deployment) if options.to_delete else _to_deploy(stage, deployment))

    return run(write)


class Api(NamedTuple):
    id: str
    url: str
    created: str


@dataclass(frozen=True)
class Deployment:
    """What there is of one stage in one region. The keys are Chalice's names of functions."""

    stage: Stage
    account: str
    region: str
    functions: dict[str, Json]
    """As Lambda's ListFunctions tells them."""
    roles: dict[str, str]
    """ARNs. IAM is global: another region may use them as well."""
    rules: dict[str, str]
    """Names."""
    event_sources: list[Json]
    """As Chalice records them."""
    api: Api | None

    @property
    def place(self) -> str:
        return f"account {self.account} in {self.region}"

    @property
    def is_empty(self) -> bool:
        """Whatever roles there are: another region may have made them."""
        return not (self.functions or self.rules or self.api)

    @property
    def url(self) -> str:
        """With a slash at its end. Raises StageError where there is no API."""
        return self._existing_api.url

    @property
    def api_id(self) -> str:
        """API Gateway's name of the API. Raises StageError where there is none."""
        return self._existing_api.id

    @property
    def _existing_api(self) -> Api:
        if self.api is None:
            name = self.stage.name
            raise StageError(f"Stage {name!r} is not deployed to {self.place}: make deploy STAGE={name}")
        return self.api

    def function_name(self, function: str) -> str:
        """On Lambda. Raises StageError where it is not deployed."""
        if function not in self.functions:
            name = self.stage.name
            raise StageError(f"{function} of stage {name!r} is not deployed to {self.place}: make deploy STAGE={name}")
        return str(self.functions[function]["FunctionName"])

    def resources(self) -> list[Json]:
        """As in Chalice's record, in the order in which Chalice creates them."""
        roles = [
            {
                "name": f"{function}_role",
                "resource_type": "iam_role",
                "role_arn": arn,
                "role_name": arn.rpartition("/")[2],
            }
            for function, arn in self.roles.items()
        ]
        functions = [
            {"name": name, "resource_type": "lambda_function", "lambda_arn": function["FunctionArn"]}
            for name, function in self.functions.items()
        ]
        rules = [
            {"name": f"{function}-event", "resource_type": "cloudwatch_event", "rule_name": rule}
            for function, rule in self.rules.items()
        ]
        api = {} if self.api is None else {"rest_api_id": self.api.id, "rest_api_url": self.api.url}
        apis = [{"name": "rest_api", "resource_type": "rest_api", **api}] if api else []
        return [*roles, *functions, *rules, *self.event_sources, *apis, *self._kept()]

    def _kept(self) -> list[Json]:
        """What Chalice has recorded here of the types that are not looked for, if that was of this deployment."""
        recorded = recorded_resources(self.stage)
        arns = {each["FunctionArn"] for each in self.functions.values()}
        if not arns & {each.get("lambda_arn") for each in recorded}:
            return []
        return [each for each in recorded if each.get("resource_type") in _NOT_LOOKED_FOR]


def find(stage: Stage, api_id: str | None = None) -> Deployment:
    """Raises StageError where something of another owner has the stage's names, or two APIs could be the stage's."""
    functions = _functions(stage)
    names = list(dict.fromkeys([*FUNCTIONS, *functions]))
    caller = boto3.client("sts").get_caller_identity()
    return Deployment(
        stage=stage,
        account=str(caller["Account"]),
        region=boto3.client("lambda").meta.region_name,
        functions=functions,
        roles=dict(_roles(stage, names)),
        rules=dict(_rules(stage, names)),
        event_sources=[each for name, function in functions.items() for each in _event_sources(name, function)],
        api=_the_one(stage, list(_apis(stage)), api_id),
    )


def deployed_runtime(stage: Stage) -> str | None:
    """Lambda's name of the API's runtime, such as python3.12; None where it is not deployed."""
    client = boto3.client("lambda")
    try:
        function = client.get_function_configuration(FunctionName=stage.function_name("api_handler"))
    except client.exceptions.ResourceNotFoundException:
        return None
    return str(function["Runtime"])


def recorded_resources(stage: Stage) -> list[Json]:
    """What Chalice's record here says, which may be out of date, of another account, or not there at all."""
    try:
        recorded = json.loads(stage.record_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    resources: list[Json] = recorded.get("resources", [])
    return resources


def _functions(stage: Stage) -> dict[str, Json]:
    client = boto3.client("lambda")
    own = {stage.function_name(function): function for function in FUNCTIONS}
    found = {}
    for page in client.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            name = function["FunctionName"]
            if name != stage.deployment and not name.startswith(f"{stage.deployment}-"):
                continue
            tags = client.list_tags(Resource=function["FunctionArn"])["Tags"]
            if _is_of_stage(stage, tags):
                found[own.get(name, name.removeprefix(f"{stage.deployment}-"))] = function
            elif name in own:
                raise StageError(f"The function {name} is not of this stage: {_owner(tags)}.")
    return found


def _is_of_stage(stage: Stage, tags: dict[str, str]) -> bool:
    """Chalice's tag is ``version=1.34.0:stage=production:app=serverless-flags``."""
    said = dict(part.partition("=")[::2] for part in tags.get("aws-chalice", "").split(":"))
    is_chalices = "aws:cloudformation:stack-name" not in tags and "managed-by" not in tags
    return is_chalices and (said.get("app"), said.get("stage")) == (stage.app, stage.name)


def _owner(tags: dict[str, str]) -> str:
    if "aws:cloudformation:stack-name" in tags:
        return f"the CloudFormation stack {tags['aws:cloudformation:stack-name']} has deployed it"
    if "managed-by" in tags:
        return f"it is managed by {tags['managed-by']}"
    return (
        f"its tag aws-chalice is {tags.get('aws-chalice')!r}" if "aws-chalice" in tags else "it has no tag aws-chalice"
    )


def _roles(stage: Stage, functions: list[str]) -> Iterator[tuple[str, str]]:
    iam = boto3.client("iam")
    for function in functions:
        with suppress(iam.exceptions.NoSuchEntityException):
            yield function, iam.get_role(RoleName=f"{stage.deployment}-{function}")["Role"]["Arn"]


def _rules(stage: Stage, functions: list[str]) -> Iterator[tuple[str, str]]:
    own = {f"{stage.deployment}-{function}-event": function for function in functions}
    for page in boto3.client("events").get_paginator("list_rules").paginate(NamePrefix=f"{stage.deployment}-"):
        for rule in page["Rules"]:
            if rule["Name"] in own:
                yield own[rule["Name"]], rule["Name"]


def _event_sources(name: str, function: Json) -> Iterator[Json]:
    """Queues and streams that a function of the user's listens to; Chalice fails to create them twice."""
    pages = boto3.client("lambda").get_paginator("list_event_source_mappings")
    for page in pages.paginate(FunctionName=function["FunctionName"]):
        for mapping in page["EventSourceMappings"]:
            arn = mapping["EventSourceArn"]
            service = arn.split(":")[2]
            if service not in _EVENT_SOURCES:
                continue
            kind, arn_field, name_field = _EVENT_SOURCES[service]
            yield {
                "name": f"{name}-{service}-event-source",
                "resource_type": kind,
                arn_field: arn,
                **({name_field: arn.split(":")[5].removeprefix("stream/")} if name_field else {}),
                "event_uuid": mapping["UUID"],
                "lambda_arn": function["FunctionArn"],
            }


def _apis(stage: Stage) -> Iterator[Api]:
    client = boto3.client("apigateway")
    region = client.meta.region_name
    is_in_china = boto3.session.Session().get_partition_for_region(region) == "aws-cn"
    domain = "amazonaws.com.cn" if is_in_china else "amazonaws.com"
    for page in client.get_paginator("get_rest_apis").paginate():
        for api in page["items"]:
            if api["name"] == stage.app and stage.deployment in _functions_called(client, api["id"]):
                url = f"https://{api['id']}.execute-api.{region}.{domain}/{stage.api_stage}/"
                yield Api(api["id"], url, f"{api['createdDate']:%Y-%m-%d %H:%M}")


def _functions_called(client: Any, api_id: str) -> set[str]:
    pages = client.get_paginator("get_resources").paginate(restApiId=api_id, embed=["methods"])
    methods = [
        method
        for page in pages
        for resource in page["items"]
        for method in resource.get("resourceMethods", {}).values()
    ]
    uris = [method.get("methodIntegration", {}).get("uri") or "" for method in methods]
    return {uri.partition(":function:")[2].partition("/")[0].partition(":")[0] for uri in uris}


def _the_one(stage: Stage, apis: list[Api], api_id: str | None) -> Api | None:
    chosen = [api for api in apis if api_id in (None, api.id)]
    if len(chosen) > 1:
        both = ", ".join(f"{api.id} (created {api.created}, {api.url})" for api in apis)
        raise StageError(
            f"Stage {stage.name!r} has {len(apis)} APIs: {both}. Say which one is meant with API=..., "
            "and delete the others: aws apigateway delete-rest-api --rest-api-id ..."
        )
    if not chosen and api_id is not None:
        known = ", ".join(api.id for api in apis) or "none"
        raise StageError(f"{api_id} is no API of stage {stage.name!r}; it has: {known}.")
    return chosen[0] if chosen else None


# What the commands say.


def _to_deploy(stage: Stage, deployment: Deployment) -> str:
    _write(stage, deployment.resources())
    if deployment.is_empty:
        return f"Nothing of stage {stage.name!r} is deployed to {deployment.place} yet."
    api = deployment.api
    where = f"its API is {api.id}" if api else "it has no API"
    return (
        f"Stage {stage.name!r} is deployed to {deployment.place}: {where}, with {len(deployment.functions)} functions."
    )


def _to_delete(stage: Stage, deployment: Deployment) -> str:
    resources, kept = deployment.resources(), ""
    elsewhere = _other_regions(deployment) if deployment.roles else []
    if elsewhere:
        resources = [each for each in resources if each["resource_type"] != "iam_role"]
        kept = f"\nThe roles stay, because functions of the stage in {', '.join(elsewhere)} have them too."
    _write(stage, resources)
    if not resources:
        nothing = f"Nothing of stage {stage.name!r} is deployed to {deployment.place}, so there is nothing to delete."
        raise StageError(nothing + (f" It is deployed to {', '.join(elsewhere)}." if elsewhere else ""))
    lines = [f"  {_description(each)}" for each in reversed(resources)]
    return "\n".join([f"Deleting of stage {stage.name!r} in {deployment.place}:", *lines]) + kept


def _description(resource: Json) -> str:
    kind = str(resource["resource_type"]).replace("_", " ")
    fields = ("rest_api_url", "role_name", "rule_name", "lambda_arn", "domain_name")
    return f"{kind} {next((resource[field] for field in fields if field in resource), resource['name'])}"


def _other_regions(deployment: Deployment) -> list[str]:
    """Where else functions of the stage have the same roles. A region that an organization has closed has none."""
    regions = [each["RegionName"] for each in boto3.client("ec2").describe_regions()["Regions"]]
    name = deployment.stage.function_name("reconcile")
    found = []
    for region in sorted(set(regions) - {deployment.region}):
        client = boto3.client("lambda", region_name=region)
        try:
            client.get_function_configuration(FunctionName=name)
            found.append(region)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in ("ResourceNotFoundException", "AccessDeniedException"):
                raise
            if code == "AccessDeniedException":
                print(f"{region} may not be asked whether the stage is deployed there, so it is taken for not.")
    return found


def _write(stage: Stage, resources: list[Json]) -> None:
    """Without resources, no record: Chalice takes that for a stage that was never deployed."""
    if not resources:
        stage.record_file.unlink(missing_ok=True)
        return
    record = {"resources": resources, "schema_version": "2.0", "backend": "api"}
    stage.record_file.parent.mkdir(exist_ok=True)
    stage.record_file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
