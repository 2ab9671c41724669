"""What one function instance leaves in the store at a time: events as LaunchDarkly takes them, compressed. Pure."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
"""A JSON object, such as an event (Any: JSON)."""

MOST_BYTES = 300_000
"""Of the data of a batch: a DynamoDB item may have 400 KB."""

_MOST_DIGITS = 15
"""Of a time in Unix ms. Python cannot divide an integer of many hundreds, or parse one of thousands."""

_DROPPED = "dropped"
"""The kind of the note, no event of LaunchDarkly's, that says how many events had to be dropped before."""


class Batch(NamedTuple):
    """``name`` begins with the time, in Unix ms, at which it was packed: by name, batches are in order of age.

    Names have 22 characters. The same batch may be there twice, if the answer to leaving it was lost.
    """

    name: str
    data: bytes

    @property
    def packed_at_ms(self) -> int:
        return packed_at_ms(self.name)


class DeliveryReport(NamedTuple):
    """``state``: what the delivery keeps between its runs. ``oldest``: the name of the oldest batch that is queued."""

    state: str | None
    oldest: str | None


def packed_at_ms(name: str) -> int:
    """0 for a name that is not one of ours."""
    digits = name.partition("-")[0]
    return int(digits) if len(digits) <= _MOST_DIGITS and digits.isascii() and digits.isdigit() else 0


def pack(events: Sequence[Json], dropped: int, now_ms: int) -> list[Batch]:
    """The events in as few batches as they fit into, with a note of how many were ``dropped`` before.

    An event that no batch can hold, or that is no JSON, is dropped and noted as well. A number beyond 64-bit floating
    point is none: a caller's 1e999 becomes null, as it does in JavaScript.
    """
    parts, lost = _parts(events)
    if dropped + lost:
        note, _ = _parts([{"kind": _DROPPED, "count": dropped + lost}])
        parts += note
    return [Batch(f"{now_ms:013d}-{os.urandom(4).hex()}", part) for part in parts]


def _parts(events: Sequence[Json]) -> tuple[list[bytes], int]:
    """The data of batches, and how much had to be dropped."""
    if not events:
        return [], 0
    data = _compressed(events)
    if data is not None and len(data) <= MOST_BYTES:
        return [data], 0
    halves = _halves(events)
    if halves is None:
        return [], weight(events)
    (first, lost_of_first), (second, lost_of_second) = map(_parts, halves)
    return first + second, lost_of_first + lost_of_second


def _compressed(events: Sequence[Json]) -> bytes | None:
    """None when some of them cannot be written as JSON."""
    try:
        try:
            text = json.dumps(events, separators=(",", ":"), allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(events), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return zlib.compress(text.encode())


def _finite(value: Any) -> Any:
    """The same JSON (hence Any), with null for what is no number of LaunchDarkly's."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        return None
    return value


def _halves(events: Sequence[Json]) -> tuple[Sequence[Json], Sequence[Json]] | None:
    """Of several events, or of the flags of one summary; None of what cannot be divided."""
    middle = len(events) // 2
    if middle:
        return events[:middle], events[middle:]
    features = list(events[0].get("features", {}).items())
    middle = len(features) // 2
    if not middle:
        return None
    return [{**events[0], "features": dict(features[:middle])}], [{**events[0], "features": dict(features[middle:])}]


class Unpacked(NamedTuple):
    """What a batch holds. ``dropped``: how many events its function had no room for before."""

    events: list[Json]
    dropped: int


def unpack(batch: Batch) -> Unpacked:
    """Nothing of a batch that cannot be read, whoever left it."""
    try:
        found = json.loads(zlib.decompress(batch.data))
        events = [event for event in found if event["kind"] != _DROPPED]
        for event in events:
            if event["kind"] == "summary":
                _check_summary(event)
        return Unpacked(events, sum(int(event["count"]) for event in found if event["kind"] == _DROPPED))
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return Unpacked([], 1)


def _check_summary(event: Json) -> None:
    """Raises an error of Python's unless it can be counted and merged: no batch may stop the delivery for ever."""
    features = event["features"].values()
    counts = [counter["count"] for feature in features for counter in feature["counters"]]
    if not all(type(each) is int for each in (event["startDate"], event["endDate"], *counts)):
        raise TypeError
    if not all(isinstance(feature["contextKinds"], list) for feature in features):
        raise TypeError


def weight(events: Sequence[Json]) -> int:
    """How many evaluations are counted in these events, and how many of them are full ones, together."""
    return sum(
        sum(counter["count"] for flag in event["features"].values() for counter in flag["counters"])
        if event["kind"] == "summary"
        else 1
        for event in events
    )
