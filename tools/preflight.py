"""Check a stage before it is deployed: `python -m tools.preflight production`.

Prints a line for each thing that would not work, and exits with 1 if there is one. Reads only.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.config import VARIABLES, SecretSource, Settings, load_settings
from chalicelib.errors import ConfigurationError
from chalicelib.secrets import checked_secret
from chalicelib.stores.redis.address import parse_address, with_login
from chalicelib.stores.redis.iam import cache_at
from tools.after_deploy import LOG_DAYS
from tools.deployment import deployed_runtime
from tools.function_url import FRONTS
from tools.functions import Function, functions_of
from tools.network import problems_of_address, problems_of_reach, types_of_network
from tools.policies import Needed, Policy, name_of_table
from tools.stages import FUNCTIONS, Stage, StageError

_OURS = ("LAUNCHDARKLY_", "EVALUATE_", "EVALUATION_", "BIG_SEGMENTS_")
"""How the names of settings begin that cannot be somebody else's. Users call what is theirs otherwise."""

_STRINGS = ("api_gateway_stage", "iam_policy_file")
_NUMBERS = ("lambda_memory_size", "lambda_timeout", "reserved_concurrency")
_NETWORK = ("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface")

_CHALICES_MEMORY = 128
"""In MB, for a function whose memory nobody has set."""
_LEAST_MEMORY = 256

_KEYS = [{"AttributeName": "namespace", "KeyType": "HASH"}, {"AttributeName": "key", "KeyType": "RANGE"}]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preflight", description="Check a stage before it is deployed.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument(
        "--runtime", help="the runtime to deploy, such as python3.12, where the deployed one is another"
    )
    # What comes after `chalice deploy`, and would be refused too late there.
    parser.add_argument("--front", choices=FRONTS)
    parser.add_argument("--log-days", type=int, choices=LOG_DAYS)
    options = parser.parse_args(arguments)
    try:
        stage = Stage(options.stage)
        found = problems(stage) or problems_of_runtime(stage, options.runtime)
        noticed = [] if found else warnings(stage)
    except StageError as error:
        found, noticed = [str(error)], []
    except (BotoCoreError, ClientError) as error:
        found, noticed = [f"AWS cannot be asked: {error}"], []
    for line in [*found, *(f"Warning: {warning}" for warning in noticed)]:
        print(line, file=sys.stderr)
    return 1 if found else 0


def problems(stage: Stage) -> list[str]:
    """What would not work, one line each: of the settings, and where these are sound, of what they name.

    Of every function that would be deployed, also of those that the user has added.
    """
    functions = functions_of(stage.folder)
    names = [function.name for function in functions]
    found = _unique(line for name in names for line in _of_types(stage, name))
    if found:
        return found
    environments = [stage.environment(name) for name in names]
    found = _unique(line for environment in environments for line in _of_settings(environment))
    if found:
        return found
    settings = load_settings(environments[0])
    found = list(_of_addresses(settings))
    if found:
        return found
    return [
        *_of_names(stage, names),
        *_of_flag_file(stage, settings.flag_file),
        *problems_of_address(stage, settings),
        *_unique(_of_policies(stage, functions, settings)),
        *_of_account(stage, settings),
    ]


def problems_of_runtime(stage: Stage, intended: str | None) -> list[str]:
    """Chalice deploys for the Python that it runs with, whichever that is; None intends what is deployed already."""
    local = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if intended is not None:
        other = f"This is {local} and not {intended}; deploy with that Python: PYTHON={intended}"
        return [] if intended == local else [other]
    deployed = deployed_runtime(stage)
    if deployed in (None, local):
        return []
    difference = f"Stage {stage.name!r} runs {deployed} and this is {local}, to which deploying would change it."
    return [f"{difference} Keep it with PYTHON={deployed}, or change it with RUNTIME={local}."]


def warnings(stage: Stage) -> list[str]:
    """What works, and may not be meant so, one line each. To be asked where there are no problems."""
    functions = functions_of(stage.folder)
    settings = load_settings(stage.environment())
    return [
        *(line for function in functions for line in _of_memory(stage, function.name)),
        *(line for function in functions if not function.is_ours for line in _of_own_policy(stage, function, settings)),
    ]


def _of_names(stage: Stage, names: list[str]) -> Iterator[str]:
    """Chalice says nothing of settings for a function that is not there."""
    for name in stage.functions_in_config:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            yield f"lambda_functions in .chalice/config.json names {name}, which app.py does not have{hint}"


def _of_memory(stage: Stage, name: str) -> Iterator[str]:
    memory = stage.setting("lambda_memory_size", name) or _CHALICES_MEMORY
    if memory < _LEAST_MEMORY:
        yield (
            f"{name} has {memory} MB: Lambda gives a function processor time by its memory, and with less than "
            f"{_LEAST_MEMORY} MB a cold start takes seconds. Set lambda_memory_size in .chalice/config.json."
        )


def _of_own_policy(stage: Stage, function: Function, settings: Settings) -> Iterator[str]:
    """A function that evaluates reads flags, and has no use for what a refresh may do."""
    name, path = function.name, stage.policy_file(function.name)
    policy, region = Policy(path), boto3.session.Session().region_name
    if path == stage.policy_file("api_handler"):
        yield (
            f"{name} is deployed with {path.name}, the API's, which may read the secrets and write the flags. Give it "
            f"an iam_policy_file; to evaluate, what policy-{stage.name}-on_event.json allows is enough."
        )
        yield from _of_source(policy, function, region)
    for needed in (*_needed_to_read(settings), *_needed_for_big_segments(settings)):
        if not policy.allows(needed, region):
            yield f"{path.name} does not allow {name} to use {needed.resource}: flags would have their default values."


def _of_types(stage: Stage, function: str) -> Iterator[str]:
    """Chalice fails on these in the middle of a deployment."""
    for name, value in stage.environment(function).items():
        if not isinstance(value, str):
            yield f"{name} must be a string in .chalice/config.json: {_as_json_string(value)}."
    for names, kind, expected in ((_STRINGS, str, "a string"), (_NUMBERS, int, "a number without quotes")):
        for name in names:
            value = stage.setting(name, function)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                yield f"{name} must be {expected} in .chalice/config.json."
    yield from types_of_network(stage, function)


def _as_json_string(value: Any) -> str:
    return f'"{str(value).lower() if isinstance(value, bool) else value}"'


def _of_settings(environment: dict[str, str]) -> Iterator[str]:
    """A stage may have variables of its user, and of tracers and proxies; only what looks like ours is checked."""
    for name in environment:
        meant = _meant_by(name, environment)
        if meant is not None:
            yield f"{name} is no setting of this app; did you mean {meant}?"
        elif name.startswith(_OURS) and name not in VARIABLES:
            yield f"{name} is no setting of this app."
    try:
        settings = load_settings(environment)
    except ConfigurationError as error:
        yield str(error)
        return
    yield from _of_secrets(settings)
    if settings.is_local:
        yield "LOCAL_STAGE is 'on', which is for development: it opens the app to everybody, and is refused on Lambda."
    if settings.redis_url == "embedded":
        yield "REDIS_URL is 'embedded', which is for development; nothing on Lambda starts that server."
    digests = (settings.token_digests, settings.client_token_digests, settings.mobile_token_digests)
    serves_sdks = settings.client_side_id or settings.mobile_key_digests
    if settings.evaluate_auth == "token" and not serves_sdks and not any(digests):
        yield "EVALUATE_TOKEN_SHA256 is empty: every evaluation over HTTP would be refused. Set it, or EVALUATE_AUTH."


def _meant_by(name: str, environment: dict[str, str]) -> str | None:
    """The setting that the name is a misspelling of, if it is one.

    A name that begins or ends with a setting's is none: so users call what is theirs, ``DYNAMODB_TABLE_ORDERS`` or
    ``SESSIONS_REDIS_URL``. One that is cut short, ``FLAGS_MAX_AGE``, is, unless the setting is there as well.
    """
    if name in VARIABLES:
        return None
    is_longer = any(name.startswith(f"{each}_") or name.endswith(f"_{each}") for each in VARIABLES)
    if is_longer and not name.startswith(_OURS):
        return None
    close = difflib.get_close_matches(name, sorted(VARIABLES), n=1, cutoff=0.85)
    cut_short = [each for each in sorted(VARIABLES - set(environment)) if "_" in name and each.startswith(f"{name}_")]
    return next(iter([*close, *cut_short]), None)


def _of_secrets(settings: Settings) -> Iterator[str]:
    uses_sdk_key = settings.flag_file is None or settings.records_events or settings.is_secure_mode
    wanted = [settings.sdk_key] if uses_sdk_key else []
    if not settings.direct_mode and not settings.allow_unsigned_webhooks:
        wanted.append(settings.webhook_secret)
    for secret in wanted:
        if secret.value is not None:
            yield f"{secret.variable} must not be in .chalice/config.json; use {secret.variable}_PARAMETER."
        elif secret.parameter is None:
            yield f"{secret.variable}_PARAMETER is not set; it names the SSM parameter that holds the secret."


def _of_addresses(settings: Settings) -> Iterator[str]:
    """Of a URL more is expected than that it is one, and for a login by IAM more still."""
    on_lambda = dict.fromkeys(("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "as Lambda has it")
    for row in (Settings.redis_url, Settings.big_segments_redis_url):
        url = settings.values[row.attribute]
        if url is not None:
            try:
                with_login(parse_address(url, row.name), None if settings.iam_for_redis is None else on_lambda)
            except ConfigurationError as error:
                yield str(error)


def _of_flag_file(stage: Stage, path: str | None) -> Iterator[str]:
    """What is in ``vendor`` stands beside the app in the package. An absolute path may be one of a layer."""
    if path is None or Path(path).is_absolute():
        return
    is_in_chalicelib = Path(path).parts[:1] == ("chalicelib",) and (stage.folder / path).is_file()
    if not is_in_chalicelib and not (stage.folder / "vendor" / path).is_file():
        yield (
            f"LAUNCHDARKLY_FLAG_FILE is {path!r}, which is not in the package: put the file into chalicelib/, and say "
            f"'chalicelib/{Path(path).name}'."
        )


def _of_policies(stage: Stage, functions: Iterable[Function], settings: Settings) -> Iterator[str]:
    """A table or parameter that was renamed in config.json alone would be denied at run time."""
    region = boto3.session.Session().region_name
    for function in functions:
        path = stage.policy_file(function.name)
        if not path.exists():
            yield f"{path.name} is not there; {function.name} is deployed with that policy."
            continue
        try:
            policy = Policy(path)
        except StageError as error:
            yield str(error)
            continue
        for needed in _needed(function.name, stage, settings):
            if not policy.allows(needed, region):
                yield f"{path.name} does not allow {function.name} to {_use(needed)}"
        if path != stage.policy_file("api_handler"):
            yield from _of_source(policy, function, region)


def _of_source(policy: Policy, function: Function, region: str | None) -> Iterator[str]:
    for needed in function.source:
        if not policy.allows(needed, region):
            actions = ", ".join(needed.actions)
            yield f"{policy.name} does not allow {function.name} to read {needed.resource}: it needs {actions}."


def _use(needed: Needed) -> str:
    if needed.resource == "*":
        return f"connect to the subnets of config.json: it needs {', '.join(needed.actions)} on *."
    return f"use {needed.resource}, which config.json names."


def _needed(function: str, stage: Stage, settings: Settings) -> Iterator[Needed]:
    secrets = {"api_handler": (settings.sdk_key, settings.webhook_secret), "reconcile": (settings.sdk_key,)}
    yield from _needed_of_table(function, settings)
    if settings.records_events:
        secrets["deliver_events"] = (settings.sdk_key,)
    if function in ("api_handler", "on_event"):
        yield from _needed_for_big_segments(settings)
    if function in ("api_handler", "reconcile") and settings.dynamodb_table is not None:
        yield Needed(("dynamodb:BatchWriteItem", "dynamodb:UpdateItem"), _resource_of_table(settings.dynamodb_table))
    for secret in secrets.get(function, ()):
        yield from _needed_for_secret(secret)
    if stage.setting("subnet_ids", function):
        yield Needed(_NETWORK, "*")
    if function in FUNCTIONS:
        yield from _needed_to_log_in(settings)


def _needed_of_table(function: str, settings: Settings) -> Iterator[Needed]:
    if function == "deliver_events":
        if settings.records_events and settings.dynamodb_table is not None:
            yield Needed(
                (*_READS, "dynamodb:DeleteItem", "dynamodb:UpdateItem"), _resource_of_table(settings.dynamodb_table)
            )
    elif function == "reconcile":
        yield from _needed_to_read(settings, adds_events=False)
    elif function in FUNCTIONS:
        yield from _needed_to_read(settings)


def _resource_of_table(said: str) -> str:
    return f"table/{name_of_table(said)}"


_READS = ("dynamodb:GetItem", "dynamodb:Query")


def _needed_to_read(settings: Settings, *, adds_events: bool = True) -> Iterator[Needed]:
    if settings.dynamodb_table is not None:
        adds = ("dynamodb:PutItem",) if adds_events and settings.records_events else ()
        yield Needed((*_READS, *adds), _resource_of_table(settings.dynamodb_table))
    if settings.direct_mode:
        yield from _needed_for_secret(settings.sdk_key)


def _needed_for_big_segments(settings: Settings) -> Iterator[Needed]:
    if settings.big_segments_table is not None:
        yield Needed(("dynamodb:BatchGetItem",), _resource_of_table(settings.big_segments_table))


def _needed_to_log_in(settings: Settings) -> Iterator[Needed]:
    """By IAM, to the Redis of ``REDIS_URL``."""
    if settings.iam_for_redis is not None and settings.redis_url is not None:
        address = parse_address(settings.redis_url)
        cache = cache_at(address)
        for resource in (f"{cache.kind}:{cache.name}", f"user:{address.username}"):
            yield Needed(("elasticache:Connect",), resource)


def _needed_for_secret(secret: SecretSource) -> Iterator[Needed]:
    if secret.parameter is not None:
        yield Needed(("ssm:GetParameter",), _resource_of_parameter(secret.parameter))


def _resource_of_parameter(parameter: str) -> str:
    """Without the version or label that its name may end with, as in ``/flags/sdk-key:3``."""
    if parameter.startswith("arn:"):
        return ":".join(parameter.split(":")[5:6])
    return f"parameter/{parameter.partition(':')[0].lstrip('/')}"


def _of_account(stage: Stage, settings: Settings) -> list[str]:
    try:
        tables = dict.fromkeys((settings.dynamodb_table, settings.big_segments_table))
        return [
            *_of_parameter(settings.sdk_key),
            *(line for table in tables for line in _of_table(table)),
            *problems_of_reach(stage, settings),
        ]
    except ClientError as error:
        return [f"AWS refuses to be asked: {error}"]
    except BotoCoreError as error:
        return [f"AWS cannot be asked: {error}"]


def _of_parameter(secret: SecretSource) -> Iterator[str]:
    """The webhook's secret is not looked for: registering the webhook, which needs the deployed URL, puts it there."""
    if secret.parameter is None:
        return
    ssm = boto3.client("ssm")
    try:
        ssm.get_parameter(Name=secret.parameter)
    except (ssm.exceptions.ParameterNotFound, ssm.exceptions.ParameterVersionNotFound):
        yield (
            f"There is no SSM parameter {secret.parameter} in {ssm.meta.region_name}: "
            f"aws ssm put-parameter --type SecureString --name {secret.parameter.partition(':')[0]} --value ..."
        )
        return
    with suppress(ClientError):  # whoever deploys need not be allowed to decrypt it
        answer = ssm.get_parameter(Name=secret.parameter, WithDecryption=True)
        try:
            checked_secret(
                secret, answer["Parameter"]["Value"], f"{secret.variable}_PARAMETER names {secret.parameter!r}, which"
            )
        except ConfigurationError as error:
            yield str(error)


def _of_table(name: str | None) -> Iterator[str]:
    if name is None:
        return
    dynamodb = boto3.client("dynamodb")
    try:
        table = dynamodb.describe_table(TableName=name)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException:
        yield (
            f"There is no table {name} in {dynamodb.meta.region_name}: aws cloudformation deploy --stack-name {name} "
            f"--template-file infrastructure/table.yaml --parameter-overrides TableName={name}"
        )
        return
    if table["KeySchema"] != _KEYS:
        yield f"The table {name} has another key than LaunchDarkly's: partition key namespace, sort key key."


def _unique(lines: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(lines))


if __name__ == "__main__":
    sys.exit(main())
