"""An account that stages are deployed to, for all tests of a module: a deployment takes half a minute."""

from __future__ import annotations

import os
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

if TYPE_CHECKING:
    from tests.support.lambda_service import LambdaService


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after `make package`, for all processes of this run; not to be changed."""
    return packaged_project(_folder_of_the_run(tmp_path_factory))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The wheel and the layer for this Python, for all processes of this run; not to be changed."""
    return built_library(_folder_of_the_run(tmp_path_factory))


def _folder_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


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
    account: Aws, service: LambdaService, packaged: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployments]:
    launchdarkly = FakeLaunchDarkly()
    yield Deployments(account, service, launchdarkly, packaged, tmp_path_factory.mktemp("projects"))
    launchdarkly.close()
