"""Stages deployed by `make deploy` to the AWS of the tests, as the README tells, and their callers."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.support.app import import_app
from tests.support.aws import Aws
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.fronts import event_of, response_of
from tests.support.lambda_runtime import api_event
from tests.support.packages import make
from tests.support.recorded_calls import recorded_calls
from tests.support.webhooks import flag_entry, signature_of

if TYPE_CHECKING:
    from tests.support.lambda_service import LambdaService

Json = dict[str, Any]

TOKEN = "the-token-of-a-caller"
SECRET = "the-secret-of-the-webhook"
USER = {"kind": "user", "key": "anna"}
FUNCTIONS = {name: f"-{name}" for name in ("on_event", "reconcile", "deliver_events")} | {"api_handler": ""}
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

    def evaluate_flag(self, key: str) -> tuple[int, Json]:
        return self.post("/evaluate/{flag_key}", USER, {"authorization": f"Bearer {TOKEN}"}, flag_key=key)

    def post_through(self, front: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, Json]:
        """The status and body of a request through another front door."""
        event = event_of(front, "POST", path, headers, json.dumps(body).encode())
        answer = response_of(front, self.invoke("api_handler", event))
        return answer.status_code, answer.json_body

    def announce(self, key: str, version: int) -> tuple[int, Json]:
        """A signed webhook about a flag, as LaunchDarkly sends it."""
        entry = flag_entry(key, version, environment=ENVIRONMENTS[self.project.stage])
        signature = signature_of(json.dumps(entry).encode(), SECRET)
        return self.post("/webhook", entry, {"x-ld-signature": signature})


@dataclass(frozen=True)
class Deployments:
    """Deploys stages to ``account``, with ``launchdarkly`` as theirs."""

    account: Aws
    service: LambdaService
    launchdarkly: FakeLaunchDarkly
    packaged: Path
    folder: Path
    """Where each stage has its copy of ``packaged``."""
    programs: Path
    """The folder with `python` and `chalice`, which `make` calls."""

    def deploy(self, stage: str, variables: dict[str, str | None], front: str = "api", **settings: object) -> Deployed:
        """What the README tells: secrets into SSM, a token into config.json, `make deploy`; there is one flag."""
        self.launchdarkly.replace(by_key(boolean_flag("shiny", 1, value=False)))
        self.account.put_secret(f"/serverless-flags/{stage}/sdk-key", "sdk-key")
        self.account.put_secret(f"/serverless-flags/{stage}/webhook-secret", SECRET)
        folder = self.folder / f"{stage}-{time.monotonic_ns()}"
        project = Project(self.packaged, folder, stage, self.account, self.programs)
        self._create_queues()
        uris = {f"LAUNCHDARKLY_{name}_URI": self.launchdarkly.uri for name in ("BASE", "STREAM", "EVENTS")}
        token = {"EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        project.configure({**uris, **token, **variables}, **settings)
        self.service.stop()
        return Deployed(project, self.service, self.launchdarkly, project.make("deploy", f"FRONT={front}"))

    def another_clone(self, project: Project) -> Project:
        """Of the same commit: without what git ignores, Chalice's record of what is deployed above all."""
        folder = self.folder / f"{project.stage}-{time.monotonic_ns()}"
        return Project(project.folder, folder, project.stage, self.account, self.programs)

    def _create_queues(self) -> None:
        """Those that handlers which somebody has added to the app listen to: they must be there before a deployment."""
        for source in import_app().app.event_sources:
            if queue := getattr(source, "queue", None):
                self.account.client("sqs").create_queue(QueueName=queue)


def _in_a_vpc(policy: Json) -> Json:
    """The policy as docs/stores.md changes it for Redis: network interfaces instead of the table."""
    names = ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DeleteNetworkInterface")
    connect = {"Effect": "Allow", "Action": [f"ec2:{name}" for name in names], "Resource": ["*"]}
    others = [each for each in policy["Statement"] if not each["Action"][0].startswith("dynamodb:")]
    return {**policy, "Statement": [*others, connect]}


class Project:
    """A copy of the ``packaged`` project in ``folder``, in which a user has filled in ``stage``."""

    def __init__(self, packaged: Path, folder: Path, stage: str, aws: Aws, programs: Path) -> None:
        self.folder = folder
        self.stage = stage
        self.calls: set[str] = set()
        """The actions that AWS was asked for by the last `make`."""
        self._aws = aws
        self._programs = programs
        shutil.copytree(packaged, folder, ignore=shutil.ignore_patterns("deployed"))

    def configure(self, variables: dict[str, str | None], **settings: object) -> None:
        """Change the stage in config.json; a variable that is None is taken out."""
        path = self.folder / ".chalice" / "config.json"
        config = json.loads(path.read_text())
        stage = config["stages"][self.stage]
        environment = {**stage["environment_variables"], **variables}
        stage["environment_variables"] = {name: value for name, value in environment.items() if value is not None}
        stage.update(settings)
        path.write_text(json.dumps(config))
        if "REDIS_URL" in variables:
            for policy in path.parent.glob(f"policy-{self.stage}*.json"):
                policy.write_text(json.dumps(_in_a_vpc(json.loads(policy.read_text()))))

    def make(self, target: str, *options: str) -> str:
        """`make TARGET` for the stage; what it printed. The package is there, and is the same for all stages."""
        arguments = [target, f"STAGE={self.stage}", *options, "--old-file", "package"]
        with recorded_calls() as self.calls:
            return make(self.folder, *arguments, environment=self._aws.environment, programs=self._programs)


@contextmanager
def enforced(aws: Aws) -> Iterator[None]:
    """From here on every request needs a valid signature and a policy that allows it."""
    _enforce_after(aws, "0")
    try:
        yield
    finally:
        _enforce_after(aws, "inf")


def _enforce_after(aws: Aws, requests_let_through: str) -> None:
    requests.post(f"{aws.uri}/moto-api/reset-auth", data=requests_let_through, timeout=60).raise_for_status()
