"""The layer, deployed by its template, under a plain handler that has nothing else, over a real Valkey and DynamoDB."""

from __future__ import annotations

import importlib.util
import io
import json
import marshal
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chalicelib.refresh.refresher import Refresher
from tests.support.aws import Aws
from tests.support.data import PROJECT, boolean_flag
from tests.support.deployment import enforced
from tests.support.lambda_runtime import Function
from tests.support.packages import Library, make
from tests.support.project import copy_project
from tests.support.stores import data_set, open_store

if TYPE_CHECKING:
    from tests.support.lambda_service import LambdaService

Json = dict[str, Any]

HANDLER = PROJECT / "examples" / "plain_function" / "handler.py"
TEMPLATE = PROJECT / "infrastructure" / "layer.yaml"
TABLE = "serverless-flags-production"
ROLE = "orders"
EVENT = {"customer": "anna"}
CHECKED_HASH = 0b11
"""The flags of a .pyc that is validated by the hash of its source (PEP 552)."""


@pytest.fixture(scope="module")
def contents(library: Library) -> dict[str, bytes]:
    with zipfile.ZipFile(library.layer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_module_of_the_layer_has_its_bytecode(contents: dict[str, bytes]) -> None:
    modules = [name for name in contents if name.endswith(".py")]
    assert {"python/serverless_flags/flags.py", "python/ldclient/client.py"} <= set(modules)
    for name in modules:
        compiled = contents[importlib.util.cache_from_source(name)]
        assert compiled[:4] == importlib.util.MAGIC_NUMBER, name
        assert int.from_bytes(compiled[4:8], "little") == CHECKED_HASH, name
        assert compiled[8:16] == importlib.util.source_hash(contents[name]), name
        assert marshal.loads(compiled[16:]).co_filename == f"/opt/{name}"


def test_the_layer_holds_what_the_metadata_names_and_nothing_besides(library: Library) -> None:
    packages = library.unpacked_layer / "python"
    installed = {each.name: each for each in distributions(path=[str(packages)])}
    found: dict[str, Distribution] = {canonicalize_name(name): each for name, each in installed.items()}
    assert set(needed_by("serverless-flags", found)) == set(found)
    assert (packages / "serverless_flags" / "stores" / "amazon-roots" / "ce5e74ef.0").exists()
    assert (packages / "serverless_flags" / "py.typed").exists()


def needed_by(name: str, found: Mapping[str, Distribution]) -> Iterator[str]:
    """The distribution and all that it requires, once it is found in a version that will do."""
    yield name
    for text in found[name].requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            assert requirement.specifier.contains(found[canonicalize_name(requirement.name)].version), text
            yield from needed_by(canonicalize_name(requirement.name), found)


def test_building_twice_gives_the_same_layer(library: Library, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "copy")
    make(project, "layer")
    assert (project / "dist" / library.layer.name).read_bytes() == library.layer.read_bytes()
    assert not list(project.rglob("*.egg-info"))
    assert not (project / "chalicelib" / "stores" / "amazon-roots").exists()


class PlainFunction:
    """A function of another repository, deployed to ``account`` with the layer from the template's stack."""

    def __init__(self, account: Aws, service: LambdaService, layer: Path) -> None:
        self._account = account
        self._service = service
        account.client("s3").create_bucket(
            Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": account.region}
        )
        account.client("s3").put_object(Bucket="artifacts", Key=layer.name, Body=layer.read_bytes())
        self.policy_arn = self._deploy_template(Bucket="artifacts", Key=layer.name, TableName=TABLE)["ReadFlagsArn"]
        (published,) = account.client("lambda").list_layers()["Layers"]  # moto's stack does not give away its ARN
        self.layer_arn = published["LatestMatchingVersion"]["LayerVersionArn"]
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]}
        role = account.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
        self._role_arn = role["Role"]["Arn"]

    def _deploy_template(self, **parameters: str) -> dict[str, str]:
        cloudformation = self._account.client("cloudformation")
        listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        cloudformation.create_stack(StackName="layer", TemplateBody=TEMPLATE.read_text(), Parameters=listed)
        (stack,) = cloudformation.describe_stacks(StackName="layer")["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def deploy(self, name: str, variables: Mapping[str, str]) -> None:
        self._account.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=self._role_arn,
            Handler="handler.handle",
            Code={"ZipFile": zipped(HANDLER)},
            Layers=[self.layer_arn],
            Environment={"Variables": dict(variables)},
        )

    def policy(self) -> Json:
        """The document that the template has made."""
        iam = self._account.client("iam")
        version = iam.get_policy(PolicyArn=self.policy_arn)["Policy"]["DefaultVersionId"]
        document: Json = iam.get_policy_version(PolicyArn=self.policy_arn, VersionId=version)["PolicyVersion"][
            "Document"
        ]
        return document

    def put_policy(self, document: Json) -> None:
        """This alone is what the role may do."""
        self._account.client("iam").put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=json.dumps(document))

    def cold_instance(self, name: str) -> Function:
        """With the credentials of the role; its process starts with the first event."""
        self._service.stop()
        return self._service.instance(name)


def zipped(handler: Path) -> bytes:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.write(handler, handler.name)
    return package.getvalue()


@pytest.fixture(scope="module")
def plain_function(account: Aws, service: LambdaService, library: Library) -> PlainFunction:
    return PlainFunction(account, service, library.layer)


@pytest.fixture(scope="module")
def over_dynamodb(plain_function: PlainFunction, account: Aws) -> str:
    """The function's name."""
    account.create_table(TABLE)
    fill({"DYNAMODB_TABLE": TABLE, **account.environment})
    plain_function.deploy("over-dynamodb", {"DYNAMODB_TABLE": TABLE})
    return "over-dynamodb"


def fill(variables: Mapping[str, str]) -> None:
    data = data_set([boolean_flag("new-checkout")])
    Refresher(open_store(variables).writer, lambda _: data, "launchdarkly").reconcile(force=True)


def test_a_plain_handler_reads_redis(plain_function: PlainFunction, redis_url: str) -> None:
    fill({"REDIS_URL": redis_url})
    plain_function.deploy("over-redis", {"REDIS_URL": redis_url})
    instance = plain_function.cold_instance("over-redis")
    assert instance.invoke(EVENT).payload == {"checkout": "new"}
    assert instance.log() == ""


def test_a_plain_handler_reads_dynamodb_with_the_policy_of_the_template(
    plain_function: PlainFunction, over_dynamodb: str, account: Aws
) -> None:
    plain_function.put_policy(plain_function.policy())
    instance = plain_function.cold_instance(over_dynamodb)
    with enforced(account):
        assert instance.invoke(EVENT).payload == {"checkout": "new"}
    assert instance.log() == ""


@pytest.mark.parametrize("action", ["dynamodb:GetItem", "dynamodb:Query"])
def test_one_action_of_the_policy_is_not_enough_and_a_plain_handler_has_defaults(
    plain_function: PlainFunction, over_dynamodb: str, account: Aws, action: str
) -> None:
    account.forget_snapshot(TABLE)
    policy = plain_function.policy()
    (statement,) = policy["Statement"]
    assert statement["Action"] == ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
    plain_function.put_policy({**policy, "Statement": [{**statement, "Action": [action]}]})
    instance = plain_function.cold_instance(over_dynamodb)
    with enforced(account):
        assert instance.invoke(EVENT).payload == {"checkout": "old"}
    assert "AccessDeniedException" in instance.log()
