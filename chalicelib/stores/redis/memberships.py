"""Memberships in big segments in Redis, where LaunchDarkly's SDKs look for them.

For the prefix ``launchdarkly``, and the hash of a context key:

- ``launchdarkly:big_segment_include:<hash>``, ``launchdarkly:big_segment_exclude:<hash>``: sets of references of
  segments.
- ``launchdarkly:big_segments_synchronized_on``: when they were last brought up to date, in Unix milliseconds.

Commands: ``GET`` and ``SMEMBERS``.
"""

from __future__ import annotations

from collections.abc import Collection

from ..port import StoredMemberships
from .layout import Keys
from .protocol import Command, Reply, Server, ServerError
from .refusals import meaning


class RedisMemberships:
    """Over the connection of a reader. Of a batch, all is one pipeline."""

    at_once = 250

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self._key = Keys(prefix)

    def read(self, hashes: Collection[str], within_seconds: float) -> StoredMemberships:
        commands: list[Command] = [("GET", self._key("big_segments_synchronized_on"))]
        for each in hashes:
            commands.append(("SMEMBERS", self._key(f"big_segment_include:{each}")))
            commands.append(("SMEMBERS", self._key(f"big_segment_exclude:{each}")))
        synchronized, *sets = self._server.ask_each(commands, within_seconds)
        memberships = {each: _membership(*sets[2 * n : 2 * n + 2]) for n, each in enumerate(hashes)}
        try:
            synchronized_on_ms, is_known = None if synchronized is None else int(synchronized), True
        except (TypeError, ValueError):  # an error instead of text, or no number
            synchronized_on_ms, is_known = None, False
        readable = {each: membership for each, membership in memberships.items() if membership is not None}
        is_whole = is_known and len(readable) == len(memberships)
        failure = None if is_whole else _failure(synchronized, *sets)
        return StoredMemberships(readable, synchronized_on_ms, is_known, failure)


def _membership(included: Reply, excluded: Reply) -> dict[str, bool] | None:
    """Inclusion wins. None where one of the sets could not be read."""
    if isinstance(included, ServerError) or isinstance(excluded, ServerError):
        return None
    try:
        refused = dict.fromkeys((reference.decode() for reference in excluded), False)
        return {**refused, **dict.fromkeys((reference.decode() for reference in included), True)}
    except UnicodeDecodeError:
        return None


def _failure(*replies: Reply) -> str:
    errors = (meaning(str(reply)) for reply in replies if isinstance(reply, ServerError))
    return next(errors, "What the store holds of big segments is not in LaunchDarkly's format.")
