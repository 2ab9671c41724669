"""The client factory: the SDK clients of daemon mode and of direct mode.

Every LaunchDarkly client of the app is made here, so what each may do on the network is stated once. A fetch
needs none: it reads the stream itself.

A client is a reference cycle, which only the garbage collector frees. So the one of direct mode does not own
the feature store that it is given: the caller keeps it, and its data set goes when the caller lets go of it.
The client of daemon mode is handed out, so it owns its data set; an evaluation needs none.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any
from weakref import proxy

from ldclient.client import LDClient
from ldclient.config import BigSegmentsConfig, Config
from ldclient.interfaces import BigSegmentStore, EventProcessor, FeatureStore

from ..config import Settings
from ..errors import UnreadableItem
from ..secrets import read_secret
from .evaluators import FixedFeatureStore, KnownMembership, Record, membership_of
from .sdk import VersionedDataKind

_DAEMON_MODE_KEY = "daemon-mode-has-no-sdk-key"
"""The SDK wants a key even where it never contacts LaunchDarkly."""

Callback = Callable[[Any], Any]
"""The SDK's store interface hands every result through one of these (untyped there)."""


def daemon_client(
    feature_store: FixedFeatureStore,
    membership: Callable[[str], KnownMembership] | None = None,
    record: Record | None = None,
) -> LDClient:
    """A client that evaluates from ``feature_store`` alone: no connection, no thread. ``record`` is given its events.

    It keeps the feature store for as long as it lives itself, which the garbage collector ends. Memberships in
    big segments it asks ``membership`` for (context key -> what is known), by default the feature store.
    """
    logging.getLogger("ldclient.util").addFilter(_is_news)
    client = LDClient(
        Config(
            _DAEMON_MODE_KEY,
            feature_store=_AsFeatureStore(feature_store),
            use_ldd=True,
            send_events=record is not None,
            event_processor_class=None if record is None else functools.partial(_Recording, record),
            diagnostic_opt_out=True,
        ),
        start_wait=0,
    )
    # A client that is given a store of big segments starts a thread that polls it, for as long as the client lives.
    manager = client._LDClient__big_segment_store_manager  # type: ignore[attr-defined]
    manager.get_user_membership = membership or functools.partial(membership_of, feature_store)
    return client


class _AsFeatureStore(FeatureStore):
    """A data set as the SDK's clients want it. In daemon mode nothing is written to it."""

    def __init__(self, feature_store: FixedFeatureStore) -> None:
        self._feature_store = feature_store

    @property
    def initialized(self) -> bool:
        return True

    def get(self, kind: VersionedDataKind, key: str, callback: Callback = lambda item: item) -> Any:
        return callback(self._feature_store.get(kind, key))

    def all(self, kind: VersionedDataKind, callback: Callback = lambda items: items) -> Any:
        return callback(self._feature_store.all(kind))

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
            send_events=settings.flag_file is None and settings.events_mode != "off",
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
