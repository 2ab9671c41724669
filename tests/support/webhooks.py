"""LaunchDarkly's webhooks: audit-log entries, and their signature."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

Json = dict[str, Any]

WEBHOOK_SECRET = "webhook-secret"
MEMBER = {"email": "anna@example.com", "firstName": "Anna"}


def signature_of(body: bytes, secret: str = WEBHOOK_SECRET) -> str:
    """What LaunchDarkly sends as X-LD-Signature."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def flag_entry(
    key: str, version: int | None = None, *, action: str = "updateOn", environment: str = "production", **current: Any
) -> Json:
    """A change of a flag that announces ``version``, or none."""
    environments = {} if version is None else {"environments": {environment: {"version": version}}}
    return {
        "kind": "flag",
        "name": f"The flag {key}",
        "member": MEMBER,
        "accesses": [{"action": action, "resource": f"proj/default:env/{environment}:flag/{key}"}],
        "currentVersion": {"key": key, **environments, **current},
    }


def deletion(key: str) -> Json:
    entry = flag_entry(key, action="deleteFlag")
    del entry["currentVersion"]
    return entry


def archived(key: str) -> Json:
    return flag_entry(key, action="updateArchived", archived=True)


def segment_entry(key: str) -> Json:
    return {
        "kind": "segment",
        "member": MEMBER,
        "accesses": [{"action": "updateIncluded", "resource": f"proj/default:env/production:segment/{key}"}],
    }
