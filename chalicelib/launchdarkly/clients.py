"""The client factory: the SDK clients of daemon mode, of direct mode, and of a fetch.

Every LaunchDarkly client of the app is made here, so what each may do on the network is stated once.

A client is a reference cycle, which only the garbage collector frees. So those of direct mode and of a fetch
do not own the feature store that they are given: the caller keeps it, and its data set goes when the caller
lets go of it. The client of daemon mode is handed out, so it owns its data set; an evaluation needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import proxy

from ldclient.client import LDClient
from ldclient.config import Config, HTTPConfig
from ldclient.interfaces import FeatureStore

from ..config import Settings
from ..errors import UnreadableItem
from .evaluators import FixedFeatureStore
from .sdk import VersionedDataKind

_DAEMON_MODE_KEY = "daemon-mode-has-no-sdk-key"
"""The SDK wants a key even where it never contacts LaunchDarkly."""

Callback = Callable[[Any], Any]
"""The SDK's store interface hands every result through one of these (untyped there)."""


def daemon_client(feature_store: FixedFeatureStore) -> LDClient:
    """A client that evaluates from ``feature_store`` alone: no connection, no events, no thread.

    It keeps the feature store for as long as it lives itself, which the garbage collector ends.
    """
    logging.getLogger("ldclient.util").addFilter(_is_news)
    return LDClient(
        Config(
            _DAEMON_MODE_KEY,
            feature_store=_AsFeatureStore(feature_store),
            use_ldd=True,
            send_events=False,
            diagnostic_opt_out=True,
        ),
        start_wait=0,
    )


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


def _is_news(record: logging.LogRecord) -> bool:
    """The SDK logs an unreadable item at every evaluation that meets it; the feature store has logged it once."""
    return UnreadableItem.__name__ not in record.getMessage()


def direct_client(settings: Settings, feature_store: FeatureStore, start_wait_seconds: float) -> LDClient:
    """The SDK as usual: streams from LaunchDarkly into ``feature_store`` and sends analytics events.

    Waits up to ``start_wait_seconds`` for the data set. Raises ConfigurationError without an SDK key.
    """
    return LDClient(
        Config(
            feature_store=proxy(feature_store),
            send_events=settings.flag_file is None,
            **_source(settings, auto_update=True),
        ),
        start_wait=start_wait_seconds,
    )


def fetch_client(settings: Settings, feature_store: FeatureStore, patience_seconds: float) -> LDClient:
    """A client that fills ``feature_store`` from LaunchDarkly's stream and sends nothing.

    Returns when the data set is there, or after a second at most: what else there is to wait for, the
    caller decides. ``patience_seconds``: how long LaunchDarkly may be silent, and a second more, before the
    connection is given up. Closing the client ends its thread and its connection; only an attempt to
    connect that hangs keeps it waiting, for that long. Raises ConfigurationError without an SDK key.
    """
    from .stream import FetchStream

    return LDClient(
        Config(
            feature_store=proxy(feature_store),
            send_events=False,
            diagnostic_opt_out=True,
            http=HTTPConfig(connect_timeout=min(2.0, patience_seconds), read_timeout=patience_seconds + 1.0),
            **{"update_processor_class": FetchStream, **_source(settings, auto_update=False)},
        ),
        start_wait=min(1.0, patience_seconds),
    )


def _source(settings: Settings, *, auto_update: bool) -> dict[str, Any]:
    """The part of an SDK Config that says where the data set comes from (its types differ by name)."""
    if settings.flag_file is not None:
        # Imports every integration of the SDK, boto3 among them: only where a flag file is read.
        from ldclient.integrations import Files

        source = Files.new_data_source(paths=[settings.flag_file], auto_update=auto_update)
        return {"sdk_key": "flag-file-has-no-sdk-key", "update_processor_class": source}
    uris = {
        "base_uri": settings.uris.base,
        "stream_uri": settings.uris.stream,
        "events_uri": settings.uris.events,
    }
    return {"sdk_key": settings.sdk_key.read(), **{name: uri for name, uri in uris.items() if uri is not None}}
