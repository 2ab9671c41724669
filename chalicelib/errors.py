"""What can go wrong, named by condition.

One small tree. Nothing here knows about HTTP: ``api/answers.py`` holds the one table from these classes to
answers. A message says what was wrong with which input and what was expected; it never carries a
secret, a context, or an expected signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


class FlagsError(Exception):
    """Base of every error that this app raises on purpose."""


class ConfigurationError(FlagsError):
    """A setting is missing, malformed, or contradicts another one."""


class InvalidRequest(FlagsError):
    """The request cannot be understood: not JSON, wrong type, unknown option."""


class InvalidContext(InvalidRequest):
    """The evaluation context (or legacy user) does not have the required shape."""


class PathTooLong(InvalidRequest):
    """The context in the path is longer than any path that API Gateway lets through."""


class TargetingKeyMissing(InvalidContext):
    """An OpenFeature context without the targeting key that would be the context's key."""


class InvalidSignature(FlagsError):
    """The webhook is unsigned, or its signature does not match its body."""


class InvalidToken(FlagsError):
    """The caller of the evaluation API did not present an accepted token."""


class FlagNotFound(FlagsError):
    """The store is initialised and holds no such flag."""


class NotServed(FlagsError):
    """What the request is for has not been switched on here, or is not what is served."""


class StoreUnavailable(FlagsError):
    """The flag store cannot be reached in time, or refused a command."""


class StoreTooSlow(StoreUnavailable):
    """An answer of the flag store began to come and did not end in time; asking again at once makes it worse."""


class StoreNotInitialized(FlagsError):
    """The flag store answers, but was never filled."""


class LaunchDarklyUnavailable(FlagsError):
    """LaunchDarkly's data set could not be fetched; the store was not touched."""


class LaunchDarklyUnreachable(LaunchDarklyUnavailable):
    """LaunchDarkly refused the connection, answered with an error, or sent data that cannot be read."""


class SdkKeyRejected(LaunchDarklyUnavailable):
    """LaunchDarkly answered 401 or 403: the SDK key is wrong or was revoked."""


class FetchTimedOut(LaunchDarklyUnavailable):
    """LaunchDarkly accepted the connection but did not deliver the data set before the deadline."""


class EventsRefused(FlagsError):
    """LaunchDarkly does not take the events, and will not before a person has done something about it."""


class DeliveryConflict(FlagsError):
    """Another delivery of events has begun meanwhile; this one must not go on."""


class RefreshRefused(FlagsError):
    """The fetched data set must not replace what is stored."""


class OtherEnvironment(RefreshRefused):
    """The store holds the flags of another LaunchDarkly environment than the one that is to be refreshed."""


class RefreshConflict(FlagsError):
    """Another refresh wrote to the store while this one was under way; nothing was written."""


class RefreshBusy(FlagsError):
    """Other refreshes held the lock for as long as this one could wait."""


class UnreadableItem(FlagsError):
    """A stored flag or segment is not JSON of the shape that the SDK knows."""


def nearest(table: Mapping[type[FlagsError], Value], error: FlagsError) -> Value | None:
    """What a table by class says of an error: the nearest class of its ancestry decides; None if none is there."""
    return next((table[each] for each in type(error).__mro__ if each in table), None)
