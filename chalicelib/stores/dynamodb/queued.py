"""Events as a DynamoDB table holds them, read."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator
from typing import Any

from ...events.batches import Batch, DeliveryReport
from .endpoint import dynamodbs_shape
from .table import Table, text_in


@dynamodbs_shape()
def read_report(table: Table) -> DeliveryReport:
    """Two reads: what the delivery has kept, and the name of the oldest batch."""
    state = text_in(table.get("$delivery").get("Item", {}), "state")
    oldest = next(table.items({**table.query("$events", "data"), "Limit": 1}), None)
    return DeliveryReport(state, None if oldest is None else oldest["key"]["S"])


def batches(table: Table, first: str | None = None, last: str | None = None) -> Iterator[Batch]:
    """All batches, oldest first, or those from one name to another; page by page, as they are asked for."""
    query = table.query("$events", "data")
    if first is not None:
        query["KeyConditionExpression"] += " AND #key BETWEEN :first AND :last"
        query["ExpressionAttributeValues"] |= {":first": {"S": first}, ":last": {"S": last}}
    with dynamodbs_shape():
        yield from map(_batch, table.items(query))


def _batch(item: Any) -> Batch:
    """An item as DynamoDB's JSON or AWS's SDK has it; one without data, whoever left it, is an empty batch."""
    data = item.get("data", {}).get("B", b"")
    return Batch(item["key"]["S"], a2b_base64(data) if isinstance(data, str) else bytes(data))
