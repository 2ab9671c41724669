"""Fetch the data set from LaunchDarkly's stream, or from a flag file. Touches no store."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing, suppress

from ..config import Settings
from ..data_set import Announcement, DataSet
from ..errors import LaunchDarklyUnavailable, SdkKeyRejected
from ..launchdarkly.received import ReceivedDataSet
from ..launchdarkly.stream import FetchStream
from ..patience import Patience
from ..secrets import read_secret, rotated_secret
from ..timing import Timing


def fetch_data_set(
    settings: Settings, announcements: Collection[Announcement | None] = (), timing: Timing = Timing()
) -> DataSet:
    """LaunchDarkly's data set, at the announced versions if they arrive in time.

    ``announcements`` holds an entry for each webhook that this fetch covers, None for one that
    announces no version. Raises a LaunchDarklyUnavailable that says why when the data set does not
    arrive, and ConfigurationError without an SDK key. A rejected key that was rotated in SSM is replaced.
    """
    if settings.flag_file is not None:
        from ..flag_file.reading import read_flag_file

        return read_flag_file(settings.flag_file)
    sdk_key = read_secret(settings.sdk_key, timing)
    try:
        return _fetch(settings, sdk_key, announcements, timing)
    except SdkKeyRejected:
        rotated = rotated_secret(settings.sdk_key, sdk_key, timing)
        if rotated is None:
            raise
        return _fetch(settings, rotated, announcements, timing)


def _fetch(settings: Settings, sdk_key: str, announcements: Collection[Announcement | None], timing: Timing) -> DataSet:
    received = ReceivedDataSet()
    patience = Patience(timing.data_set_seconds, ends_at=time.monotonic() + timing.fetch_limit_seconds)
    with closing(FetchStream(settings, sdk_key, received.take, patience, timing)) as stream:
        while not received.is_complete:
            stream.advance()
        with suppress(LaunchDarklyUnavailable):  # the data set is there; the refresh says what it lacks
            _wait_for_announced(stream, received, announcements, patience, timing)
    return received.data_set()


def _wait_for_announced(
    stream: FetchStream,
    received: ReceivedDataSet,
    announcements: Collection[Announcement | None],
    patience: Patience,
    timing: Timing,
) -> None:
    """Raises a LaunchDarklyUnavailable when it waits in vain."""
    start = time.monotonic()
    awaited = [announcement for announcement in announcements if announcement is not None]
    settle_seconds = timing.settle_seconds if None in announcements else 0.0
    while True:
        have_arrived = all(each.is_met_by(received.version(each.kind, each.key)) for each in awaited)
        seconds_left = start + (settle_seconds if have_arrived else timing.announced_seconds) - time.monotonic()
        if seconds_left <= 0:
            return
        patience.renew(seconds_left)
        stream.advance()
