"""Events as a DynamoDB table holds them, read."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator
from typing import Any

from ...events.batches import Batch, DeliveryReport
from .endpoint import dynamodbs_shape
from .table import Attributes, Table, text_in


@dynamodbs_shape()
def read_report(table: Table) -> DeliveryReport:
    """Two reads: what the delivery has kept, and the name of the oldest batch."""
    state = text_in(table.get("$delivery").get("Item", {}), "state")
    page = table.call("Query", {**_query(table), "Limit": 1})
    return DeliveryReport(state, page["Items"][0]["key"]["S"] if page["Items"] else None)


def batches(table: Table, first: str | None = None, last: str | None = None) -> Iterator[Batch]:
    """All batches, oldest first, or those from one name to another; page by page, as they are asked for."""
    request = _query(table)
    if first is not None:
        request["KeyConditionExpression"] += " AND #key BETWEEN :first AND :last"
        request["ExpressionAttributeValues"] |= {":first": {"S": first}, ":last": {"S": last}}
    while True:
        page = table.call("Query", request)
        with dynamodbs_shape():
            found = [_batch(item) for item in page["Items"]]
            next_page = page.get("LastEvaluatedKey")
        yield from found
        if not next_page:
            return
        request["ExclusiveStartKey"] = next_page


def _query(table: Table) -> Attributes:
    return {
        "TableName": table.name,
        "ConsistentRead": True,
        "KeyConditionExpression": "namespace = :namespace",
        "ProjectionExpression": "#key, #data",
        "ExpressionAttributeNames": {"#key": "key", "#data": "data"},
        "ExpressionAttributeValues": {":namespace": {"S": table.namespace("$events")}},
    }


def _batch(item: Any) -> Batch:
    """An item as DynamoDB's JSON or AWS's SDK has it; one without data, whoever left it, is an empty batch."""
    data = item.get("data", {}).get("B", b"")
    return Batch(item["key"]["S"], a2b_base64(data) if isinstance(data, str) else bytes(data))
