"""Orders: what they cost, and where they are kept. Knows nothing of flags but their contexts."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from .flags import Context

SERVICE = Context.create("order-service", "service")
"""For flags that are about the service itself. A context can be kept: it never changes."""


class InvalidOrder(Exception):
    """The order is not ``{"id", "organization", "items": [{"price", "count"}]}``."""


class Order(NamedTuple):
    id: str
    context: Context
    subtotal: int
    """In cents."""


def json_of(text: str) -> Any:
    """Raises InvalidOrder."""
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidOrder("The order is no JSON.") from None


def parse_order(order: Any) -> Order:
    """Raises InvalidOrder."""
    try:
        context = Context.create(order["organization"], "organization")
        subtotal = sum(item["price"] * item["count"] for item in order["items"])
        return Order(str(order["id"]), context, subtotal)
    except (TypeError, KeyError):
        raise InvalidOrder('Expected {"id", "organization", "items": [{"price": <cents>, "count"}]}.') from None


def total(order: Order, *, new_pricing: bool) -> int:
    """In cents. The new prices are a tenth lower from 100 on."""
    return order.subtotal * 9 // 10 if new_pricing and order.subtotal >= 100_00 else order.subtotal


def keep(order: Order, total_cents: int) -> None:
    """In the table that ``ORDERS_TABLE`` names. An order that comes twice, as it may from a queue, is kept once."""
    _table().put_item(Item={"id": order.id, "total": total_cents, "reminded": False})


def remind(limit: int) -> int:
    """Marks so many orders as reminded; how many there were."""
    if limit <= 0:
        return 0
    table, open_orders = _table(), {"FilterExpression": "reminded = :no", "ExpressionAttributeValues": {":no": False}}
    due = table.scan(**open_orders)["Items"][:limit]
    for order in due:
        table.put_item(Item={**order, "reminded": True})
    return len(due)


def _table() -> Any:
    """(``Any``: boto3 makes its classes when it runs.)"""
    import boto3  # takes a third of a second: nobody who asks for a quote should wait for it

    return boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])
