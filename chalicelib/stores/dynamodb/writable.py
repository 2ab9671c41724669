"""A DynamoDB table as it is changed: locks, conditional updates, and batches of writes.

Locks go by DynamoDB's own time, so that no two instances' clocks have to agree.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime

from ...data_set import Item
from .endpoint import THROTTLED, RequestRefused, dynamodbs_shape
from .table import Attributes, Table, date_of, text_in

_LONGEST_LOCK_SECONDS = 900
"""As long as a function can last. A lock that claims to end later is none of ours."""


class WritableTable(Table):
    """What is read and changed of one table under one prefix. Raises StoreUnavailable, RequestRefused among it."""

    @dynamodbs_shape()
    def try_lock(self, name: str, owner: str, seconds: float) -> bool:
        """Whether ``owner`` now has the lock in this item, until unlock or for so many seconds.

        Whole seconds free a lock up to one second early, which whoever writes under it leaves room for.
        """
        answer = self.get(name)
        item, now = answer.get("Item", {}), read_at(date_of(answer))
        holder = text_in(item, "lock_owner")
        if holder is not None and 0 < number_in(item, "lock_expires") - now <= _LONGEST_LOCK_SECONDS:
            return False
        # Not if another has taken it since it was read.
        is_free = "attribute_not_exists(lock_owner) OR lock_owner IN (:owner, :seen)"
        is_no_lock = "NOT attribute_type(lock_owner, :text)"
        expires = now + math.ceil(seconds)
        return self.set_lock(name, owner, expires, f"{is_free} OR {is_no_lock}", seen=holder or owner, text="S")

    def set_lock(self, name: str, owner: str, expires: int, condition: str, **values: str) -> bool:
        """Whether ``owner`` has the lock, until this Unix time; not if the condition does not hold."""
        expression = "SET lock_owner = :owner, lock_expires = :expires"
        return self.update(name, expression, condition, owner=owner, expires=expires, **values) is not None

    def unlock(self, name: str, owner: str) -> None:
        """Free the lock if ``owner`` still holds it."""
        self.update(name, "REMOVE lock_owner, lock_expires", "lock_owner = :owner", owner=owner)

    def update(
        self, name: str, expression: str, condition: str | None = None, **values: str | int | list[str]
    ) -> Attributes | None:
        """The attributes that were updated, or None when the condition does not hold.

        ``:name`` in the expressions is the value of that name, ``#name`` an attribute whose name is a
        reserved word. What ADD cannot add to, because it is of another type or has become too large, gives
        way, whoever left it.
        """
        request = {
            "TableName": self.name,
            "Key": self.key(name, self.namespace(name)),
            "UpdateExpression": expression,
            "ReturnValues": "UPDATED_NEW",
        }
        if values:
            request["ExpressionAttributeValues"] = {f":{name}": value_of(value) for name, value in values.items()}
        if names := re.findall(r"#(\w+)", expression):
            request["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        if condition is not None:
            request["ConditionExpression"] = condition
        try:
            updated: Attributes = self.call("UpdateItem", request).get("Attributes", {})
        except RequestRefused as refusal:
            if refusal.code == "ConditionalCheckFailedException":
                return None
            if refusal.code != "ValidationException" or "ADD " not in expression:
                raise
            return self.update(name, _set_instead_of_add(expression), condition, **values)
        return updated

    def batch_write(self, requests: list[Attributes]) -> list[Attributes]:
        """What DynamoDB did not process of at most 25 requests."""
        try:
            answer = self.call("BatchWriteItem", {"RequestItems": {self.name: requests}})
        except RequestRefused as refusal:
            if refusal.code not in THROTTLED:
                raise
            return requests
        unprocessed: list[Attributes] = answer.get("UnprocessedItems", {}).get(self.name, [])
        return unprocessed

    def put_request(self, kind: str, key: str, item: Item) -> Attributes:
        attributes = {"version": value_of(item.version), "item": value_of(item.text.decode())}
        return {"PutRequest": {"Item": {**self.key(kind, key), **attributes}}}

    def put_data_request(self, name: str, key: str, data: bytes, **others: Attributes) -> Attributes:
        return {"PutRequest": {"Item": {**self.key(name, key), "data": {"B": data}, **others}}}

    def put_marker_request(self, name: str) -> Attributes:
        return {"PutRequest": {"Item": self.key(name, self.namespace(name))}}

    def delete_request(self, kind: str, key: str) -> Attributes:
        return {"DeleteRequest": {"Key": self.key(kind, key)}}


@dynamodbs_shape()
def read_at(date: str) -> int:
    """The Date of an answer in Unix time."""
    return int(parsedate_to_datetime(date).timestamp())


def texts_in(item: Attributes, name: str) -> list[str]:
    """The set of texts that an item holds under this name, in order; empty where it holds none, or something else."""
    return sorted(item.get(name, {}).get("SS", ()))


def number_in(item: Attributes, name: str) -> int:
    """The whole number that an item holds under this name; 0 where it holds none, or something else."""
    digits: str = item.get(name, {}).get("N", "")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _set_instead_of_add(expression: str) -> str:
    """Of an expression that begins with SET, or has nothing but ADD."""
    return re.sub(r" ADD (\w+) ", r", \1 = ", re.sub(r"^ADD (\w+) ", r"SET \1 = ", expression))


def value_of(value: str | int | list[str]) -> Attributes:
    """In the types of DynamoDB's protocol."""
    if isinstance(value, list):
        return {"SS": value}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}
