"""An account that stages are deployed to, for all tests of a module: a deployment takes half a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aws import Aws
from tests.support.deployment import Deployments
from tests.support.fake_launchdarkly import FakeLaunchDarkly


@pytest.fixture(scope="module")
def account() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def deployments(account: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployments]:
    from tests.support.lambda_service import deployable  # of the models of moto, which take seconds to load

    launchdarkly = FakeLaunchDarkly()
    with deployable(account, tmp_path_factory.mktemp("var-task")) as service:
        yield Deployments(account, service, launchdarkly, tmp_path_factory.mktemp("projects"))
    launchdarkly.close()
