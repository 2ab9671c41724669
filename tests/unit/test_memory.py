"""A data set goes when nobody needs it any more: a warm function lives for hours, and flags change."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from chalicelib.data_set import fetched_item
from chalicelib.read.contexts import parse_context
from chalicelib.read.evaluation import Options, evaluate_flags
from chalicelib.read.feature_stores import SnapshotFeatureStore
from chalicelib.read.snapshots import Snapshot
from tests.support.data import boolean_flag


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_snapshot_is_freed_without_the_garbage_collector(no_collector: None) -> None:
    feature_store = SnapshotFeatureStore(
        {"features": {"shiny": fetched_item(boolean_flag("shiny")).text}, "segments": {}}
    )
    snapshot = Snapshot(feature_store, "revision", None, read_at=0.0)
    context = parse_context({"kind": "user", "key": "anna"})
    for selected in (None, ("shiny",)):
        assert evaluate_flags(snapshot, context, Options(flags=selected))["shiny"]["value"] is True

    following = SnapshotFeatureStore(feature_store._texts, feature_store)
    assert following._decoded["features"].keys() == {"shiny"}, "taken over"
    freed = weakref.ref(feature_store)
    del snapshot, feature_store

    assert freed() is None
