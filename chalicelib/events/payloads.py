"""What is sent to LaunchDarkly at a time, made of the batches in the store. Pure, so that it can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .batches import Json

MOST_BYTES = 1_000_000
"""Of the JSON of a payload, unless one event is larger."""

_MINUTE_MS = 60_000


def merged(events: Iterable[Json]) -> list[Json]:
    """The events in their order, with one summary for all that began in the same minute: charts keep their time."""
    kept: list[Json] = []
    summaries: dict[int, Json] = {}
    for event in events:
        if event["kind"] != "summary":
            kept.append(event)
            continue
        minute = event["startDate"] // _MINUTE_MS
        if minute in summaries:
            _add(summaries[minute], event)
        else:
            summaries[minute] = {**event, "features": {}}
            kept.append(summaries[minute])
            _add(summaries[minute], event)
    return kept


def _add(summary: Json, other: Json) -> None:
    """Add a summary to one of ours, as the SDK would have counted all in one: its first default stays."""
    summary["startDate"] = min(summary["startDate"], other["startDate"])
    summary["endDate"] = max(summary["endDate"], other["endDate"])
    for key, feature in other["features"].items():
        known = summary["features"].setdefault(key, {**feature, "contextKinds": [], "counters": []})
        known["contextKinds"] += [kind for kind in feature["contextKinds"] if kind not in known["contextKinds"]]
        counters = {_identity(counter): counter for counter in known["counters"]}
        for counter in feature["counters"]:
            mine = counters.get(_identity(counter))
            if mine is None:
                known["counters"].append(dict(counter))
            else:
                mine["count"] += counter["count"]


def _identity(counter: Json) -> tuple[Any, Any]:
    """What the SDK counts by. A flag that is unknown has no version, and what got the default has no variation."""
    return counter.get("variation"), counter.get("version")


def nothing(now_ms: int) -> list[Json]:
    """The events of a payload that counts nothing: whether LaunchDarkly takes it tells whether it takes any."""
    return [{"kind": "summary", "startDate": now_ms, "endDate": now_ms, "features": {}}]


def to_json(events: Sequence[Json]) -> bytes:
    """The body of a payload, before it is compressed."""
    return json.dumps(events, separators=(",", ":")).encode()


def cut(events: Sequence[Json], most_bytes: int = MOST_BYTES) -> Iterator[tuple[int, int]]:
    """Where to divide the events, (start, end), so that no part has more bytes than that, or has only one event."""
    start, size = 0, 0
    for index, event in enumerate(events):
        length = len(to_json([event]))
        if index > start and size + length > most_bytes:
            yield start, index
            start, size = index, 0
        size += length
    if len(events) > start:
        yield start, len(events)
