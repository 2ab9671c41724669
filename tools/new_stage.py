"""Write a stage: `python -m tools.new_stage eu --environment proj/default:env/production`.

A stage is an entry of ``.chalice/config.json`` and a policy for each function, all from the template in this module;
the stages that the project comes with are what it writes. With ``--store redis``, where the cache is and how functions
reach it is read from the outputs of the stage's CloudFormation stack (tools/infrastructure.py), or told by options.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.config import load_settings
from chalicelib.stores.redis.address import parse_address
from chalicelib.stores.redis.iam import cache_at
from tools.command_line import run
from tools.infrastructure import outputs_of, stack_name
from tools.policies import name_of_table
from tools.stages import PROJECT, StageError, read_config

Json = dict[str, Any]

APP = "serverless-flags"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,21}[a-z0-9]")
"""What is left of 40 characters, which a cache's name may have, and what API Gateway takes for a stage."""

_SSM_NAMES = {"LAUNCHDARKLY_SDK_KEY_PARAMETER": "sdk-key", "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER": "webhook-secret"}
_OF_STORES = ("DYNAMODB_TABLE", "REDIS_URL", "REDIS_AUTH", "STORE_PREFIX", "subnet_ids", "security_group_ids")
_OWN_POLICIES = ("on_event", "reconcile", "deliver_events")
"""Functions that may do less than the API. All routes are one function, with the policy of the stage."""


class Store(NamedTuple):
    """What a stage says of its store: a table, or a cache with the network that it is reached from."""

    variables: dict[str, str]
    network: dict[str, list[str]]
    """``subnet_ids`` and ``security_group_ids``; empty for a store that is reached over the internet."""

    @property
    def table(self) -> str | None:
        """Its name, also where the stage says its ARN."""
        said = self.variables.get("DYNAMODB_TABLE")
        return None if said is None else name_of_table(said)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="new_stage", description="Write a stage and its policies.")
    parser.add_argument("stage", help="its name, such as eu")
    parser.add_argument("--store", choices=("dynamodb", "redis"), help="default: dynamodb, or what the stage had")
    parser.add_argument("--environment", help="the LaunchDarkly environment, such as proj/default:env/production")
    parser.add_argument("--redis-url", help="a Redis or Valkey of your own, instead of the stage's stack")
    parser.add_argument("--prefix", help="STORE_PREFIX; for a Redis Cluster {launchdarkly}")
    parser.add_argument("--subnets", default="", help="from which functions reach it, separated by commas")
    parser.add_argument("--security-groups", default="", help="the functions' own, separated by commas")
    parser.add_argument("--overwrite", action="store_true", help="write a stage anew that is there already")
    return run(lambda: _write(parser.parse_args(arguments)))


def _write(options: argparse.Namespace) -> None:
    name, path = options.stage, PROJECT / ".chalice" / "config.json"
    if not _NAME.fullmatch(name) or name == "local":
        raise StageError(f"{name!r} cannot be a stage: 2 to 23 small letters, digits and hyphens, and not 'local'.")
    config = read_config(path)
    before = config["stages"].get(name, {})
    if before and not options.overwrite:
        raise StageError(f"There is a stage {name!r} already. OVERWRITE=1 writes it anew and keeps what is yours.")
    variables = before.get("environment_variables", {})
    kind = options.store or ("redis" if options.redis_url or "REDIS_URL" in variables else "dynamodb")
    store = _table(options, variables) if kind == "dynamodb" else _cache(options, variables)
    environment = _environment(options.environment or variables.get("LAUNCHDARKLY_ENVIRONMENT"))
    load_settings({**store.variables, "LAUNCHDARKLY_ENVIRONMENT": environment})
    config["stages"][name] = _merged(before, stage_settings(name, store, environment))
    _write_json(path, config)
    for file, policy in policies(name, store).items():
        _write_json(path.parent / file, policy)
    print(f"Stage {name!r} is in .chalice/config.json, and its policies beside it.\n{_next_steps(name, store)}")


def stage_settings(name: str, store: Store, environment: str) -> Json:
    """The entry of ``.chalice/config.json``."""
    parameters = {variable: f"/{APP}/{name}/{parameter}" for variable, parameter in _SSM_NAMES.items()}
    return {
        "api_gateway_stage": name,
        "environment_variables": {
            **store.variables,
            "LAUNCHDARKLY_ENVIRONMENT": environment,
            **parameters,
            "EVALUATE_AUTH": "token",
            "EVALUATE_TOKEN_SHA256": "",
        },
        **store.network,
        "lambda_functions": {
            function: {"iam_policy_file": f"policy-{name}-{function}.json"} for function in _OWN_POLICIES
        },
    }


def policies(name: str, store: Store) -> dict[str, Json]:
    """By file name: what each function may do, and nothing besides."""
    statements = {
        f"policy-{name}.json": ("reads_all", "adds", "writes", "network", "login", "both_secrets"),
        f"policy-{name}-on_event.json": ("reads_all", "adds", "network", "login"),
        f"policy-{name}-reconcile.json": ("reads", "writes", "network", "login", "sdk_key"),
        f"policy-{name}-deliver_events.json": ("takes", "keeps", "network", "login", "sdk_key"),
    }
    known = _statements(name, store)
    return {
        file: {"Version": "2012-10-17", "Statement": [known[each] for each in ("logs", *listed) if each in known]}
        for file, listed in statements.items()
    }


def _statements(name: str, store: Store) -> dict[str, Json]:
    """Those that the stage's functions are made of."""
    logs = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    sdk_key, webhook_secret = (f"arn:*:ssm:*:*:parameter/{APP}/{name}/{each}" for each in _SSM_NAMES.values())
    interfaces = ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"]
    return {
        "logs": _allow("WriteLogs", logs, f"arn:*:logs:*:*:log-group:/aws/lambda/{APP}-{name}*"),
        **(_statements_of_table(f"arn:*:dynamodb:*:*:table/{store.table}") if store.table else {}),
        **({"network": _allow("ConnectToSubnets", interfaces, "*")} if store.network else {}),
        **({"login": _login(store.variables["REDIS_URL"])} if "REDIS_AUTH" in store.variables else {}),
        "sdk_key": _allow("ReadSecrets", ["ssm:GetParameter"], sdk_key),
        "both_secrets": _allow("ReadSecrets", ["ssm:GetParameter"], sdk_key, webhook_secret),
    }


def _login(redis_url: str) -> Json:
    """By IAM, to the cache of this URL as its user."""
    address = parse_address(redis_url)
    cache = cache_at(address)
    arns = [f"arn:*:elasticache:*:*:{each}" for each in (f"{cache.kind}:{cache.name}", f"user:{address.username}")]
    return _allow("LogInToCache", ["elasticache:Connect"], *arns)


def _statements_of_table(table: str) -> dict[str, Json]:
    reads = ["dynamodb:GetItem", "dynamodb:Query"]
    return {
        "reads": _allow("ReadFlags", reads, table),
        "reads_all": _allow("ReadFlags", ["dynamodb:BatchGetItem", *reads], table),
        "adds": _under("*$events", _allow("AddEvents", ["dynamodb:PutItem"], table)),
        "writes": _allow("WriteFlags", ["dynamodb:BatchWriteItem", "dynamodb:UpdateItem"], table),
        "takes": _under("*$events", _allow("TakeEvents", ["dynamodb:Query", "dynamodb:DeleteItem"], table)),
        "keeps": _under("*$delivery", _allow("KeepDelivery", ["dynamodb:GetItem", "dynamodb:UpdateItem"], table)),
    }


def _under(partition_keys: str, statement: Json) -> Json:
    """The statement for these partition keys alone."""
    return {**statement, "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [partition_keys]}}}


def _allow(sid: str, actions: list[str], *resources: str) -> Json:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": list(resources)}


def _table(options: argparse.Namespace, before: Mapping[str, str]) -> Store:
    """As the options say, or else the stage ``before``, if that had a table."""
    if options.redis_url or options.subnets or options.security_groups:
        raise StageError("REDIS_URL, SUBNETS and SECURITY_GROUPS are for STORE=redis; a table needs none of them.")
    table = before.get("DYNAMODB_TABLE")
    prefix = options.prefix or (before.get("STORE_PREFIX") if table else None)
    return Store({"DYNAMODB_TABLE": table or f"{APP}-{options.stage}", **_prefix(prefix)}, {})


def _prefix(prefix: str | None) -> dict[str, str]:
    return {"STORE_PREFIX": prefix} if prefix else {}


def _cache(options: argparse.Namespace, before: Mapping[str, str]) -> Store:
    """As the options say, or else the stack of the stage; the prefix before that as the stage ``before`` had it."""
    said = {"RedisUrl": options.redis_url, "SubnetIds": options.subnets, "SecurityGroupIds": options.security_groups}
    if options.redis_url is None:
        said = outputs_of(stack_name(options.stage))
    if "RedisUrl" not in said:
        raise StageError(
            f"There is no stack {stack_name(options.stage)} with a cache: make infrastructure STAGE={options.stage} "
            "STORE=redis VPC=vpc-... SUBNETS=subnet-...,subnet-... or, for a cache of your own, say REDIS_URL=..., "
            "SUBNETS=... and SECURITY_GROUPS=..."
        )
    parse_address(said["RedisUrl"])
    prefix = before.get("STORE_PREFIX") if "REDIS_URL" in before else None
    network = {"subnet_ids": said["SubnetIds"], "security_group_ids": said["SecurityGroupIds"]}
    return Store(
        {
            "REDIS_URL": said["RedisUrl"],
            **({"REDIS_AUTH": "iam"} if said.get("RedisAuth") == "iam" else {}),
            **_prefix(options.prefix or prefix or said.get("StorePrefix")),
        },
        {key: listed for key, ids in network.items() if (listed := _listed(ids))},
    )


def _listed(ids: str) -> list[str]:
    return [each.strip() for each in ids.split(",") if each.strip()]


def _environment(said: str | None) -> str:
    """Raises StageError where nobody says it."""
    if not said:
        raise StageError("Which LaunchDarkly environment? For example: ENVIRONMENT=proj/default:env/production")
    return said


def _merged(before: Json, written: Json) -> Json:
    """What is written, and of the stage as it was what the template does not know, and who may evaluate."""
    merged = {**_without(_OF_STORES, before), **written}
    for scope in ("environment_variables", "lambda_functions"):
        merged[scope] = {**written[scope], **_without((*_OF_STORES, *written[scope]), before.get(scope, {}))}
    access = ("EVALUATE_AUTH", "EVALUATE_TOKEN_SHA256")
    variables = before.get("environment_variables", {})
    merged["environment_variables"].update({name: variables[name] for name in access if name in variables})
    return merged


def _without(names: tuple[str, ...], settings: Json) -> Json:
    return {name: value for name, value in settings.items() if name not in names}


def _write_json(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _next_steps(name: str, store: Store) -> str:
    parameter = f"/{APP}/{name}/{_SSM_NAMES['LAUNCHDARKLY_SDK_KEY_PARAMETER']}"
    steps = [
        f"aws ssm put-parameter --type SecureString --name {parameter} --value sdk-...",
        *([f"make infrastructure STAGE={name}"] if store.table else []),
        "make token, and its digest into the stage as EVALUATE_TOKEN_SHA256",
        f"make deploy STAGE={name}",
    ]
    return "\n".join(["Next:", *(f"  {step}" for step in steps)])


if __name__ == "__main__":
    sys.exit(main())
