"""Fetch the data set from LaunchDarkly (or a flag file) with the SDK. Touches no store."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

from ldclient.client import LDClient
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.interfaces import DataSourceErrorInfo, DataSourceErrorKind, DataSourceState
from ldclient.versioned_data_kind import FEATURES, SEGMENTS, VersionedDataKind

from ..config import Settings
from ..data_set import Announcement, DataSet, fetched_item
from ..errors import FetchTimedOut, LaunchDarklyUnavailable, LaunchDarklyUnreachable, SdkKeyRejected
from ..launchdarkly.clients import fetch_client

logger = logging.getLogger(__name__)

_KINDS: dict[str, VersionedDataKind] = {kind.namespace: kind for kind in (FEATURES, SEGMENTS)}
_POLL_SECONDS = 0.01

_HAS_BEEN_VALID = (DataSourceState.VALID, DataSourceState.INTERRUPTED)
"""The SDK calls a data source interrupted only once it was valid; before that it stays at initializing."""


@dataclass(frozen=True)
class Patience:
    """How long a fetch waits, in seconds: eight in all (``refresh.py`` says what that is part of)."""

    data_set: float = 5.0
    """Until the whole data set has arrived."""
    announced: float = 3.0
    """After that, until every announced version has arrived on the open stream."""
    settle: float = 1.0
    """At least so much of that when a webhook announced no version: LaunchDarkly's caches lag behind its webhooks."""


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
    deadline = time.monotonic() + patience.data_set
    with fetch_client(settings, feature_store, patience.data_set) as client:
        if settings.flag_file is not None:
            _check_file(client)
        else:
            _wait_for_data_set(client, deadline)
            _wait_for_announced(feature_store, announcements, patience)
        return _copy(feature_store)


def _check_file(client: LDClient) -> None:
    """The SDK reads a flag file while it starts: by now it is there, or it cannot be read."""
    if client.data_source_status_provider.status.state not in _HAS_BEEN_VALID:
        raise LaunchDarklyUnreachable("The data set cannot be read: it is missing, or not valid JSON or YAML.")


def _wait_for_data_set(client: LDClient, deadline: float) -> None:
    # Not is_initialized(), which proves nothing: it stays true after a failed refresh.
    provider = client.data_source_status_provider
    while (status := provider.status).state not in _HAS_BEEN_VALID:
        # The SDK goes on retrying a rejected key for minutes; there is nothing to wait for.
        if _is_rejection(status.error) or time.monotonic() >= deadline:
            raise _failure(status.error)
        time.sleep(_POLL_SECONDS)


def _is_rejection(error: DataSourceErrorInfo | None) -> bool:
    return error is not None and error.kind == DataSourceErrorKind.ERROR_RESPONSE and error.status_code in (401, 403)


def _failure(error: DataSourceErrorInfo | None) -> LaunchDarklyUnavailable:
    """What kept the data set from arriving: the last thing that went wrong, or (None) nothing but time."""
    if error is None:
        return FetchTimedOut("LaunchDarkly did not deliver the data set in time.")
    logger.warning("LaunchDarkly's stream failed: %s", error.message)
    if _is_rejection(error):
        return SdkKeyRejected(f"LaunchDarkly rejected the SDK key (HTTP {error.status_code}).")
    if error.kind == DataSourceErrorKind.ERROR_RESPONSE:
        return LaunchDarklyUnreachable(f"LaunchDarkly answered HTTP {error.status_code}.")
    if error.kind == DataSourceErrorKind.INVALID_DATA:
        return LaunchDarklyUnreachable("LaunchDarkly sent a data set that cannot be read.")
    return LaunchDarklyUnreachable("LaunchDarkly cannot be reached, or the connection to it broke.")


def _wait_for_announced(
    feature_store: InMemoryFeatureStore, announcements: Collection[Announcement | None], patience: Patience
) -> None:
    start = time.monotonic()
    settled_at = start + (patience.settle if None in announcements else 0.0)
    awaited = [announcement for announcement in announcements if announcement is not None]
    while time.monotonic() < start + patience.announced:
        if time.monotonic() >= settled_at and all(_has_arrived(feature_store, each) for each in awaited):
            return
        time.sleep(_POLL_SECONDS)


def _has_arrived(feature_store: InMemoryFeatureStore, announcement: Announcement) -> bool:
    item = feature_store.get(_KINDS[announcement.kind], announcement.key)
    return announcement.is_met_by(None if item is None else item.version)


def _copy(feature_store: InMemoryFeatureStore) -> DataSet:
    return {
        name: {key: fetched_item(item.to_json_dict()) for key, item in feature_store.all(kind, dict).items()}
        for name, kind in _KINDS.items()
    }
