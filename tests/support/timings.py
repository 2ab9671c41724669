"""How long the parts under test wait for a store that answers, on a machine that is very busy."""

from __future__ import annotations

from chalicelib.timing import Timing

PATIENT = Timing(
    first_exchange_seconds=60,
    redis_held_seconds=30,
    redis_reconnect_seconds=30,
    dynamodb_held_seconds=30,
    dynamodb_reconnect_seconds=30,
    dynamodb_query_seconds=60,
    big_segments_seconds=60,
    big_segments_least_seconds=60,
    events_held_seconds=30,
    events_reconnect_seconds=30,
    silence_seconds=60,
    exchange_seconds=120,
)
"""The read path gives up within a second otherwise. A test whose store keeps silent has the app wait by `Timing()`."""
