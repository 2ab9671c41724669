"""Fetch the data set from LaunchDarkly (or a flag file) with the SDK. Touches no store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ldclient.client import LDClient
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.interfaces import DataSourceErrorInfo, DataSourceErrorKind, DataSourceState
from ldclient.versioned_data_kind import FEATURES, SEGMENTS, VersionedDataKind

from chalicelib.clients import fetch_client
from chalicelib.config import Settings
from chalicelib.data_set import Announcement, DataSet, fetched_item
from chalicelib.errors import FetchTimedOut, LaunchDarklyUnavailable, LaunchDarklyUnreachable, SdkKeyRejected

logger = logging.getLogger(__name__)

_KINDS: dict[str, VersionedDataKind] = {kind.namespace: kind for kind in (FEATURES, SEGMENTS)}
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Patience:
    """How long a fetch waits, in seconds; ten in all, well inside API Gateway's 29."""

    data_set: float = 7.0
    """Until the whole data set has arrived."""
    announced: float = 3.0
    """After that, until every announced version has arrived on the open stream."""
    settle: float = 1.0
    """Instead, when a webhook announced no version: LaunchDarkly's caches lag behind its webhooks."""


def fetch_data_set(
    settings: Settings, announcements: Collection[Announcement | None] = (), patience: Patience = Patience()
) -> DataSet:
    """LaunchDarkly's data set, at the announced versions if they arrive in time.

    ``announcements`` holds an entry for each webhook that this fetch covers, None for one that
    announces no version. Raises a LaunchDarklyUnavailable that says why when the data set does not
    arrive, and ConfigurationError without an SDK key. A rejected key that was rotated in SSM is replaced.
    """
    try:
        return _fetch(settings, announcements, patience)
    except SdkKeyRejected:
        if settings.sdk_key.rotated_from(settings.sdk_key.read()) is None:
            raise
        return _fetch(settings, announcements, patience)


def _fetch(settings: Settings, announcements: Collection[Announcement | None], patience: Patience) -> DataSet:
    feature_store = InMemoryFeatureStore()
    with fetch_client(settings, feature_store) as client:
        # The SDK reads a flag file while it starts: by now it is there, or it cannot be read.
        _wait_for_data_set(client, patience.data_set if settings.flag_file is None else 0.0)
        if settings.flag_file is None:
            _wait_for_announced(feature_store, announcements, patience)
        return _copy(feature_store)


def _wait_for_data_set(client: LDClient, seconds: float) -> None:
    status_provider = client.data_source_status_provider

    def settled() -> bool:
        # is_initialized() proves nothing here: it stays true after a failed refresh.
        status = status_provider.status
        return status.state == DataSourceState.VALID or _is_rejection(status.error)

    _wait_until(settled, seconds)
    status = status_provider.status
    if status.state != DataSourceState.VALID:
        raise _failure(status.error, seconds)


def _is_rejection(error: DataSourceErrorInfo | None) -> bool:
    """The SDK goes on retrying a rejected key for minutes; there is nothing to wait for."""
    return error is not None and error.kind == DataSourceErrorKind.ERROR_RESPONSE and error.status_code in (401, 403)


def _failure(error: DataSourceErrorInfo | None, seconds: float) -> LaunchDarklyUnavailable:
    if error is None:
        return FetchTimedOut(f"LaunchDarkly did not deliver the data set within {seconds:g} seconds.")
    logger.warning("fetch failed: %s %s %s", error.kind.value, error.status_code, error.message)
    if _is_rejection(error):
        return SdkKeyRejected(f"LaunchDarkly rejected the SDK key (HTTP {error.status_code}).")
    if error.kind == DataSourceErrorKind.ERROR_RESPONSE:
        return LaunchDarklyUnreachable(f"LaunchDarkly answered HTTP {error.status_code}.")
    if error.kind == DataSourceErrorKind.INVALID_DATA:
        return LaunchDarklyUnreachable("The data set cannot be read: it is missing, or not valid JSON or YAML.")
    return LaunchDarklyUnreachable("LaunchDarkly cannot be reached, or its data set cannot be read.")


def _wait_for_announced(
    feature_store: InMemoryFeatureStore, announcements: Collection[Announcement | None], patience: Patience
) -> None:
    announced = [announcement for announcement in announcements if announcement is not None]
    if len(announced) < len(announcements):
        time.sleep(patience.settle)
    _wait_until(lambda: all(_has_arrived(feature_store, each) for each in announced), patience.announced)


def _has_arrived(feature_store: InMemoryFeatureStore, announcement: Announcement) -> bool:
    item = feature_store.get(_KINDS[announcement.kind], announcement.key)
    return announcement.is_met_by(None if item is None else item.version)


def _copy(feature_store: InMemoryFeatureStore) -> DataSet:
    return {
        name: {key: fetched_item(item.to_json_dict()) for key, item in feature_store.all(kind, dict).items()}
        for name, kind in _KINDS.items()
    }


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
