"""Create or update the LaunchDarkly webhook of a deployed stage: `python -m tools.register_webhook production`.

The webhook is signed, and sent for flags and segments of the stage's environment alone. Its secret is made here and
goes into the SSM parameter that the stage names; it is never printed. Running this twice changes nothing.

Needs a LaunchDarkly access token with the Writer role (or createWebhook and the update actions on ``webhook/*``) in
LAUNCHDARKLY_ACCESS_TOKEN, and ssm:GetParameter and ssm:PutParameter on the parameter.
Source: https://launchdarkly.com/docs/api/webhooks
"""

from __future__ import annotations

import argparse
import functools
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import boto3
import requests

from chalicelib.config import EnvironmentResource, SecretSource, load_settings
from chalicelib.secrets import checked_secret
from tools.command_line import run
from tools.deployment import find
from tools.stages import Stage, StageError

Json = dict[str, Any]

_MEANINGS = {
    401: "LaunchDarkly does not accept the access token in LAUNCHDARKLY_ACCESS_TOKEN.",
    403: "The access token may not do this; it needs the Writer role, or a custom role for webhook/*.",
    404: "LaunchDarkly has nothing there.",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="register_webhook", description="Register a stage's webhook.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    parser.add_argument("--url", help="the app's address; default: where chalice deployed the stage")
    parser.add_argument("--rest-api", help="the ID of the API that is the stage's, where there are several")
    parser.add_argument("--api", default="https://app.launchdarkly.com", help="LaunchDarkly's API, for EU or federal")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    options = parser.parse_args(arguments)

    def register() -> None:
        stage = Stage(options.stage)
        webhook = Webhook.of_stage(stage, options.url or find(stage, options.rest_api).url)
        _take(steps(LaunchDarkly(options.api, access_token()), webhook), dry_run=options.dry_run)

    return run(register)


def _take(found: list[Step], *, dry_run: bool) -> None:
    for step in found:
        print(f"would {step.description}" if dry_run else step.description)
        if not dry_run:
            step.make()
    if not found:
        print("nothing to do")


def access_token() -> str:
    """LaunchDarkly's, of whoever runs this. Raises StageError."""
    token = os.environ.get("LAUNCHDARKLY_ACCESS_TOKEN", "").strip()
    if not token:
        raise StageError("LAUNCHDARKLY_ACCESS_TOKEN is not set; create an API access token in LaunchDarkly.")
    if not (token.isascii() and token.isprintable()):
        raise StageError("LAUNCHDARKLY_ACCESS_TOKEN holds no access token; expected ASCII characters on one line.")
    return token


@dataclass(frozen=True)
class Webhook:
    """The webhook that a stage needs, and the SSM parameter for its secret."""

    name: str
    url: str
    environment: EnvironmentResource
    secret_parameter: str

    @classmethod
    def of_stage(cls, stage: Stage, url: str) -> Webhook:
        """Raises StageError when the stage does not say which environment, or where the secret goes."""
        settings = load_settings(stage.environment())
        if settings.environment is None:
            raise StageError("LAUNCHDARKLY_ENVIRONMENT is not set; the webhook is limited to that environment.")
        if settings.webhook_secret.parameter is None:
            raise StageError("LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER is not set; it names where the secret goes.")
        url = url.rstrip("/") + "/webhook"
        return cls(stage.deployment, url, settings.environment, settings.webhook_secret.parameter)

    def among(self, webhooks: list[Json]) -> Json | None:
        """By address, or by name when the app was deployed anew and has another address."""
        for field, value in (("url", self.url), ("name", self.name)):
            for each in webhooks:
                if each.get(field) == value:
                    return each
        return None

    def fields(self) -> Json:
        """What LaunchDarkly has to hold, beside the secret and the name."""
        statements = [
            {"effect": "allow", "resources": [f"{self.environment}:{kind}/*"], "actions": ["*"]}
            for kind in ("flag", "segment")
        ]
        return {"url": self.url, "on": True, "statements": statements}

    def with_secret(self, secret: str) -> Json:
        """A new webhook, which is signed with ``secret``."""
        return {**self.fields(), "name": self.name, "sign": True, "secret": secret, "tags": ["serverless-flags"]}


class LaunchDarkly:
    """LaunchDarkly's REST API. Every method raises StageError that says what went wrong."""

    def __init__(self, api: str, token: str) -> None:
        self._api = api.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update({"Authorization": token, "LD-API-Version": "20240415"})

    def check_environment(self, environment: EnvironmentResource) -> None:
        self._call("GET", f"/projects/{environment.project}/environments/{environment.environment}")

    def reset_sdk_key(self, environment: EnvironmentResource, old_until_ms: int) -> str:
        """The new SDK key; the old one is accepted until then (Unix time in milliseconds)."""
        path = f"/projects/{environment.project}/environments/{environment.environment}/apiKey?expiry={old_until_ms}"
        answer = self._call("POST", path)
        if not isinstance(answer.get("apiKey"), str):
            raise StageError("LaunchDarkly has reset the SDK key, and has not said what it is; look there.")
        return str(answer["apiKey"])

    def webhooks(self) -> list[Json]:
        items: list[Json] = self._call("GET", "/webhooks").get("items", [])
        return items

    def create(self, webhook: Json) -> None:
        self._call("POST", "/webhooks", webhook)

    def update(self, webhook_id: str, patch: list[Json]) -> None:
        self._call("PATCH", f"/webhooks/{webhook_id}", patch)

    def _call(self, method: str, path: str, body: object = None) -> Json:
        try:
            answer = self._session.request(method, f"{self._api}/api/v2{path}", json=body, timeout=30)
        except requests.RequestException as error:
            raise StageError(f"{self._api} cannot be reached: {type(error).__name__}.") from error
        if not answer.ok:
            raise StageError(f"{method} /api/v2{path}: HTTP {answer.status_code}. {_meaning(answer)}")
        content = _object_in(answer)
        if content is None:
            raise StageError(f"{self._api} answers, but not as LaunchDarkly's API does.")
        return content


class Step(NamedTuple):
    """One change that is still to be made, and what makes it."""

    description: str
    make: Callable[[], object]


def steps(launchdarkly: LaunchDarkly, webhook: Webhook) -> list[Step]:
    """What brings SSM and LaunchDarkly to what the stage needs, in order; changes nothing. Raises StageError."""
    launchdarkly.check_environment(webhook.environment)
    existing = webhook.among(launchdarkly.webhooks())
    known = _read_secret(webhook.secret_parameter)
    secret = known or secrets.token_hex(32)
    found = []
    if known is None:  # the first step, so that a run that fails after it goes on with the same secret
        put = functools.partial(_put_secret, webhook.secret_parameter, secret)
        found.append(Step(f"put a new secret into the SSM parameter {webhook.secret_parameter}", put))
    if existing is None:
        create = functools.partial(launchdarkly.create, webhook.with_secret(secret))
        found.append(Step(f"create the webhook {webhook.name} for {webhook.url}", create))
    elif patch := _patch(existing, webhook, secret, secret_is_new=known is None):
        fields = ", ".join(each["path"][1:] for each in patch)
        update = functools.partial(launchdarkly.update, existing["_id"], patch)
        found.append(Step(f"update {fields} of the webhook {existing['_id']}", update))
    return found


def _patch(existing: Json, webhook: Webhook, secret: str, *, secret_is_new: bool) -> list[Json]:
    """A JSON patch (RFC 6902). A secret that LaunchDarkly does not show is taken to be the one in SSM."""
    patch = [
        {"op": "replace" if field in existing else "add", "path": f"/{field}", "value": value}
        for field, value in webhook.fields().items()
        if _comparable(existing.get(field)) != _comparable(value)
    ]
    if secret_is_new or existing.get("secret", secret) != secret:
        patch.append({"op": "replace" if "secret" in existing else "add", "path": "/secret", "value": secret})
    return patch


def _comparable(value: Any) -> Any:
    """Statements without their order and without the fields that are empty."""
    if not isinstance(value, list):
        return value
    return sorted(sorted((name, each) for name, each in statement.items() if each) for statement in value)


def _read_secret(parameter: str) -> str | None:
    """As the app reads it, or signatures would differ. None where there is none. Raises ConfigurationError."""
    ssm = boto3.client("ssm")
    try:
        text = str(ssm.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None
    return checked_secret(SecretSource("LAUNCHDARKLY_WEBHOOK_SECRET"), text, f"The SSM parameter {parameter}")


def _put_secret(parameter: str, secret: str) -> None:
    boto3.client("ssm").put_parameter(Name=parameter, Value=secret, Type="SecureString")


def _meaning(answer: requests.Response) -> str:
    if answer.status_code == 429:
        return f"LaunchDarkly's rate limit is reached; try again in {_seconds_to_wait(answer)} seconds."
    if answer.status_code >= 500:
        return "LaunchDarkly has a problem; try again later."
    said = str((_object_in(answer) or {}).get("message") or "")
    return " ".join(filter(None, [_MEANINGS.get(answer.status_code, "LaunchDarkly refuses this."), said]))


def _object_in(answer: requests.Response) -> Json | None:
    """The JSON object; None where it holds none."""
    try:
        content = answer.json()
    except requests.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _seconds_to_wait(answer: requests.Response) -> int:
    """Retry-After holds seconds, X-Ratelimit-Reset Unix time in milliseconds; LaunchDarkly sends one of them."""
    after, reset = answer.headers.get("Retry-After", ""), answer.headers.get("X-Ratelimit-Reset", "")
    if after.isdigit():
        return int(after)
    return max(1, round(int(reset) / 1000 - time.time())) if reset.isdigit() else 10


if __name__ == "__main__":
    sys.exit(main())
