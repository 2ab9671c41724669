"""What every measurement needs: a filled store, deployment packages, and the events to invoke them with."""

from __future__ import annotations

import atexit
import functools
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldclient.integrations import DynamoDB, Redis
from ldclient.interfaces import FeatureStore

from benchmarks.environments import Json, environment
from benchmarks.packages import baseline_package, our_package
from chalicelib.data_set import DataSet, fetched_item
from chalicelib.refresh.refresher import Refresher
from chalicelib.timing import Timing
from tests.support.dynamodb import DynamoDb
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.lambda_runtime import Function
from tests.support.packages import lambda_runtime
from tests.support.stores import Store, open_store
from tests.support.valkey import ValkeyServer, running_valkey

CONTEXT = {"kind": "user", "key": "user-1", "email": "anna@example.com", "country": "DE"}
PATIENT = Timing(answer_seconds=600, lock_seconds=300, write_lock_seconds=300)
"""For a refresh whose time is measured, whatever it takes."""

FLAG = "flag-00007"
ROUND_TRIP_SECONDS = 0.02
"""To LaunchDarkly and back."""

TEN_FLAGS = [f"flag-{number:05d}" for number in range(10, 20)]


class Place(ABC):
    """A store with ``flag_count`` flags, and a fake LaunchDarkly that serves the same, 20 ms away."""

    baseline: str
    """The package of the article's handler over this store."""

    def __init__(self, launchdarkly: FakeLaunchDarkly, flag_count: int) -> None:
        self.launchdarkly = launchdarkly
        self.flag_count = flag_count

    @property
    @abstractmethod
    def store_variables(self) -> dict[str, str]:
        """The settings that name the store."""

    @abstractmethod
    def sdk_feature_store(self, prefix: str) -> FeatureStore:
        """The SDK's own store over the same server."""

    @abstractmethod
    def empty(self) -> None: ...

    @abstractmethod
    def start_counting(self) -> None: ...

    @abstractmethod
    def requests(self) -> Counter[str]:
        """Commands or operations since then, by name."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a function, ours or a baseline."""
        return {
            **self.store_variables,
            "LAUNCHDARKLY_SDK_KEY": "sdk-key",
            "LAUNCHDARKLY_STREAM_URI": self.launchdarkly.uri,
            "EVALUATE_AUTH": "none",
        }

    def our_store(self, prefix: str = "launchdarkly") -> Store:
        return open_store({**self.variables, "STORE_PREFIX": prefix}, PATIENT)

    def fill(self, data: Json) -> None:
        """Through our own refresh, in LaunchDarkly's format: both sides read the same store."""
        self.launchdarkly.replace(**data)
        Refresher(self.our_store().writer, lambda _: as_data_set(data), "launchdarkly", PATIENT).reconcile(force=True)


class RedisPlace(Place):
    baseline = "article"

    def __init__(self, server: ValkeyServer, launchdarkly: FakeLaunchDarkly, flag_count: int) -> None:
        super().__init__(launchdarkly, flag_count)
        self._url = server.url
        self._client = server.client()

    @property
    def store_variables(self) -> dict[str, str]:
        return {"REDIS_URL": self._url}

    def sdk_feature_store(self, prefix: str) -> FeatureStore:
        return Redis.new_feature_store(url=self._url, prefix=prefix)

    def empty(self) -> None:
        self._client.flushall()

    def start_counting(self) -> None:
        self._client.config_resetstat()

    def requests(self) -> Counter[str]:
        stats = self._client.info("commandstats")
        ours = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        greetings = ("config|resetstat", "info", "client|setinfo", "hello")
        return Counter({name: calls for name, calls in ours.items() if name not in greetings})


class DynamoDbPlace(Place):
    baseline = "article_dynamodb"

    def __init__(self, dynamodb: DynamoDb, launchdarkly: FakeLaunchDarkly, flag_count: int) -> None:
        super().__init__(launchdarkly, flag_count)
        self._dynamodb = dynamodb
        self._table = dynamodb.create_table()

    @property
    def store_variables(self) -> dict[str, str]:
        return {"DYNAMODB_TABLE": self._table, **self._dynamodb.environment}

    def sdk_feature_store(self, prefix: str) -> FeatureStore:
        return DynamoDB.new_feature_store(self._table, prefix=prefix)

    def empty(self) -> None:
        self._table = self._dynamodb.create_table()

    def start_counting(self) -> None:
        self._dynamodb.operations.clear()

    def requests(self) -> Counter[str]:
        return Counter(self._dynamodb.operations)


@contextmanager
def filled_store(kind: str, flag_count: int) -> Iterator[Place]:
    """``kind`` is redis (a real Valkey server) or dynamodb (moto's)."""
    launchdarkly = FakeLaunchDarkly(delay_seconds=3 * ROUND_TRIP_SECONDS)  # TCP, TLS and the request
    with (
        _redis_place(launchdarkly, flag_count)
        if kind == "redis"
        else _dynamodb_place(launchdarkly, flag_count) as place
    ):
        place.fill(environment(flag_count))
        yield place
    launchdarkly.close()


@contextmanager
def _redis_place(launchdarkly: FakeLaunchDarkly, flag_count: int) -> Iterator[Place]:
    with running_valkey() as server:
        yield RedisPlace(server, launchdarkly, flag_count)


@contextmanager
def _dynamodb_place(launchdarkly: FakeLaunchDarkly, flag_count: int) -> Iterator[Place]:
    yield DynamoDbPlace(_dynamodb(), launchdarkly, flag_count)


@functools.cache
def _dynamodb() -> DynamoDb:
    """One server for the whole run: moto's tables are those of the process."""
    dynamodb = DynamoDb()
    os.environ.update(dynamodb.environment)  # where AWS's SDK looks, in this process
    atexit.register(dynamodb.close)
    return dynamodb


def as_data_set(data: Json) -> DataSet:
    return {
        kind: {key: fetched_item(item) for key, item in data[name].items()}
        for kind, name in (("features", "flags"), ("segments", "segments"))
    }


class Packages:
    """The deployment packages, ours and the baselines', each as its builder writes it."""

    def __init__(self) -> None:
        self._runtime = lambda_runtime()

    @functools.cache  # noqa: B019 (one instance, for the whole run)
    def folder(self, name: str) -> Path:
        return our_package() if name == "serverless-flags" else baseline_package(name)

    def function(self, name: str, variables: dict[str, str], handler: str = "app.on_event") -> Function:
        return Function(self.folder(name), handler, variables, self._runtime)


def invocation(**options: Any) -> Json:
    """An ``on_event`` event; the baselines understand ``context`` and ``flag``."""
    return {"context": CONTEXT, **options}


def http_request(path: str, resource: str, headers: dict[str, str] | None = None, **path_parameters: str) -> Json:
    """An event as API Gateway's REST API sends it."""
    return {
        "resource": resource,
        "path": path,
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "multiValueQueryStringParameters": None,
        "pathParameters": path_parameters or None,
        "stageVariables": None,
        "requestContext": {"httpMethod": "POST", "resourcePath": resource, "identity": {"sourceIp": "127.0.0.1"}},
        "body": json.dumps(CONTEXT),
        "isBase64Encoded": False,
    }
