"""The parts of one function instance, wired together. The only place that builds them.

Each part is built on first use and imported then: an evaluation never loads what only a refresh needs.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .config import Settings, is_to_be_restored, load_settings
from .errors import FlagsError
from .runtime.collector import collector_paused, pause_collector, resume_collector
from .timing import Timing

if TYPE_CHECKING:
    from .events.delivery import Delivery
    from .events.recorder import Recorder
    from .launchdarkly.sdk import Context
    from .read.big_segments import BigSegments
    from .read.direct import DirectFlags
    from .read.recent import RecentFlags
    from .read.snapshots import Snapshot, Snapshots
    from .refresh.refresher import Refresher
    from .stores.ahead import FirstRead
    from .stores.outbox import EventQueue, ReaderWithOutbox
    from .stores.port import MembershipReader, Writer

Part = TypeVar("Part")


class part(Generic[Part]):  # noqa: N801 - reads as the decorator that it is
    """A method that builds a part, as an attribute: built once, also when threads meet. Errors are not kept.

    What was built replaces the method in the instance, so that it costs no more than any attribute; a test
    replaces a part in the same way, by setting the attribute.
    """

    def __init__(self, build: Callable[[Wiring], Part]) -> None:
        self._build = build

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, wiring: Wiring, owner: type | None = None) -> Part:
        parts = vars(wiring)
        with wiring.lock:
            if self._name not in parts:
                parts[self._name] = self._build(wiring)
            built: Part = parts[self._name]
            return built


class Wiring:
    """One for each process. ``timing`` is what every part waits by."""

    def __init__(self, timing: Timing = Timing()) -> None:
        self.timing = timing
        self.lock = threading.RLock()
        self._first_read: FirstRead | None = None

    @part
    def settings(self) -> Settings:
        """Raises ConfigurationError."""
        return load_settings()

    @part
    def reader(self) -> ReaderWithOutbox:
        """The store as evaluations ask it; the embedded one has been filled."""
        settings = self.settings
        if settings.dynamodb_table is not None:
            from .stores.dynamodb.access import connecting_call

            call = connecting_call(settings.aws, self.timing)  # the network answers while the reader is imported
            from .stores.dynamodb.reader import DynamoDbReader

            return DynamoDbReader(settings.dynamodb_table, settings.store_prefix, settings.aws, self.timing, call)
        from .stores.redis.reader import RedisReader

        reader = RedisReader(self._redis_url, settings.store_prefix, self.timing, iam=settings.iam_for_redis)
        if settings.redis_url == "embedded":
            self.refresher.reconcile(force=False)
        return reader

    @part
    def writer(self) -> Writer:
        """The store as a refresh changes it."""
        settings = self.settings
        if settings.dynamodb_table is not None:
            from .stores.dynamodb.writer import DynamoDbWriter

            return DynamoDbWriter(settings.dynamodb_table, settings.store_prefix, settings.aws, self.timing)
        from .stores.redis.writer import RedisWriter

        return RedisWriter(self._redis_url, settings.store_prefix, self.timing, settings.iam_for_redis)

    @part
    def _redis_url(self) -> str:
        url = self.settings.redis_url
        assert url is not None  # the settings name exactly one store in daemon mode
        if url != "embedded":
            return url
        from .stores.redis.embedded import start_embedded_server

        return start_embedded_server()

    @part
    def snapshots(self) -> Snapshots:
        from .read.snapshots import Snapshots

        return Snapshots(
            self.reader,
            self.settings.store_cache_seconds,
            self.timing,
            first_read=self._first_read,
            # What it takes is built when a flag asks for a big segment for the first time.
            read_memberships=lambda keys, patience: self.big_segments.memberships_of(keys, patience),
        )

    @part
    def big_segments(self) -> BigSegments:
        from .read.big_segments import BigSegments

        keep_seconds = self.settings.big_segments_cache_seconds
        return BigSegments(lambda: self._membership_reader, keep_seconds, self.timing)

    @part
    def _membership_reader(self) -> MembershipReader:
        """Over the connection of the flag store, unless the settings name another one."""
        settings, timing = self.settings, self.timing
        prefix = settings.store_prefix if settings.big_segments_prefix is None else settings.big_segments_prefix
        if settings.big_segments_table is not None:
            from .stores.dynamodb.reader import DynamoDbReader

            return DynamoDbReader(settings.big_segments_table, prefix, settings.aws, timing).memberships(prefix)
        if settings.big_segments_redis_url is not None:
            from .stores.redis.reader import RedisReader

            name = "BIG_SEGMENTS_REDIS_URL"
            iam = settings.iam_for_redis
            return RedisReader(settings.big_segments_redis_url, prefix, timing, name, iam).memberships(prefix)
        return self.reader.memberships(prefix)

    @part
    def recorder(self) -> Recorder:
        """What this process evaluates, on its way to LaunchDarkly, where ``EVENTS`` asks for that."""
        from .events.recorder import EventRules, Recorder

        settings = self.settings
        rules = EventRules(
            summaries_only=settings.events_mode == "summary",
            private_attributes=settings.events_private_attributes,
            omit_anonymous=settings.events_omit_anonymous,
            flush_seconds=settings.events_flush_seconds,
        )
        return Recorder(self.reader.leave_events, rules, self.timing)

    @part
    def delivery(self) -> Delivery:
        """From the store to LaunchDarkly."""
        from .events.delivery import Delivery
        from .launchdarkly.bulk import BulkSender

        settings = self.settings
        return Delivery(self._event_queue, functools.partial(BulkSender, settings, timing=self.timing), self.timing)

    @part
    def _event_queue(self) -> EventQueue:
        settings = self.settings
        if settings.dynamodb_table is not None:
            from .stores.dynamodb.events import DynamoDbEventQueue

            return DynamoDbEventQueue(settings.dynamodb_table, settings.store_prefix, settings.aws, self.timing)
        from .stores.redis.events import RedisEventQueue

        return RedisEventQueue(self._redis_url, settings.store_prefix, self.timing, settings.iam_for_redis)

    @part
    def direct_flags(self) -> DirectFlags:
        from .read.direct import connect_directly

        memberships = self._membership_reader if self.settings.has_big_segments else None
        return connect_directly(self.settings, self.timing, memberships)

    @part
    def recent_flags(self) -> RecentFlags:
        """What ``flags`` answers from."""
        from .read.recent import RecentFlags

        return RecentFlags(self.latest_flags, lambda: self.settings.flags_max_age_seconds, self.timing)

    @part
    def refresher(self) -> Refresher:
        return self._refresher(self.timing)

    def reconciler(self, within_seconds: float) -> Refresher:
        """The refresher for a function that has so many seconds left, and that nobody waits for."""
        return self._refresher(self.timing.for_reconcile(within_seconds))

    def _refresher(self, timing: Timing) -> Refresher:
        from .refresh.fetch import fetch_data_set
        from .refresh.refresher import Refresher

        fetch = functools.partial(fetch_data_set, self.settings, timing=timing)
        environment = self.settings.environment
        named = None if environment is None else str(environment)
        return Refresher(self.writer, fetch, self.source, timing, named)

    @property
    def source(self) -> str:
        """Where the data set comes from, in the words of the sync record."""
        return "launchdarkly" if self.settings.flag_file is None else "file"

    def latest_flags(self) -> Snapshot | DirectFlags:
        """What there is to evaluate from, for no request in particular. Raises as ``current_flags``."""
        if self.settings.direct_mode:
            return self.direct_flags
        snapshot = self.snapshots.current()
        return snapshot._replace(record_event=self.recorder.record) if self.settings.records_events else snapshot

    def current_flags(self, *, counted: bool = True, arrived_at: float | None = None) -> Snapshot | DirectFlags:
        """What a request evaluates from, from its start to its end; ``counted``: LaunchDarkly may know of it.

        ``arrived_at``: since when the request has been there (Unix time), if that is known.

        What it waits for the flag store it cannot wait for memberships in big segments. Raises StoreUnavailable and
        StoreNotInitialized in daemon mode, ConfigurationError in both.
        """
        if self.settings.direct_mode:
            return self.direct_flags._replace(counts=counted or not self.settings.sdk_sends_events)
        begun = time.monotonic()
        snapshot = self.snapshots.current(arrived_at)
        if counted and self.settings.records_events:
            snapshot = snapshot._replace(record_event=self.recorder.record)
        seconds_left = self.timing.big_segments_seconds - (time.monotonic() - begun)
        return snapshot.for_request(max(seconds_left, self.timing.big_segments_least_seconds))

    def track(self, context: Context, name: str, data: Any = None, metric_value: float | None = None) -> str | None:
        """Tell LaunchDarkly of something that has happened (``data``: JSON). Why that is not done, or None."""
        settings = self.settings
        if settings.direct_mode:
            if not settings.sdk_sends_events:
                return "EVENTS is 'off'." if settings.flag_file is None else "The flags come from a file."
            self.direct_flags.client.track(name, context, data, metric_value)
            return None
        if settings.events_mode != "full":
            return f"EVENTS is {settings.events_mode or 'off'!r}; custom events are sent where it is 'full'."
        self.recorder.track(context, name, data, metric_value)
        return None

    def end_invocation(self) -> None:
        """Leave in the store what there is to tell LaunchDarkly, if that is due. Raises nothing."""
        recorder: Recorder | None = vars(self).get("recorder")
        if recorder is not None:
            snapshots: Snapshots | None = vars(self).get("snapshots")
            recorder.end_invocation(is_store_away=snapshots is not None and snapshots.is_store_away)

    def events_status(self) -> dict[str, Any] | None:
        """The part of ``/status`` about events (Any: JSON); None while the store does not tell.

        A store that has just failed is not waited for once more.
        """
        from .events.state import events_status

        if self.snapshots.is_store_away:
            return None
        try:
            report = self.reader.read_delivery()
        except FlagsError:
            return None
        return {"mode": self.settings.events_mode, **events_status(report, time.time())}

    def begin_to_read(self) -> None:
        """Begin to read the data set, which waits for the network while the caller imports what evaluates it.

        The garbage collector rests until :meth:`read_ahead`. As there, what fails is left to the first request.
        Nothing is read in direct mode.
        """
        pause_collector()
        try:
            if not self.settings.direct_mode:
                reader = self.reader
                from .stores.ahead import FirstRead

                self._first_read = FirstRead(reader)
        except Exception:  # whatever it is, loading the function must not fail
            self._forget_what_failed()

    def read_ahead(self) -> None:
        """Read the data set before the first event, while Lambda lends a function a whole processor.

        What fails here is left to the first request, as if nothing had been tried. Nothing in direct mode.
        """
        self._read_ahead(lambda: self.snapshots.current())
        resume_collector()

    def read_flags_ahead(self) -> None:
        """The same for what ``flags`` answers from."""
        with collector_paused():
            self._read_ahead(lambda: self.recent_flags.read_ahead())

    def _read_ahead(self, read: Callable[[], object]) -> None:
        with self.lock:
            try:
                if self.settings.direct_mode:
                    return
                read()
                if is_to_be_restored():
                    self.reader.close()
            except Exception:  # as wide as above
                self._forget_what_failed()

    def _forget_what_failed(self) -> None:
        """Whatever it was, the first request meets it again, and says so."""
        self._first_read = None
        for name in ("snapshots", "reader"):
            vars(self).pop(name, None)

    def data_age_seconds(self) -> float | None:
        """How long ago the store was last refreshed; None while nobody can tell."""
        try:
            record = self.reader.read_sync_record()
        except FlagsError:
            return None
        return None if record is None else max(0.0, time.time() - record.synced_at_ms / 1000)


wiring = Wiring()
"""That of this process: ``app.py`` and ``flags`` have their parts in common. It has built none yet."""
