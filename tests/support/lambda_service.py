"""What moto lacks to deploy to it: a Lambda that runs what was uploaded, and checks of policies by resource.

Importing this module takes seconds, so only the fixture that needs it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from moto.apigateway.models import APIGatewayBackend
from moto.awslambda.models import LambdaFunction, LayerVersion, lambda_backends
from moto.core.exceptions import JsonRESTError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.responses import DynamoHandler
from moto.logs.responses import LogsResponse
from moto.ssm.responses import SimpleSystemManagerResponse

from tests.support.aws import Aws
from tests.support.lambda_runtime import Function, InvocationError
from tests.support.packages import lambda_runtime, unzip_read_only

Json = dict[str, Any]


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
        backend = lambda_backends[DEFAULT_ACCOUNT_ID][self._aws.region]
        layers = [self._unzipped(backend.layers_versions_by_arn(str(each["Arn"]))) for each in function.layers]
        environment = {
            **function.environment_vars,
            **self._aws.credentials_of(function.role),
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        }
        return Function(self._unzipped(function), str(function.handler), environment, self._runtime, layers=layers)

    def _unzipped(self, uploaded: LambdaFunction | LayerVersion | None) -> Path:
        """What was uploaded, on a read-only path."""
        assert uploaded is not None
        folder = self._folder / uploaded.code_sha_256.replace("/", "-")
        return folder if folder.exists() else unzip_read_only(BytesIO(uploaded.code_bytes), folder)


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
