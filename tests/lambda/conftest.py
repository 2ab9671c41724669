"""An account that stages are deployed to, for all tests of a module: a deployment takes half a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws import Aws
from tests.support.deployment import Deployments
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.packages import packaged_project


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after `make package`, for all processes of this run; not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    return packaged_project(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="module")
def deployments(account: Aws, packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployments]:
    from tests.support.lambda_service import deployable  # of the models of moto, which take seconds to load

    launchdarkly = FakeLaunchDarkly()
    with deployable(account, tmp_path_factory.mktemp("var-task")) as service:
        yield Deployments(account, service, launchdarkly, packaged, tmp_path_factory.mktemp("projects"))
    launchdarkly.close()
