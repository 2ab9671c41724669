"""LaunchDarkly's own event pipeline, as far as it does no I/O: what is counted, sent in full, left out and redacted.

The classes are the SDK's, and it keeps them to itself. Importing them as they stand would import its
configuration, its HTTP client and its migrations, for a type that they only name: so those wait, as in ``sdk.py``.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from ..runtime.deferred import defer, lending
from . import sdk


class _AnyMigration(type):
    def __instancecheck__(cls, event: object) -> bool:
        return type(event).__name__ == "MigrationOpEvent"


class _MigrationOpEvent(metaclass=_AnyMigration):
    """What an event is, without importing the SDK's migrations: whoever has made one has imported them."""


def _timedelta_millis(delta: timedelta) -> float:
    return delta / timedelta(milliseconds=1)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is called: by an SDK client of the user's own."""
    return lambda *arguments: getattr(importlib.import_module(module), name)(*arguments)


for _name in ("calendar", "random", "email.utils", "ldclient.config", "ldclient.migrations"):
    defer(_name)
defer("ldclient.migrations.tracker")

with (
    lending("calendar", timegm=_later("calendar", "timegm")),
    lending("email.utils", parsedate=_later("email.utils", "parsedate")),
    lending("random", Random=object),
    lending("ldclient.config", PrivateAttributesConfig=object),
    lending("ldclient.migrations.tracker", MigrationOpEvent=_MigrationOpEvent),
    lending(
        "ldclient.impl.util",
        current_time_millis=sdk.current_time_millis,
        is_http_error_recoverable=_later("ldclient.impl.util", "is_http_error_recoverable"),
        log=logging.getLogger("ldclient.util"),
        timedelta_millis=_timedelta_millis,
    ),
):
    from ldclient.impl.events.event_processor_common import (
        CURRENT_EVENT_SCHEMA,
        EventBuffer,
        EventDispatcherBase,
        EventOutputFormatter,
    )
    from ldclient.impl.events.types import EventInputEvaluation
    from ldclient.impl.lru_cache import SimpleLRUCache
    from ldclient.impl.sampler import Sampler

__all__ = ["CURRENT_EVENT_SCHEMA", "EventPipeline"]

Json = dict[str, Any]
"""An event as LaunchDarkly takes it (Any: JSON)."""

MOST_EVENTS = 1_000
"""Full events that are kept until they are taken; and as many flags are counted that are no flags."""
MOST_FLAGS = 10_000
"""Flags that are counted."""

_KNOWN_CONTEXTS = 1_000
"""As many as the SDK remembers by default, so that a context is sent once and not with each evaluation."""


class EventPipeline(EventDispatcherBase):
    """Gathers what is evaluated and tracked, as the SDK's event processor does. Not thread-safe.

    ``private_attributes`` are attribute references, or None when every attribute is private.
    ``summaries_only``: evaluations are counted, and nothing else is kept.
    """

    def __init__(
        self, private_attributes: Iterable[str] | None, *, omit_anonymous: bool = False, summaries_only: bool = False
    ) -> None:
        self.all_attributes_private = private_attributes is None
        self.private_attributes = list(private_attributes or ())
        self._summaries_only = summaries_only
        self._too_many = 0
        self._disabled = False
        self._outbox = EventBuffer(MOST_EVENTS)
        self._sampler = Sampler(_Random())  # type: ignore[arg-type]
        self._context_keys = SimpleLRUCache(_KNOWN_CONTEXTS)
        self._last_known_past_time = 0
        self._omit_anonymous_contexts = omit_anonymous
        self._deduplicated_contexts = 0
        self._formatter = EventOutputFormatter(self)

    @property
    def is_filling(self) -> bool:
        """Whether it is time to take what is there, however young it is."""
        return len(self._outbox.get_payload().events) >= MOST_EVENTS // 2

    def process(self, event: Any) -> None:
        """Take in one event of the SDK's (which exports no type)."""
        is_evaluation = isinstance(event, EventInputEvaluation)
        if is_evaluation and self._is_too_much(event):
            self._too_many += 1
        elif not self._summaries_only:
            self._process_event(event)
        elif is_evaluation and not event.exclude_from_summaries:
            self._outbox.add_to_summary(event)

    def _is_too_much(self, event: EventInputEvaluation) -> bool:
        """The SDK's summary has no bound, and a caller may ask for any number of keys that are no flags."""
        counted = self._outbox.get_payload().summary.flags
        return event.key not in counted and len(counted) >= (MOST_EVENTS if event.flag is None else MOST_FLAGS)

    def take(self) -> tuple[list[Json], int]:
        """The events as LaunchDarkly takes them, redacted, and how many there was no room for; both start anew."""
        events, summary = self._outbox.get_payload()
        dropped = self._outbox.get_and_clear_dropped_count() + self._too_many
        self._too_many = 0
        try:
            return self._formatter.make_output_events(events, summary), dropped
        finally:
            self._outbox.clear()

    def forget_contexts(self) -> None:
        """From here on each context is sent once more."""
        self._context_keys.clear()


class _Random:
    """A generator that is imported when a sampling ratio asks for it."""

    def random(self) -> float:
        import random

        return random.random()
