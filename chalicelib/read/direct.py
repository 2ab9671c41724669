"""Direct mode, for small workloads: the SDK streams from LaunchDarkly, and there is no store."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ldclient.client import LDClient
from ldclient.feature_store import InMemoryFeatureStore

from ..config import Settings
from ..launchdarkly.clients import direct_client
from ..launchdarkly.evaluators import ClientEvaluator
from ..timing import Timing
from .snapshots import Provenance


class DirectFeatureStore(InMemoryFeatureStore):
    """The SDK's own store; the SDK itself refuses what it cannot read."""

    def unreadable_flags(self) -> Collection[str]:
        return ()


class DirectFlags(NamedTuple):
    """An SDK client that follows LaunchDarkly by itself, and the data it has received."""

    client: LDClient
    feature_store: DirectFeatureStore

    @property
    def evaluator(self) -> ClientEvaluator:
        return ClientEvaluator(self.client)

    @property
    def provenance(self) -> Provenance:
        return Provenance()


def connect_directly(settings: Settings, timing: Timing) -> DirectFlags:
    """Connect to LaunchDarkly and wait a few seconds for the data set; it may still arrive later.

    Raises ConfigurationError without an SDK key.
    """
    feature_store = DirectFeatureStore()
    return DirectFlags(direct_client(settings, feature_store, timing.direct_start_seconds), feature_store)
