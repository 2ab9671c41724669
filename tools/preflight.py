"""Check a stage before it is deployed: `python -m tools.preflight production`.

Prints a line for each thing that would not work, and exits with 1 if there is one. Reads only.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.config import VARIABLES, SecretSource, Settings, load_settings
from chalicelib.errors import ConfigurationError
from tools.stages import FUNCTIONS, Stage, StageError

_NOT_OURS = ("AWS_", "PYTHON", "TZ")
"""Variables of AWS's SDK and of Python, which are not checked."""

_KEYS = [{"AttributeName": "namespace", "KeyType": "HASH"}, {"AttributeName": "key", "KeyType": "RANGE"}]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preflight", description="Check a stage before it is deployed.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    try:
        found = problems(Stage(parser.parse_args(arguments).stage))
    except StageError as error:
        found = [str(error)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


def problems(stage: Stage) -> list[str]:
    """What would not work, one line each: of the settings, and where these are sound, of what they name."""
    environments = [stage.environment(function) for function in FUNCTIONS]
    found = _unique(line for environment in environments for line in _of_settings(environment))
    if found:
        return found
    settings = load_settings(environments[0])
    return [*_of_policies(stage, settings), *_of_account(settings)]


def _of_settings(environment: dict[str, str]) -> Iterator[str]:
    for name in environment:
        if name not in VARIABLES and not name.startswith(_NOT_OURS):
            close = difflib.get_close_matches(name, VARIABLES, n=1)
            yield f"{name} is no setting of this app{f'; did you mean {close[0]}?' if close else '.'}"
    try:
        settings = load_settings(environment)
    except ConfigurationError as error:
        yield str(error)
        return
    yield from _of_secrets(settings)
    if settings.redis_url == "embedded":
        yield "REDIS_URL is 'embedded', which is for development; nothing on Lambda starts that server."
    if settings.evaluate_auth == "token" and not settings.token_digests | settings.client_token_digests:
        yield "EVALUATE_TOKEN_SHA256 is empty: every evaluation over HTTP would be refused. Set it, or EVALUATE_AUTH."


def _of_secrets(settings: Settings) -> Iterator[str]:
    wanted = [] if settings.flag_file else [settings.sdk_key]
    if not settings.direct_mode and not settings.allow_unsigned_webhooks:
        wanted.append(settings.webhook_secret)
    for secret in wanted:
        if secret.value is not None:
            yield f"{secret.variable} must not be in .chalice/config.json; use {secret.variable}_PARAMETER."
        elif secret.parameter is None:
            yield f"{secret.variable}_PARAMETER is not set; it names the SSM parameter that holds the secret."


def _of_policies(stage: Stage, settings: Settings) -> Iterator[str]:
    """A table or parameter that was renamed in config.json alone would be denied at run time."""
    for function in FUNCTIONS:
        path = stage.policy_file(function)
        if not path.exists():
            yield f"{path.name} is not there; {function} is deployed with that policy."
            continue
        resources = _resources(json.loads(path.read_text()))
        for arn in _needed(function, settings):
            if not any(fnmatchcase(arn, pattern) for pattern in resources):
                yield f"{path.name} does not allow {function} to use {arn.rpartition(':')[2]}, which config.json names."


def _resources(policy: dict[str, list[dict[str, str | list[str]]]]) -> set[str]:
    listed = [statement.get("Resource", []) for statement in policy["Statement"]]
    return {arn for each in listed for arn in ([each] if isinstance(each, str) else each)}


def _needed(function: str, settings: Settings) -> Iterator[str]:
    """ARNs without region and account, which the policies leave open."""
    secrets = {"api_handler": (settings.sdk_key, settings.webhook_secret), "reconcile": (settings.sdk_key,)}
    if settings.dynamodb_table is not None:
        yield f"arn:aws:dynamodb:::table/{settings.dynamodb_table}"
    for secret in secrets.get(function, ()):
        if secret.parameter is not None:
            yield f"arn:aws:ssm:::parameter/{secret.parameter.lstrip('/')}"


def _of_account(settings: Settings) -> list[str]:
    try:
        return [*_of_parameter(settings.sdk_key), *_of_table(settings.dynamodb_table)]
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
    except ssm.exceptions.ParameterNotFound:
        yield (
            f"There is no SSM parameter {secret.parameter} in {ssm.meta.region_name}: "
            f"aws ssm put-parameter --type SecureString --name {secret.parameter} --value ..."
        )


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
