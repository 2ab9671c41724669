"""The client factory: the SDK clients of daemon mode and of direct mode.

Every LaunchDarkly client of the app is made here, so what each may do on the network is stated once. A fetch
needs none: it reads the stream itself.

A client is a reference cycle, which only the garbage collector frees. So none of those that are made here holds
its data set. In direct mode the caller keeps it. The client of daemon mode is handed out, and whoever keeps it for
ever must get the right answers for ever: what is handed out is a copy of the client, which is in no cycle and holds
the data set. When it goes, the data set goes at once, and what is left for the collector is small.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from weakref import proxy

from ldclient.client import LDClient
from ldclient.config import BigSegmentsConfig, Config
from ldclient.interfaces import BigSegmentStore, EventProcessor, FeatureStore

from ..config import Settings
from ..errors import UnreadableItem
from ..secrets import read_secret
from .evaluators import FixedFeatureStore, KnownMembership, Record, membership_of
from .sdk import FEATURES, SEGMENTS, VersionedDataKind

_DAEMON_MODE_KEY = "daemon-mode-has-no-sdk-key"
"""The SDK wants a key even where it never contacts LaunchDarkly."""

Callback = Callable[[Any], Any]
"""The SDK's store interface hands every result through one of these (untyped there)."""

MembershipOf = Callable[[str], KnownMembership]
"""Context key -> what is known of its memberships in big segments."""


class Items(Protocol):
    """Flags and segments that do not change any more."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The SDK's model of the item, or None when there is none. May raise."""

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""


def daemon_client(
    items: FixedFeatureStore, membership: MembershipOf | None = None, record: Record | None = None
) -> LDClient:
    """A client that evaluates from these items alone: no connection, no thread. ``record`` is given its events.

    It keeps them for as long as it lives itself. Closing it changes nothing. Memberships in big segments it asks
    ``membership`` for (context key -> what is known), by default those of the items.
    """
    processor = None if record is None else functools.partial(_Recording, record)
    return _client_over(
        items,
        membership or functools.partial(membership_of, proxy(items)),
        send_events=record is not None,
        event_processor_class=processor,
    )


def pinned_client(feature_store: FeatureStore, streaming: LDClient) -> LDClient:
    """A client over what ``feature_store`` holds now, whose events go the way of the ``streaming`` one."""
    items = _Items({kind: feature_store.all(kind, lambda items: items) for kind in (FEATURES, SEGMENTS)})
    membership = _big_segments_of(streaming).get_user_membership
    return _client_over(items, membership, send_events=True, event_processor_class=lambda _config: _EventsOf(streaming))


def client_without_flags() -> LDClient:
    """A client that answers with default values, and the reason ``CLIENT_NOT_READY``: it is offline."""
    return LDClient(Config(_DAEMON_MODE_KEY, offline=True), start_wait=0)


def _client_over(items: Items, membership: MembershipOf, **events: Any) -> LDClient:
    """(``Any``: the SDK's Config declares no types for its callables.)"""
    logging.getLogger("ldclient.util").addFilter(_is_news)
    store = _AsFeatureStore(proxy(items))
    config = Config(_DAEMON_MODE_KEY, feature_store=store, use_ldd=True, diagnostic_opt_out=True, **events)
    client = copy.copy(LDClient(config, start_wait=0))
    # A client that is given a store of big segments starts a thread that polls it, for as long as the client lives.
    _big_segments_of(client).get_user_membership = membership
    vars(client)["items"] = items
    return client


def _big_segments_of(client: LDClient) -> Any:
    """What the client asks for memberships (the SDK keeps it, and its type, to itself)."""
    return client._LDClient__big_segment_store_manager  # type: ignore[attr-defined]


class _Items:
    """Models in memory."""

    def __init__(self, items: Mapping[VersionedDataKind, dict[str, Any]]) -> None:
        self._items = items

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        return self._items[kind].get(key)

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        return self._items[kind]


class _EventsOf(EventProcessor):
    """Sends events as another client does, and does not end with the one that has it."""

    def __init__(self, client: LDClient) -> None:
        self._client = client

    def send_event(self, event: Any) -> None:
        self._client._send_event(event)

    def flush(self) -> None:
        self._client.flush()

    def stop(self) -> None:
        """The other client goes on."""


class _AsFeatureStore(FeatureStore):
    """A data set as the SDK's clients want it. In daemon mode nothing is written to it."""

    def __init__(self, items: Items) -> None:
        self._items = items

    @property
    def initialized(self) -> bool:
        return True

    def get(self, kind: VersionedDataKind, key: str, callback: Callback = lambda item: item) -> Any:
        return callback(self._items.get(kind, key))

    def all(self, kind: VersionedDataKind, callback: Callback = lambda items: items) -> Any:
        return callback(self._items.all(kind))

    def init(self, all_data: object) -> None:
        raise NotImplementedError

    def upsert(self, kind: VersionedDataKind, item: object) -> None:
        raise NotImplementedError

    def delete(self, kind: VersionedDataKind, key: str, version: int) -> None:
        raise NotImplementedError


class _Recording(EventProcessor):
    """Hands every event of a client on. The client waits for nothing, and has nothing to flush."""

    def __init__(self, record: Record, _config: Config) -> None:
        self._record = record

    def send_event(self, event: object) -> None:
        self._record(event)

    def flush(self) -> None:
        """Events are left in the store at the end of an invocation."""

    def stop(self) -> None:
        """The events of all clients of a process are gathered in one place, which goes on."""


def _is_news(record: logging.LogRecord) -> bool:
    """The SDK logs an unreadable item at every evaluation that meets it; the feature store has logged it once."""
    return UnreadableItem.__name__ not in record.getMessage()


def direct_client(
    settings: Settings,
    feature_store: FeatureStore,
    start_wait_seconds: float,
    big_segments: BigSegmentStore | None = None,
) -> LDClient:
    """The SDK as usual: streams from LaunchDarkly into ``feature_store`` and sends analytics events.

    Waits up to ``start_wait_seconds`` for the data set. Raises ConfigurationError without an SDK key.
    """
    return LDClient(
        Config(
            feature_store=proxy(feature_store),
            big_segments=BigSegmentsConfig(big_segments, context_cache_time=settings.big_segments_cache_seconds),
            send_events=settings.sdk_sends_events,
            all_attributes_private=settings.events_private_attributes is None,
            private_attributes=set(settings.events_private_attributes or ()),
            omit_anonymous_contexts=settings.events_omit_anonymous,
            **_source(settings),
        ),
        start_wait=start_wait_seconds,
    )


def _source(settings: Settings) -> dict[str, Any]:
    """The part of an SDK Config that says where the data set comes from (its types differ by name)."""
    if settings.flag_file is not None:
        # Imports every integration of the SDK, boto3 among them: only where a flag file is read.
        from ldclient.integrations import Files

        source = Files.new_data_source(paths=[settings.flag_file], auto_update=True)
        return {"sdk_key": "flag-file-has-no-sdk-key", "update_processor_class": source}
    uris = {
        "base_uri": settings.base_uri,
        "stream_uri": settings.stream_uri,
        "events_uri": settings.events_uri,
    }
    return {"sdk_key": read_secret(settings.sdk_key), **{name: uri for name, uri in uris.items() if uri is not None}}
