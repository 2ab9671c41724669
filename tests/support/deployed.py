"""A stage that was deployed as the README tells, and its callers."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

from tests.support.aws import Aws
from tests.support.data import boolean_flag, by_key
from tests.support.deployment import LambdaService, Project
from tests.support.fake_launchdarkly import FakeLaunchDarkly

Json = dict[str, Any]

TOKEN = "the-token-of-a-caller"
SECRET = "the-secret-of-the-webhook"
USER = {"kind": "user", "key": "anna"}
FUNCTIONS = {"api_handler": "", "on_event": "-on_event", "reconcile": "-reconcile"}
"""Chalice's name of a function, and what it adds to the stage's name for Lambda's."""
ENVIRONMENTS = {"dev": "test", "production": "production"}
"""The LaunchDarkly environment of each deployable stage."""


class Deployed:
    """A stage after `make deploy`, as its callers see it."""

    def __init__(self, project: Project, service: LambdaService, launchdarkly: FakeLaunchDarkly, output: str) -> None:
        self.project = project
        self.name = f"serverless-flags-{project.stage}"
        self.launchdarkly = launchdarkly
        self.output = output
        self.service = service

    def invoke(self, function: str, event: object) -> Any:
        """The payload. Raises InvocationError when the function raises."""
        return self.service.instance(self.name + FUNCTIONS[function]).invoke(event).payload

    def post(self, resource: str, body: object, headers: dict[str, str], **path_parameters: str) -> tuple[int, Json]:
        """The status and body of an API Gateway request."""
        answer = self.invoke("api_handler", api_event(resource, json.dumps(body), headers, path_parameters))
        return answer["statusCode"], json.loads(answer["body"])

    def evaluate(self) -> tuple[int, Json]:
        return self.post("/evaluate", USER, {"authorization": f"Bearer {TOKEN}"})

    def announce(self, key: str, version: int) -> tuple[int, Json]:
        """A signed webhook about a flag, as LaunchDarkly sends it."""
        environment = ENVIRONMENTS[self.project.stage]
        entry = {
            "kind": "flag",
            "accesses": [{"action": "updateOn", "resource": f"proj/default:env/{environment}:flag/{key}"}],
            "currentVersion": {"environments": {environment: {"version": version}}},
        }
        signature = hmac.new(SECRET.encode(), json.dumps(entry).encode(), hashlib.sha256).hexdigest()
        return self.post("/webhook", entry, {"x-ld-signature": signature})


def api_event(resource: str, body: str, headers: dict[str, str], path_parameters: dict[str, str]) -> Json:
    return {
        "resource": resource,
        "path": resource.format(**path_parameters),
        "httpMethod": "POST",
        "headers": {"content-type": "application/json", **headers},
        "multiValueQueryStringParameters": None,
        "pathParameters": path_parameters or None,
        "stageVariables": None,
        "requestContext": {"httpMethod": "POST", "resourcePath": resource, "identity": {"sourceIp": "127.0.0.1"}},
        "body": body,
        "isBase64Encoded": False,
    }


class Deployments:
    """Deploys stages to ``account``, with ``launchdarkly`` as theirs."""

    def __init__(self, account: Aws, service: LambdaService, launchdarkly: FakeLaunchDarkly, folder: Path) -> None:
        self.account = account
        self._service = service
        self._launchdarkly = launchdarkly
        self._folder = folder

    def deploy(self, stage: str, variables: dict[str, str | None], **settings: object) -> Deployed:
        """What the README tells: secrets into SSM, a token into config.json, `make deploy`; there is one flag."""
        self._launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
        self.account.put_secret(f"/serverless-flags/{stage}/sdk-key", "sdk-key")
        self.account.put_secret(f"/serverless-flags/{stage}/webhook-secret", SECRET)
        folder = self._folder / f"{stage}-{time.monotonic_ns()}"
        folder.mkdir()
        project = Project(folder, stage, self.account)
        uris = {f"LAUNCHDARKLY_{name}_URI": self._launchdarkly.uri for name in ("BASE", "STREAM", "EVENTS")}
        token = {"EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        project.configure({**uris, **token, **variables}, **settings)
        self._service.stop()
        return Deployed(project, self._service, self._launchdarkly, project.make("deploy"))
