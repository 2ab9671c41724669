"""A stage deployed by `make deploy` to the AWS of the tests, whose Lambda runs what was uploaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from moto.apigateway.models import APIGatewayBackend
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.core.exceptions import JsonRESTError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.responses import DynamoHandler
from moto.logs.responses import LogsResponse
from moto.ssm.responses import SimpleSystemManagerResponse

from benchmarks.packages import lambda_runtime
from tests.support.aws import Aws
from tests.support.data import PROJECT
from tests.support.lambda_runtime import Function, InvocationError

Json = dict[str, Any]

_DEPLOYED_FROM = ("app.py", "chalicelib", "requirements.txt", ".chalice", "tools", "Makefile")


class Project:
    """A copy of this project in ``folder``, in which a user has filled in ``stage``."""

    def __init__(self, folder: Path, stage: str, aws: Aws) -> None:
        self.folder = folder
        self.stage = stage
        self._aws = aws
        for name in _DEPLOYED_FROM:
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            copy(PROJECT / name, folder / name)
        for left_over in ("deployed", "deployments"):
            shutil.rmtree(folder / ".chalice" / left_over, ignore_errors=True)

    def configure(self, variables: dict[str, str | None], **settings: object) -> None:
        """Change the stage in config.json; a variable that is None is taken out."""
        path = self.folder / ".chalice" / "config.json"
        config = json.loads(path.read_text())
        stage = config["stages"][self.stage]
        environment = {**stage["environment_variables"], **variables}
        stage["environment_variables"] = {name: value for name, value in environment.items() if value is not None}
        stage.update(settings)
        path.write_text(json.dumps(config))

    def make(self, target: str) -> str:
        """`make TARGET` for the stage; what it printed. Fails the test when it fails."""
        tools = [f"BIN={Path(sys.executable).parent}", "--old-file", ".venv/installed"]
        command = ["make", "--no-print-directory", target, f"STAGE={self.stage}", *tools]
        environment = {**os.environ, **self._aws.environment}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class LambdaService:
    """What moto's Lambda lacks: running functions, in one instance each, with their environment and their role.

    An instance is the package as it was uploaded, unzipped on a read-only path, under Lambda's runtime client; only
    that and what Lambda's own Python has are on its path.
    """

    def __init__(self, aws: Aws, folder: Path) -> None:
        self._aws = aws
        self._folder = folder
        self._runtime = lambda_runtime()
        self._stack = ExitStack()
        self._instances: dict[str, Function] = {}

    def instance(self, name: str) -> Function:
        """The instance of the function with this name; its process starts with the first event."""
        if name not in self._instances:
            function = lambda_backends[DEFAULT_ACCOUNT_ID][self._aws.region].get_function(name)
            self._instances[name] = self._stack.enter_context(self._new_instance(function))
        return self._instances[name]

    def packages(self) -> set[Path]:
        """Where the packages of the instances are."""
        return set(self._folder.iterdir())

    def stop(self) -> None:
        """End all instances; the next invocation is a cold start."""
        self._stack.close()
        self._instances.clear()

    def invoke(self, function: LambdaFunction, event: object) -> tuple[str, bool, str]:
        """In the words of moto: the payload, whether it is an error, and the log."""
        instance = self.instance(function.function_name)
        try:
            return json.dumps(instance.invoke(event).payload), False, instance.log()
        except InvocationError as error:
            return str(error).partition("\n")[0], True, instance.log()

    def _new_instance(self, function: LambdaFunction) -> Function:
        package = self._folder / function.code_sha_256.replace("/", "-")
        if not package.exists():
            _unzip_read_only(function.code_bytes, package)
        environment = {
            **function.environment_vars,
            **self._aws.credentials_of(function.role),
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        }
        return Function(package, str(function.handler), environment, self._runtime)


def _unzip_read_only(package: bytes, target: Path) -> None:
    with zipfile.ZipFile(BytesIO(package)) as archive:
        archive.extractall(target)
    for path in [target, *target.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)


@contextmanager
def deployable(aws: Aws, folder: Path) -> Iterator[LambdaService]:
    """Make moto's server one that `chalice deploy` can deploy to, and whose functions run."""
    service = LambdaService(aws, folder)
    import_api, put_api = APIGatewayBackend.import_rest_api, APIGatewayBackend.put_rest_api
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LambdaFunction, "_invoke_lambda", lambda function, event=None: service.invoke(function, event))
        patch.setattr(APIGatewayBackend, "import_rest_api", lambda self, doc, *rest: import_api(self, _v3(doc), *rest))
        patch.setattr(
            APIGatewayBackend, "put_rest_api", lambda self, key, doc, **rest: put_api(self, key, _v3(doc), **rest)
        )
        for handler in (DynamoHandler, LogsResponse, SimpleSystemManagerResponse):
            patch.setattr(handler, "_determine_resource", _resource, raising=False)
        patch.setattr("moto.iam.access_control.AccessDeniedError", _denied)
        yield service
    service.stop()


def _v3(document: Json) -> Json:
    """API Gateway takes Chalice's Swagger 2.0, without a description; moto wants OpenAPI 3, with one."""
    document = {name: value for name, value in document.items() if name != "swagger"}
    return {**document, "openapi": "3.0.1", "info": {"description": "", **document["info"]}}


def _resource(request: Any) -> str:
    """The ARN that a request is about. Without this, moto checks the action of a policy and not its resource."""
    body = json.loads(request.raw_body)
    place = f"{request.region}:{request.current_account}"
    if table := body.get("TableName") or next(iter(body.get("RequestItems", {})), None):
        return f"arn:aws:dynamodb:{place}:table/{table}"
    if group := body.get("logGroupName"):
        return f"arn:aws:logs:{place}:log-group:{group}"
    if parameter := body.get("Name"):
        return f"arn:aws:ssm:{place}:parameter/{parameter.lstrip('/')}"
    return "*"


def _denied(user_arn: str, action: str) -> JsonRESTError:
    """As these services say it; moto's own answer is XML, which nobody who asks them reads."""
    return JsonRESTError("AccessDeniedException", f"User: {user_arn} is not authorized to perform: {action}")


@contextmanager
def enforced(aws: Aws) -> Iterator[None]:
    """From here on every request needs a valid signature and a policy that allows it."""
    _enforce_after(aws, "0")
    try:
        yield
    finally:
        _enforce_after(aws, "inf")


def _enforce_after(aws: Aws, requests_let_through: str) -> None:
    requests.post(f"{aws.uri}/moto-api/reset-auth", data=requests_let_through, timeout=30).raise_for_status()
