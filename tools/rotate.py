"""Replace a secret of a deployed stage, without a refused request: `python -m tools.rotate sdk-key production`.

Both secrets are LaunchDarkly's and SSM's, and functions look into SSM again when one is refused, or after ten minutes.
The SDK key is reset in LaunchDarkly, where the old one goes on for a while; the webhook's secret goes into SSM first,
because a function that knows the old one looks again, while one that was never told it cannot.

Needs a LaunchDarkly access token in LAUNCHDARKLY_ACCESS_TOKEN whose role may do updateApiKey on the environment, or
update the webhook; lambda:InvokeFunction; ssm:GetParameter, PutParameter and DescribeParameters.
Source: https://launchdarkly.com/docs/api/environments/reset-environment-sdk-key
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time

import boto3

from chalicelib.config import EnvironmentResource, SecretSource, Settings, load_settings
from tools.command_line import run
from tools.deployment import find
from tools.invocations import invoke
from tools.operate import sentence_of
from tools.register_webhook import LaunchDarkly, Webhook, access_token
from tools.stages import Stage, StageError

_LEAST_GRACE_MINUTES = 15
"""More than the ten for which a function keeps a secret."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rotate", description="Replace a secret of a deployed stage.")
    parser.add_argument("secret", choices=("sdk-key", "webhook-secret"))
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument("--api", default="https://app.launchdarkly.com", help="LaunchDarkly's API, for EU or federal")
    parser.add_argument("--grace-minutes", type=int, default=60, help="how long the old SDK key goes on being accepted")
    options = parser.parse_args(arguments)
    rotate = _rotate_sdk_key if options.secret == "sdk-key" else _rotate_webhook_secret
    return run(lambda: rotate(Stage(options.stage), options))


def _rotate_sdk_key(stage: Stage, options: argparse.Namespace) -> None:
    if options.grace_minutes < _LEAST_GRACE_MINUTES:
        raise StageError(f"GRACE_MINUTES must be {_LEAST_GRACE_MINUTES} or more: functions keep a key for ten minutes.")
    settings = load_settings(stage.environment())
    parameter = Parameter(settings.sdk_key)
    reconcile = find(stage).function_name("reconcile")
    launchdarkly = LaunchDarkly(options.api, access_token())
    expiry_ms = int((time.time() + options.grace_minutes * 60) * 1000)
    key = launchdarkly.reset_sdk_key(_environment_of(settings), expiry_ms)
    print(f"LaunchDarkly has a new SDK key; the old one is accepted for {options.grace_minutes} minutes.", flush=True)
    try:
        parameter.put(key)
    except Exception:  # raised again: only whoever is there can save the new key
        print("It is not in SSM: copy it from LaunchDarkly's environment into the parameter before that.", flush=True)
        raise
    print(f"The SSM parameter {parameter.name} holds it.", flush=True)
    print(f"A refresh with it: {sentence_of(invoke(reconcile, {}))}")


def _rotate_webhook_secret(stage: Stage, options: argparse.Namespace) -> None:
    parameter = Parameter(load_settings(stage.environment()).webhook_secret)
    deployment = find(stage)
    launchdarkly = LaunchDarkly(options.api, access_token())
    webhook = Webhook.of_stage(stage, deployment.url)
    existing = webhook.among(launchdarkly.webhooks())
    if existing is None:
        raise StageError(f"LaunchDarkly has no webhook {webhook.name}: make webhook STAGE={stage.name}")
    secret = secrets.token_hex(32)
    parameter.put(secret)
    try:
        operation = "replace" if "secret" in existing else "add"
        launchdarkly.update(existing["_id"], [{"op": operation, "path": "/secret", "value": secret}])
    except StageError:
        parameter.put(parameter.value)
        print(f"The SSM parameter {parameter.name} holds the old secret again.", flush=True)
        raise
    print(f"The webhook {webhook.name} and the SSM parameter {parameter.name} have a new secret.", flush=True)
    outcome = invoke(deployment.function_name("reconcile"), {})
    print(f"A refresh, for a webhook that was refused meanwhile: {sentence_of(outcome)}")


def _environment_of(settings: Settings) -> EnvironmentResource:
    if settings.environment is None:
        raise StageError("LAUNCHDARKLY_ENVIRONMENT is not set; it says whose SDK key is reset.")
    return settings.environment


class Parameter:
    """The SSM parameter that holds a secret, and what it held. Raises StageError where it cannot be replaced."""

    def __init__(self, secret: SecretSource) -> None:
        if secret.parameter is None:
            raise StageError(f"{secret.variable}_PARAMETER is not set; it names where the secret is.")
        self.name = secret.parameter
        if not self.name.startswith("arn:") and ":" in self.name:
            raise StageError(f"{secret.variable}_PARAMETER names one version, {self.name}: that never changes.")
        self._ssm = boto3.client("ssm")
        try:
            self.value = str(self._ssm.get_parameter(Name=self.name, WithDecryption=True)["Parameter"]["Value"])
        except self._ssm.exceptions.ParameterNotFound:
            raise StageError(f"There is no SSM parameter {self.name} in {self._ssm.meta.region_name}.") from None
        self._key_id = self._encrypted_with()

    def put(self, value: str) -> None:
        """With the KMS key that it has: without one, SSM would take its own."""
        self._ssm.put_parameter(Name=self.name, Value=value, Type="SecureString", Overwrite=True, KeyId=self._key_id)

    def _encrypted_with(self) -> str:
        filters = [{"Key": "Name", "Values": [self.name]}]
        for page in self._ssm.get_paginator("describe_parameters").paginate(ParameterFilters=filters):
            for parameter in page["Parameters"]:
                return str(parameter.get("KeyId", "alias/aws/ssm"))
        return "alias/aws/ssm"


if __name__ == "__main__":
    sys.exit(main())
