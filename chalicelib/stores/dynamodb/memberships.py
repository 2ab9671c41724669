"""Memberships in big segments in a DynamoDB table, where LaunchDarkly's SDKs look for them.

For the prefix ``launchdarkly``, and the hash of a context key:

- ``launchdarkly:big_segments_user`` / the hash: ``included`` and ``excluded``, sets of references of segments.
- ``launchdarkly:big_segments_metadata`` (twice): ``synchronizedOn``, when they were last brought up to date, in Unix
  milliseconds.

As the SDKs do, reads are not strongly consistent: what is read is some seconds old as it is.
IAM action: ``dynamodb:BatchGetItem``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...errors import StoreUnavailable
from ...patience import Patience
from ...timing import Timing
from ..port import StoredMemberships
from .endpoint import Json, RequestRefused, dynamodbs_shape
from .table import Attributes


class DynamoDbMemberships:
    """Over the connection of a reader. Of a batch, all is one request."""

    at_once = 99
    """And whether they are up to date: BatchGetItem takes 100 keys."""

    def __init__(self, call: Callable[[str, Json, float], Json], table: str, prefix: str, timing: Timing) -> None:
        self._call = call
        self._name = table
        self._prefix = f"{prefix}:" if prefix else ""
        self._timing = timing

    @dynamodbs_shape()
    def read(self, hashes: Collection[str], within_seconds: float) -> StoredMemberships:
        metadata, users = (self._prefix + name for name in ("big_segments_metadata", "big_segments_user"))
        items, unprocessed = self._read_items(
            [_key(metadata, metadata), *(_key(users, each) for each in hashes)], within_seconds
        )
        failure = "DynamoDB is throttling requests." if unprocessed else None
        digits = items.get(metadata, {}).get("synchronizedOn", {}).get("N")
        try:
            synchronized_on_ms, is_known = None if digits is None else int(digits), metadata not in unprocessed
        except ValueError:
            synchronized_on_ms, is_known = None, False
            failure = failure or f"What the table holds as synchronizedOn of {metadata} is no whole number."
        memberships = {each: _membership(items.get(each, {})) for each in hashes if each not in unprocessed}
        return StoredMemberships(memberships, synchronized_on_ms, is_known, failure)

    def _read_items(self, keys: list[Attributes], within_seconds: float) -> tuple[dict[str, Attributes], set[str]]:
        """The items that there are, by their sort keys, and the sort keys of those that DynamoDB did not process."""
        patience = Patience(within_seconds)
        found: dict[str, Attributes] = {}
        for attempt in range(self._timing.dynamodb_read_attempts):
            if attempt:
                patience.pause(self._timing.dynamodb_read_pause_seconds)
                if not patience.seconds_left:
                    break  # what was found counts
            with patience.waiting() as seconds:
                answer = self._ask({"RequestItems": {self._name: {"Keys": keys}}}, seconds)
            found.update((item["key"]["S"], item) for item in answer.get("Responses", {}).get(self._name, ()))
            keys = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            if not keys:
                break
        return found, {key["key"]["S"] for key in keys}

    def _ask(self, request: Json, within_seconds: float) -> Json:
        try:
            return self._call("BatchGetItem", request, within_seconds)
        except RequestRefused as refusal:
            if refusal.code != "ResourceNotFoundException":
                raise
            raise StoreUnavailable("The table of the big segments does not exist in this account and region.") from None


def _key(namespace: str, key: str) -> Attributes:
    return {"namespace": {"S": namespace}, "key": {"S": key}}


def _membership(item: Attributes) -> dict[str, bool]:
    """Inclusion wins. What is no set of strings counts for nothing, as in the SDKs."""
    excluded, included = (item.get(name, {}).get("SS", ()) for name in ("excluded", "included"))
    return {**dict.fromkeys(excluded, False), **dict.fromkeys(included, True)}
