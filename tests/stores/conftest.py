"""The stores, each a real server, DynamoDB by two emulators, and the app over each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context
from ldclient.feature_store import CacheConfig
from ldclient.integrations import DynamoDB

from tests.support.app import Environment
from tests.support.dynamodb import DynamoDb
from tests.support.dynamodb_emulators import Dynalite, Moto
from tests.support.stores import Store, open_store

OpenStore = Callable[..., Store]
OpenSdk = Callable[..., Any]


@pytest.fixture(scope="session")
def dynamodb_server() -> Iterator[DynamoDb]:
    """Of the two emulators the one that is strict and quick."""
    server = DynamoDb(Dynalite())
    yield server
    server.close()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[DynamoDb]:
    server = DynamoDb(Moto())
    yield server
    server.close()


@pytest.fixture
def dynamodb(dynamodb_server: DynamoDb) -> Iterator[DynamoDb]:
    dynamodb_server.reset()
    yield dynamodb_server
    dynamodb_server.reset()
    dynamodb_server.resume()


@pytest.fixture
def dynamodb_environment(dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return _environment_of(dynamodb, monkeypatch, tmp_path)


@pytest.fixture
def moto_environment(moto_server: DynamoDb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return _environment_of(moto_server, monkeypatch, tmp_path)


def _environment_of(dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """The settings of an empty table; AWS's own are those of this process, where the client looks for them."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody has configured AWS
    for name, value in dynamodb.environment.items():
        monkeypatch.setenv(name, value)
    return {"DYNAMODB_TABLE": dynamodb.create_table(), **dynamodb.environment}


@pytest.fixture
def redis_environment(redis_url: str) -> Environment:
    return {"REDIS_URL": redis_url}


@pytest.fixture(params=["redis", "dynamodb", "moto"])
def store_environment(request: pytest.FixtureRequest) -> Environment:
    """The settings that name an empty store; each test runs over all."""
    environment: Environment = request.getfixturevalue(f"{request.param}_environment")
    return environment


def over_store(environment: Environment, store_environment: Environment) -> Environment:
    """The app's environment, over this store instead of Valkey."""
    return {name: value for name, value in environment.items() if name != "REDIS_URL"} | store_environment


@pytest.fixture
def open_another(store_environment: Environment) -> OpenStore:
    """Opens the store under test as another function instance would; with another ``timing``, if given."""
    return lambda prefix="launchdarkly", **options: open_store({**store_environment, "STORE_PREFIX": prefix}, **options)


@pytest.fixture
def store(open_another: OpenStore) -> Store:
    return open_another()


@pytest.fixture
def open_sdk(dynamodb_environment: Environment) -> OpenSdk:
    """Opens an SDK client over its own DynamoDB store, without a cache; to be closed by ``with``."""

    @contextmanager
    def open_client(prefix: str = "launchdarkly", **config: Any) -> Iterator[LDClient]:
        feature_store = DynamoDB.new_feature_store(
            dynamodb_environment["DYNAMODB_TABLE"], prefix=prefix, caching=CacheConfig.disabled()
        )
        with LDClient(
            Config("sdk-key", feature_store=feature_store, send_events=False, diagnostic_opt_out=True, **config)
        ) as client:
            yield client

    return open_client


def evaluated_by(client: LDClient, user: dict[str, Any]) -> dict[str, Any]:
    """What an SDK client says, in the shape of ``/evaluate?withReasons=true``."""
    state = client.all_flags_state(Context.from_dict(user), with_reasons=True)
    assert state.valid
    answer = state.to_json_dict()
    return {key: {"value": answer[key], **meta} for key, meta in answer["$flagsState"].items()}
