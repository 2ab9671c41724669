"""An account that stages are deployed to, for all tests of a module: a deployment takes half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.aws import Aws
from tests.support.deployment import Deployments
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.packages import Library, built_library, packaged_project
from tests.support.warm_programs import warm_programs

if TYPE_CHECKING:
    from tests.support.lambda_service import LambdaService


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture(scope="session")
def packaged() -> Path:
    """A copy of the project after `make package`, for all processes of the tests; not to be changed."""
    return packaged_project()


@pytest.fixture(scope="session")
def library() -> Library:
    """The wheel and the layer for this Python, for all processes of the tests; not to be changed."""
    return built_library()


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder with `python` and `chalice` that have imported boto3 and Chalice before they start."""
    with warm_programs() as folder:
        yield folder


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with closing(DynamoDb()) as dynamodb:
        yield dynamodb


@pytest.fixture(scope="module")
def service(account: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaService]:
    from tests.support.lambda_service import deployable  # of the models of moto, which take seconds to load

    with deployable(account, tmp_path_factory.mktemp("var-task")) as service:
        yield service


@pytest.fixture(scope="module")
def deployments(
    account: Aws, service: LambdaService, packaged: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployments]:
    launchdarkly = FakeLaunchDarkly()
    yield Deployments(account, service, launchdarkly, packaged, tmp_path_factory.mktemp("projects"), programs)
    launchdarkly.close()
