"""What reads and writes cost the store: requests, bytes, read units and ECPUs, counted by the server."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context
from ldclient.feature_store import CacheConfig
from ldclient.integrations import DynamoDB, Redis
from ldclient.interfaces import FeatureStore

from benchmarks.environments import Json, environment
from benchmarks.link import Link
from benchmarks.setting import CONTEXT, FLAG, PATIENT, as_data_set
from benchmarks.tables import Table
from chalicelib.refresh.refresher import Refresher
from tests.support.dynamodb import Answer, DynamoDb
from tests.support.dynamodb_emulators import Dynalite
from tests.support.stores import wiring_of
from tests.support.valkey import ValkeyServer, running_valkey

DOLLARS_PER_MILLION_READ_UNITS = 0.125
"""On demand, standard tables, us-east-1, as listed in November 2026: https://aws.amazon.com/dynamodb/pricing/on-demand/"""


class Cost(NamedTuple):
    """``read_units`` and ``write_units`` are DynamoDB's capacity units, or ECPUs and none with Redis."""

    requests: int
    to_store: int
    from_store: int
    read_units: float
    write_units: float = 0.0


class Meter(ABC):
    """An empty store whose server counts."""

    variables: Mapping[str, str]
    """The settings that name it."""

    @abstractmethod
    def cost_of(self, work: Callable[[], object]) -> Cost: ...

    @abstractmethod
    def sdk_feature_store(self) -> FeatureStore:
        """The SDK's own store over the same server, without its cache."""


class RedisMeter(Meter):
    """An ECPU is a command, or a KB of it: https://aws.amazon.com/elasticache/pricing/"""

    def __init__(self, server: ValkeyServer, link: Link) -> None:
        self.variables = {"REDIS_URL": f"redis://127.0.0.1:{link.port}"}
        self._client = server.client()
        self._link = link

    def cost_of(self, work: Callable[[], object]) -> Cost:
        self._client.config_resetstat()
        self._link.passed()
        work()
        passed = self._link.passed()
        stats = self._client.info("commandstats")
        greetings = ("cmdstat_config|resetstat", "cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello")
        requests = sum(stat["calls"] for name, stat in stats.items() if name not in greetings)
        ecpus = max(float(requests), (passed.to_store + passed.from_store) / 1024)
        return Cost(requests, passed.to_store, passed.from_store, ecpus)

    def sdk_feature_store(self) -> FeatureStore:
        return Redis.new_feature_store(url=self.variables["REDIS_URL"], caching=CacheConfig.disabled())


class DynamoDbMeter(Meter):
    """Dynalite tells the capacity that each request consumes."""

    def __init__(self, dynamodb: DynamoDb, link: Link) -> None:
        here = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{link.port}"}
        self.variables = {"DYNAMODB_TABLE": dynamodb.create_table(), **dynamodb.environment, **here}
        os.environ.update(self.variables)  # where AWS's SDK looks
        self._dynamodb = dynamodb
        self._link = link
        self._units = {"read": 0.0, "write": 0.0}
        dynamodb.fault = self._measured

    def _measured(self, operation: str, request: Json, forward: Callable[[Json], Answer]) -> Answer:
        status, answer = forward({**request, "ReturnConsumedCapacity": "TOTAL"})
        consumed = answer.pop("ConsumedCapacity", [])
        way = "read" if operation in ("BatchGetItem", "GetItem", "Query") else "write"
        self._units[way] += sum(
            each["CapacityUnits"] for each in (consumed if isinstance(consumed, list) else [consumed])
        )
        return status, answer

    def cost_of(self, work: Callable[[], object]) -> Cost:
        self._units = {"read": 0.0, "write": 0.0}
        self._dynamodb.operations.clear()
        self._link.passed()
        work()
        passed = self._link.passed()
        requests = len(self._dynamodb.operations)
        return Cost(requests, passed.to_store, passed.from_store, self._units["read"], self._units["write"])

    def sdk_feature_store(self) -> FeatureStore:
        table = self.variables["DYNAMODB_TABLE"]
        return DynamoDB.new_feature_store(table, prefix="launchdarkly", caching=CacheConfig.disabled())


@contextmanager
def meter(kind: str) -> Iterator[Meter]:
    if kind == "redis":
        with running_valkey() as server, Link(server.port) as link:
            yield RedisMeter(server, link)
    else:
        dynamodb = DynamoDb(Dynalite())
        with Link(dynamodb.port) as link:
            yield DynamoDbMeter(dynamodb, link)
        dynamodb.close()


def measure(kind: str, flag_count: int) -> dict[str, Cost]:
    """By what was done."""
    with meter(kind) as store:
        data = environment(flag_count)
        wiring = wiring_of(store.variables, PATIENT)
        refresher = Refresher(wiring.writer, lambda _: as_data_set(data), "launchdarkly", PATIENT)
        warm = wiring.snapshots
        costs = {"refresh, first fill": store.cost_of(lambda: refresher.reconcile(force=True))}
        costs["cold start"] = store.cost_of(warm.current)
        costs["warm request"] = store.cost_of(warm.current)
        data["flags"][FLAG].update(version=data["flags"][FLAG]["version"] + 1, on=not data["flags"][FLAG]["on"])
        costs["refresh, one flag changed"] = store.cost_of(lambda: refresher.reconcile(force=True))
        costs["reload, one flag changed"] = store.cost_of(warm.current)
        config = Config("sdk-key", feature_store=store.sdk_feature_store(), use_ldd=True, send_events=False)
        with LDClient(config) as client:
            user = Context.from_dict(CONTEXT)
            costs["(b) one flag"] = store.cost_of(lambda: client.variation(FLAG, user, None))
            costs["(b) all flags"] = store.cost_of(lambda: client.all_flags_state(user))
        return costs


def cost_of_reload(before: Json, after: Json) -> Cost:
    """Of the first request after a change, with Redis, without its look at the sync record."""
    data = {"now": before}
    with meter("redis") as store:
        wiring = wiring_of(store.variables, PATIENT)
        refresher = Refresher(wiring.writer, lambda _: as_data_set(data["now"]), "launchdarkly", PATIENT)
        refresher.reconcile(force=True)
        wiring.snapshots.current()
        check = store.cost_of(wiring.snapshots.current)
        data["now"] = after
        refresher.reconcile(force=True)
        both = store.cost_of(wiring.snapshots.current)
    return both._replace(requests=both.requests - check.requests, from_store=both.from_store - check.from_store)


def table(kind: str, measured: Mapping[int, Mapping[str, Cost]]) -> Table:
    rows = [
        (f"{count:,} flags, {what}", *_cells(kind, cost))
        for count, costs in measured.items()
        for what, cost in costs.items()
    ]
    if kind == "redis":
        return Table(
            "Requests and cost",
            "Commands and bytes, as the server and a proxy in front of it counted them, and ECPUs, of which "
            "ElastiCache Serverless counts one for each command and KB, whichever is more. (b) is the SDK's own store, "
            "without its cache.",
            ("", "commands", "KB sent", "KB received", "ECPUs"),
            tuple(rows),
        )
    return Table(
        "Requests and cost",
        "Requests and bytes, headers and base64 included but not TLS, and capacity units, as Dynalite counts them: a "
        "consistent read is one for each 4 KB, a write one for each KB. (b) is the SDK's own store, without its cache, "
        f"whose single reads are eventually consistent: half a unit. A million units read cost "
        f"{DOLLARS_PER_MILLION_READ_UNITS} $ (on demand, us-east-1, listed in November 2026).",
        ("", "requests", "KB sent", "KB received", "units read", "units written"),
        tuple(rows),
    )


def _cells(kind: str, cost: Cost) -> tuple[str, ...]:
    common = (f"{cost.requests:,}", _number(cost.to_store / 1024), _number(cost.from_store / 1024))
    units = (cost.read_units,) if kind == "redis" else (cost.read_units, cost.write_units)
    return (*common, *map(_number, units))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
