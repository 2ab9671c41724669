"""Direct mode, for small workloads: the SDK streams from LaunchDarkly, and there is no store."""

from __future__ import annotations

from dataclasses import dataclass

from ldclient.client import LDClient

from ..config import Settings
from ..launchdarkly.clients import direct_client
from .feature_stores import DirectFeatureStore

_START_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class DirectFlags:
    """An SDK client that follows LaunchDarkly by itself, and the data it has received."""

    client: LDClient
    feature_store: DirectFeatureStore


def connect_directly(settings: Settings) -> DirectFlags:
    """Connect to LaunchDarkly and wait a few seconds for the data set; it may still arrive later.

    Raises ConfigurationError without an SDK key.
    """
    feature_store = DirectFeatureStore()
    return DirectFlags(direct_client(settings, feature_store, _START_WAIT_SECONDS), feature_store)
