"""Big segments as data, stores of their members as LaunchDarkly fills them, and the SDK that judges."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import redis
from ldclient.client import LDClient
from ldclient.config import BigSegmentsConfig, Config
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.integrations import DynamoDB, Redis
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from tests.support.data import Json, by_key, segment
from tests.support.parity import clause, rule_flag, segment_match


def big_segment(key: str, *rules: Json, generation: int | None = 3, kind: str | None = None) -> Json:
    """Its members are not part of it; ``included`` is there to be ignored."""
    return segment(
        key,
        1,
        "listed in the segment",
        unbounded=True,
        rules=list(rules),
        **({} if generation is None else {"generation": generation}),
        **({} if kind is None else {"unboundedContextKind": kind}),
    )


_BETA = {"clauses": [clause("beta", "in", True)]}

SEGMENTS_OF_BIG: list[Json] = [
    big_segment("big"),
    big_segment("with rules", _BETA),
    big_segment("of organizations", kind="organization"),
    big_segment("without generation", _BETA, generation=None),
    segment("around", 1, rules=[{"clauses": [clause("", "segmentMatch", "big")]}]),
    segment("small", 1, "anna"),
]

FLAGS_OF_BIG: list[Json] = [
    *(rule_flag(f"in {each['key']}", segment_match(each["key"])) for each in SEGMENTS_OF_BIG),
    rule_flag("not in big", segment_match("big", negate=True)),
    rule_flag("in small or big", segment_match("small", "big")),
    rule_flag("in two", segment_match("with rules"), segment_match("of organizations")),
    rule_flag("needs big", prerequisites=[{"key": "in big", "variation": 2}], trackEvents=True),
    rule_flag("needs what needs big", prerequisites=[{"key": "needs big", "variation": 1}]),
    rule_flag("off", segment_match("big"), on=False),
    rule_flag("for everybody", rules=[]),
    rule_flag("needs big, for everybody", rules=[], prerequisites=[{"key": "in big", "variation": 2}]),
]

CONTEXTS_OF_BIG: list[Json] = [
    {"kind": "user", "key": "included"},
    {"kind": "user", "key": "excluded", "beta": True},
    {"kind": "user", "key": "both", "beta": True},
    {"kind": "user", "key": "neither"},
    {"kind": "user", "key": "neither but beta", "beta": True},
    {"kind": "user", "key": "of an older generation"},
    {"kind": "user", "key": "listed in the segment"},
    {"kind": "user", "key": "anna"},
    {"kind": "user", "key": "\U0001f511 cl\u00e9/#%"},
    {"key": "included", "name": "a legacy user"},
    {"kind": "organization", "key": "acme"},
    {"kind": "organization", "key": "included"},
    {"kind": "multi", "user": {"key": "included"}, "organization": {"key": "acme"}},
    {"kind": "multi", "user": {"key": "excluded", "beta": True}, "organization": {"key": "neither"}},
    {"kind": "multi", "user": {"key": "acme"}, "organization": {"key": "acme"}},
]

MEMBERS: dict[str, tuple[list[str], list[str]]] = {
    "included": (["big.g3", "with rules.g3", "without generation.g3"], []),
    "excluded": ([], ["big.g3", "with rules.g3"]),
    "both": (["big.g3", "with rules.g3"], ["with rules.g3", "big.g3", "other.g3"]),
    "of an older generation": (["big.g2"], []),
    "\U0001f511 cl\u00e9/#%": (["big.g3"], []),
    "acme": (["of organizations.g3"], ["with rules.g3"]),
}
"""By context key: the references of the segments that include it, and of those that exclude it."""


def hash_of(context_key: str) -> str:
    return base64.b64encode(hashlib.sha256(context_key.encode()).digest()).decode()


class Members(Protocol):
    """A store of the members, under one prefix, as LaunchDarkly or a Relay Proxy fills it."""

    def put(self, context_key: str, included: Collection[str] = (), excluded: Collection[str] = ()) -> None: ...

    def synchronize(self, on: object) -> None:
        """Say when it was brought up to date, in Unix milliseconds, or nonsense; None: never."""

    def sdks_store(self) -> Any:
        """The SDK's own store of big segments over it."""


class RedisMembers:
    def __init__(self, url: str, prefix: str = "launchdarkly") -> None:
        self._url = url
        self._prefix = prefix

    def put(self, context_key: str, included: Collection[str] = (), excluded: Collection[str] = ()) -> None:
        with redis.Redis.from_url(self._url) as client:
            for name, references in (("include", included), ("exclude", excluded)):
                key = f"{self._prefix}:big_segment_{name}:{hash_of(context_key)}"
                client.delete(key)
                if references:
                    client.sadd(key, *references)

    def synchronize(self, on: object) -> None:
        with redis.Redis.from_url(self._url) as client:
            key = f"{self._prefix}:big_segments_synchronized_on"
            client.delete(key) if on is None else client.set(key, str(on))

    def sdks_store(self) -> Any:
        return Redis.new_big_segment_store(url=self._url, prefix=self._prefix)


class DynamoDbMembers:
    def __init__(self, client: Any, table: str, prefix: str = "launchdarkly") -> None:
        self._client = client
        self._table = table
        self._prefix = prefix
        self._colon = f"{prefix}:" if prefix else ""

    def put(self, context_key: str, included: Collection[str] = (), excluded: Collection[str] = ()) -> None:
        sets = {name: {"SS": list(each)} for name, each in (("included", included), ("excluded", excluded)) if each}
        key = self._key("big_segments_user", hash_of(context_key))
        self._client.put_item(TableName=self._table, Item={**key, **sets})

    def synchronize(self, on: object) -> None:
        key = self._key("big_segments_metadata", f"{self._colon}big_segments_metadata")
        if on is None:
            self._client.delete_item(TableName=self._table, Key=key)
        else:
            value = {"N": str(on)}
            self._client.put_item(TableName=self._table, Item={**key, "synchronizedOn": value})

    def _key(self, name: str, key: str) -> Json:
        return {"namespace": {"S": f"{self._colon}{name}"}, "key": {"S": key}}

    def sdks_store(self) -> Any:
        """Finds the server by the environment of this process."""
        return DynamoDB.new_big_segment_store(self._table, prefix=self._prefix)


def fill(members: Members) -> None:
    for context_key, (included, excluded) in MEMBERS.items():
        members.put(context_key, included, excluded)
    members.synchronize(now_ms())


def now_ms() -> int:
    return int(time.time() * 1000)


@contextmanager
def judge(
    store: Any, flags: Collection[Json] = FLAGS_OF_BIG, segments: Collection[Json] = SEGMENTS_OF_BIG
) -> Iterator[LDClient]:
    """The SDK's own client over these flags, with its own store of big segments; None: without one."""
    feature_store = InMemoryFeatureStore()
    feature_store.init(
        {
            FEATURES: {key: FEATURES.decode(each) for key, each in by_key(*FLAGS_OF_BIG).items()},
            SEGMENTS: {key: SEGMENTS.decode(each) for key, each in by_key(*SEGMENTS_OF_BIG).items()},
        }
    )
    config = Config(
        "sdk-key",
        feature_store=feature_store,
        use_ldd=True,
        send_events=False,
        diagnostic_opt_out=True,
        big_segments=BigSegmentsConfig(store, context_cache_time=0),
    )
    with LDClient(config, start_wait=0) as client:
        yield client
