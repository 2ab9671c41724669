"""A LaunchDarkly webhook: its signature, and what its audit-log entry says has changed. Pure, but for the secret.

An entry may hold a member's e-mail address: it is never logged and never part of a message.

Sources: https://launchdarkly.com/docs/home/infrastructure/webhooks and
https://launchdarkly.com/docs/home/account/role-resources (resource specifiers). That the version in
``currentVersion.environments`` is the one that the SDK will receive is documented nowhere; that is why a
refresh only waits for it for a few seconds and says whether it came.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..config import EnvironmentResource, Settings
from ..data_set import FEATURES, SEGMENTS, Announcement
from ..errors import InvalidRequest, InvalidSignature
from ..secrets import read_secret, rotated_secret

_RESOURCE = re.compile(
    r"proj/(?P<project>[^:;]+)(?:;[^:]*)?:env/(?P<environment>[^:;]+)(?:;[^:]*)?"
    r":(?P<kind>flag|segment)/(?P<key>[^:;]+)(?:;.*)?"
)
_KINDS = {"flag": FEATURES, "segment": SEGMENTS}
_DELETIONS = {"flag": "deleteFlag", "segment": "deleteSegment"}
_WILDCARDS = ("*", "~")
"""``*`` is every environment, ``~`` the resource itself as LaunchDarkly abbreviates it."""


class Change(NamedTuple):
    """What an audit-log entry changes in the store, or why it is none of our business.

    ``announcement`` is None when the entry names no version.
    """

    announcement: Announcement | None = None
    ignored_because: str | None = None


def verify_webhook(settings: Settings, body: bytes, signature: str | None) -> None:
    """Raises InvalidSignature unless the settings accept this body with this ``X-LD-Signature``.

    A signature that the known secret did not make may be made with a new one: see rotated_secret.
    """
    if settings.allow_unsigned_webhooks and not (signature and settings.webhook_secret.is_configured):
        return
    if not settings.webhook_secret.is_configured:
        raise InvalidSignature("Every webhook is refused, because LAUNCHDARKLY_WEBHOOK_SECRET is not set.")
    secret = read_secret(settings.webhook_secret)
    try:
        verify_signature(body, signature, secret)
    except InvalidSignature:
        rotated = rotated_secret(settings.webhook_secret, secret) if signature else None
        if rotated is None:
            raise
        verify_signature(body, signature, rotated)


def verify_signature(body: bytes, signature: str | None, secret: str) -> None:
    """Raises InvalidSignature unless ``signature`` is the lower-case hex HMAC-SHA256 of the raw body."""
    if not signature:
        raise InvalidSignature("The webhook is not signed: the X-LD-Signature header is missing.")
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise InvalidSignature("The X-LD-Signature header does not match the body.")


def change_in(entry: object, environment: EnvironmentResource | None) -> Change:
    """What the audit-log entry changes in the store, or why it is none of our business.

    ``environment`` None accepts flags and segments of every environment. An entry whose resources
    cannot be read counts as ours: one refresh too many does no harm, one too few does.
    Raises InvalidRequest when it is not a JSON object.
    """
    if not isinstance(entry, dict):
        raise InvalidRequest("A webhook must be a JSON object: an audit-log entry.")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        return Change(ignored_because="This webhook is not about a flag or a segment.")
    resources = list(_resources(entry))
    if environment is not None and resources and not any(_concerns(each, environment) for each in resources):
        return Change(ignored_because=f"This webhook is not about {environment.project}/{environment.environment}.")
    return Change(_announcement(entry, kind, resources, environment))


def _resources(entry: Mapping[str, Any]) -> Iterator[re.Match[str]]:
    accesses, target = entry.get("accesses"), entry.get("target")
    specifiers = [each.get("resource") for each in _dicts(accesses)]
    if isinstance(target, dict) and isinstance(target.get("resources"), list):
        specifiers += target["resources"]
    for specifier in specifiers:
        match = _RESOURCE.fullmatch(specifier) if isinstance(specifier, str) else None
        if match is not None:
            yield match


def _concerns(resource: re.Match[str], environment: EnvironmentResource) -> bool:
    return resource["project"] in (environment.project, *_WILDCARDS) and resource["environment"] in (
        environment.environment,
        *_WILDCARDS,
    )


def _announcement(
    entry: Mapping[str, Any], kind: str, resources: list[re.Match[str]], environment: EnvironmentResource | None
) -> Announcement | None:
    keys = {each["key"] for each in resources if each["kind"] == kind}
    if len(keys) != 1 or "*" in keys:
        return None
    key = keys.pop()
    current = entry.get("currentVersion")
    deleted = any(each.get("action") == _DELETIONS[kind] for each in _dicts(entry.get("accesses")))
    archived = isinstance(current, dict) and current.get("archived") is True
    if deleted or archived:
        return Announcement(_KINDS[kind], key, version=None)
    version = _version(current, _environment_key(resources, environment)) if kind == "flag" else None
    return None if version is None else Announcement(_KINDS[kind], key, version)


def _environment_key(resources: list[re.Match[str]], environment: EnvironmentResource | None) -> str | None:
    if environment is not None:
        return environment.environment
    named = {each["environment"] for each in resources} - set(_WILDCARDS)
    return named.pop() if len(named) == 1 else None


def _version(current: object, environment_key: str | None) -> int | None:
    """``currentVersion.environments.<key>.version``, where all of that is there."""
    for name in ("environments", environment_key, "version"):
        current = current.get(name) if isinstance(current, dict) else None
    return current if isinstance(current, int) and not isinstance(current, bool) else None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
