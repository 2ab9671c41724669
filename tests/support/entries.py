"""Audit-log entries, as LaunchDarkly's webhooks carry them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

MEMBER = {"email": "anna@example.com", "firstName": "Anna"}


def flag_entry(key: str, version: int | None = None, *, action: str = "updateOn", **current: Any) -> Json:
    """A change of a flag in production that announces ``version``, or none."""
    environments = {} if version is None else {"environments": {"production": {"version": version}}}
    return {
        "kind": "flag",
        "name": f"The flag {key}",
        "member": MEMBER,
        "accesses": [{"action": action, "resource": f"proj/default:env/production:flag/{key}"}],
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
