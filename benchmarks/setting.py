"""What every measurement needs: a filled store, deployment packages, and the events to invoke them with."""

from __future__ import annotations

import functools
import json
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ldclient.integrations import DynamoDB, Redis
from ldclient.interfaces import FeatureStore

from benchmarks.environments import Json, environment
from benchmarks.link import Link
from benchmarks.packages import (
    RUNTIME_PROGRAM,
    authorities,
    baseline_package,
    certificates,
    our_layer,
    our_package,
    sdk_layer,
)
from chalicelib.data_set import DataSet, fetched_item
from chalicelib.refresh.refresher import Refresher
from chalicelib.timing import Timing
from tests.support.data import PROJECT
from tests.support.dynamodb import DynamoDb
from tests.support.dynamodb_emulators import Dynalite
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.lambda_runtime import Function
from tests.support.packages import lambda_runtime
from tests.support.stores import Store, open_store
from tests.support.valkey import ValkeyServer, running_valkey

CONTEXT = {"kind": "user", "key": "user-1", "email": "anna@example.com", "country": "DE"}
PATIENT = Timing(
    answer_seconds=600,
    lock_seconds=300,
    write_lock_seconds=300,
    data_set_seconds=60,
    fetch_limit_seconds=250,
    redis_connect_seconds=30,
    redis_command_seconds=60,
)
"""For a refresh whose time is measured, whatever it takes."""

DYNAMODB_HOST = "dynamodb.us-east-1.amazonaws.com"
"""Leads to this machine, in functions (``runtime/amazon_names.py``): some of our code is for Amazon's names alone."""

FLAG = "flag-00007"
ROUND_TRIP_SECONDS = 0.02
"""To LaunchDarkly and back."""

TEN_FLAGS = [f"flag-{number:05d}" for number in range(10, 20)]


class Network(NamedTuple):
    """What is between a function and its store."""

    round_trip_seconds: float = 0.0
    bytes_per_second: float | None = None

    @classmethod
    def of_megabits(cls, megabits_per_second: int, round_trip_seconds: float) -> Network:
        return cls(round_trip_seconds, megabits_per_second * 1e6 / 8)


USUAL = {"redis": Network(), "dynamodb": Network(round_trip_seconds=0.004)}
"""Redis in the same building, DynamoDB some milliseconds away, and behind TLS."""


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
        """The settings that name the store, for this process."""

    @property
    @abstractmethod
    def distant_store_variables(self) -> dict[str, str]:
        """The settings of a function, which is as far away as the network says."""

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
        return {**self.distant_store_variables, **self._other_variables}

    @property
    def local_variables(self) -> dict[str, str]:
        """The same for the app in a process that has no network in between."""
        return {**self.store_variables, **self._other_variables}

    @property
    def _other_variables(self) -> dict[str, str]:
        return {
            "LAUNCHDARKLY_SDK_KEY": "sdk-key",
            "LAUNCHDARKLY_STREAM_URI": self.launchdarkly.uri,
            "EVALUATE_AUTH": "none",
        }

    def our_store(self, prefix: str = "launchdarkly") -> Store:
        return open_store({**self.local_variables, "STORE_PREFIX": prefix}, PATIENT)

    def fill(self, data: Json) -> None:
        """Through our own refresh, in LaunchDarkly's format: both sides read the same store."""
        self.launchdarkly.replace(**data)
        Refresher(self.our_store().writer, lambda _: as_data_set(data), "launchdarkly", PATIENT).reconcile(force=True)


class RedisPlace(Place):
    baseline = "article"

    def __init__(self, server: ValkeyServer, port: int, launchdarkly: FakeLaunchDarkly, flag_count: int) -> None:
        """``port`` is where functions find the server."""
        super().__init__(launchdarkly, flag_count)
        self._url = server.url
        self._port = port
        self._client = server.client()

    @property
    def store_variables(self) -> dict[str, str]:
        return {"REDIS_URL": self._url}

    @property
    def distant_store_variables(self) -> dict[str, str]:
        return {"REDIS_URL": f"redis://127.0.0.1:{self._port}"}

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
    """Functions come by a long way, by TLS and as Amazon's endpoint; this process comes by a short one."""

    baseline = "article_dynamodb"

    def __init__(
        self, dynamodb: DynamoDb, near: Link, far: Link, tls: Link, launchdarkly: FakeLaunchDarkly, flag_count: int
    ) -> None:
        super().__init__(launchdarkly, flag_count)
        self._dynamodb = dynamodb
        self._near = near
        self._far = far
        self._tls = tls
        self._table = dynamodb.create_table()
        os.environ.update(self.store_variables)  # where AWS's SDK looks, in this process

    @property
    def store_variables(self) -> dict[str, str]:
        return self._variables_at(f"http://127.0.0.1:{self._near.port}")

    @property
    def distant_store_variables(self) -> dict[str, str]:
        return self._variables_at(f"https://{DYNAMODB_HOST}:{self._far.port}")

    def _variables_at(self, endpoint: str) -> dict[str, str]:
        return {**self._dynamodb.environment, "AWS_ENDPOINT_URL": endpoint, "DYNAMODB_TABLE": self._table}

    def sdk_feature_store(self, prefix: str) -> FeatureStore:
        return DynamoDB.new_feature_store(self._table, prefix=prefix)

    def empty(self) -> None:
        self._table = self._dynamodb.create_table()

    def start_counting(self) -> None:
        self._near.passed()
        self._tls.passed()

    def requests(self) -> Counter[str]:
        return Counter(self._near.passed().operations) + Counter(self._tls.passed().operations)


@contextmanager
def filled_store(kind: str, flag_count: int, network: Network | None = None) -> Iterator[Place]:
    """``kind`` is redis (a real Valkey server) or dynamodb (Dynalite)."""
    launchdarkly = FakeLaunchDarkly(delay_seconds=3 * ROUND_TRIP_SECONDS)  # TCP, TLS and the request
    make_place = _redis_place if kind == "redis" else _dynamodb_place
    with make_place(launchdarkly, flag_count, network or USUAL[kind]) as place:
        place.fill(environment(flag_count))
        yield place
    launchdarkly.close()


@contextmanager
def _redis_place(launchdarkly: FakeLaunchDarkly, flag_count: int, network: Network) -> Iterator[Place]:
    with running_valkey() as server:
        if network == Network():
            yield RedisPlace(server, server.port, launchdarkly, flag_count)
        else:
            with Link(server.port, *network) as link:
                yield RedisPlace(server, link.port, launchdarkly, flag_count)


@contextmanager
def _dynamodb_place(launchdarkly: FakeLaunchDarkly, flag_count: int, network: Network) -> Iterator[Place]:
    dynamodb = DynamoDb(Dynalite())
    port = dynamodb.emulator_address[1]
    keys = certificates()
    with (
        Link(port) as near,
        Link(port, certificate=(keys.certificate, keys.key)) as tls,
        Link(tls.port, *network) as far,
    ):
        yield DynamoDbPlace(dynamodb, near, far, tls, launchdarkly, flag_count)
    dynamodb.close()


def as_data_set(data: Json) -> DataSet:
    return {
        kind: {key: fetched_item(item) for key, item in data[name].items()}
        for kind, name in (("features", "flags"), ("segments", "segments"))
    }


class Packages:
    """What functions are made of, ours and the baselines', each as its builder writes it.

    ``plain/...`` is a handler with nothing of Chalice, and a layer.
    """

    OURS = ("serverless-flags", "plain/ours")

    def __init__(self) -> None:
        self._runtime = lambda_runtime()

    @functools.cache  # noqa: B019 (one instance, for the whole run)
    def folder(self, name: str) -> Path:
        if name.startswith("plain/"):
            return PROJECT / "benchmarks" / name.partition(", ")[0]
        return our_package() if name == "serverless-flags" else baseline_package(name)

    @functools.cache  # noqa: B019 (one instance, for the whole run)
    def layers(self, name: str) -> tuple[Path, ...]:
        name, _, compiled = name.partition(", ")
        if name == "plain/ours":
            return (our_layer(),)
        return (sdk_layer(compiled),) if name == "plain/sdk" else ()

    def function(
        self, name: str, variables: dict[str, str], handler: str = "app.on_event", prefix: Sequence[str] = ()
    ) -> Function:
        """``prefix`` is a command that runs it, such as a profiler."""
        if name not in self.OURS:  # a setting by which our code would leave the work to AWS's SDK
            variables = {**variables, "AWS_CA_BUNDLE": str(authorities())}
        return Function(
            self.folder(name),
            handler,
            variables,
            self._runtime,
            layers=self.layers(name),
            prefix=prefix,
            program=RUNTIME_PROGRAM,
        )


def invocation(**options: Any) -> Json:
    """An ``on_event`` event; the baselines understand ``context`` and ``flag``."""
    return {"context": CONTEXT, **options}


def arriving_now(event: Json) -> Json:
    """With the time of its arrival, which API Gateway tells and Lambda does not."""
    if "requestContext" not in event:
        return event
    return {**event, "requestContext": {**event["requestContext"], "requestTimeEpoch": int(time.time() * 1000)}}


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
