"""Direct mode, for small workloads: the SDK streams from LaunchDarkly, and there is no store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from ldclient.client import LDClient
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.interfaces import BigSegmentStore, BigSegmentStoreMetadata

from ..config import Settings
from ..errors import StoreUnavailable
from ..launchdarkly.clients import direct_client, pinned_client
from ..launchdarkly.evaluators import ClientEvaluator
from ..launchdarkly.sdk import VersionedDataKind
from ..stores.port import MembershipReader
from ..timing import Timing
from .feature_stores import bound_patterns_of
from .snapshots import Provenance


class DirectFeatureStore(InMemoryFeatureStore):
    """The SDK's own store, with patterns that are bounded; the SDK itself refuses what it cannot read."""

    def init(self, all_data: Mapping[VersionedDataKind, Mapping[str, Any]]) -> None:
        super().init(  # type: ignore[no-untyped-call]
            {kind: {key: _bounded(kind, item) for key, item in items.items()} for kind, items in all_data.items()}
        )

    def upsert(self, kind: VersionedDataKind, item: Any) -> None:
        super().upsert(kind, _bounded(kind, item))  # type: ignore[no-untyped-call]

    def all(self, kind: VersionedDataKind, callback: Callable[[Any], Any] = lambda items: items) -> Any:
        return super().all(kind, callback)  # type: ignore[no-untyped-call]

    def holds(self, kind: VersionedDataKind, key: str) -> bool:
        return self.get(kind, key) is not None

    def unreadable_flags(self) -> Collection[str]:
        return ()


def _bounded(kind: VersionedDataKind, item: Any) -> Any:
    """The SDK's model of an item (which exports no type), or what the SDK deletes an item with."""
    decoded = kind.decode(item)
    bound_patterns_of(decoded)
    return decoded


class DirectBigSegments(BigSegmentStore):
    """Memberships in big segments as the SDK's client asks for them, which keeps them, and polls by itself."""

    def __init__(self, reader: MembershipReader, timing: Timing) -> None:
        self._reader = reader
        self._seconds = timing.big_segments_seconds

    def get_metadata(self) -> BigSegmentStoreMetadata:
        stored = self._reader.read((), self._seconds)
        if not stored.is_synchronization_known:
            raise StoreUnavailable(stored.failure)
        return BigSegmentStoreMetadata(stored.synchronized_on_ms)

    def get_membership(self, context_hash: str) -> dict[str, bool]:
        stored = self._reader.read((context_hash,), self._seconds)
        if context_hash not in stored.memberships:
            raise StoreUnavailable(stored.failure)
        return stored.memberships[context_hash]

    def stop(self) -> None:
        """The connection is the process's."""


class DirectFlags(NamedTuple):
    """An SDK client that follows LaunchDarkly by itself, and the data it has received."""

    client: LDClient
    feature_store: DirectFeatureStore
    counts: bool = True
    """Whether the client sends events of what is evaluated."""

    @property
    def memberships(self) -> None:
        """The client keeps them to itself."""

    @property
    def evaluator(self) -> ClientEvaluator:
        return ClientEvaluator(self.client, counts=self.counts)

    @property
    def records(self) -> bool:
        return self.counts

    def unrecorded(self) -> DirectFlags:
        return self._replace(counts=False)

    @property
    def provenance(self) -> Provenance:
        return Provenance()

    def client_of_now(self) -> LDClient:
        """A client over what has been received until now, whose events are sent like those of the other."""
        return pinned_client(self.feature_store, self.client)


def connect_directly(settings: Settings, timing: Timing, memberships: MembershipReader | None) -> DirectFlags:
    """Connect to LaunchDarkly and wait a few seconds for the data set; it may still arrive later.

    ``memberships``: the store of big segments, if there is one. Raises ConfigurationError without an SDK key, and
    LaunchDarklyUnreachable for a flag file that cannot be read.
    """
    if settings.flag_file is not None:
        from ..flag_file.reading import read_flag_file

        read_flag_file(settings.flag_file)  # the SDK, which reads it again, does not say what is wrong with it
    feature_store = DirectFeatureStore()
    big_segments = None if memberships is None else DirectBigSegments(memberships, timing)
    client = direct_client(settings, feature_store, timing.direct_start_seconds, big_segments)
    return DirectFlags(client, feature_store)
