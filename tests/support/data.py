"""Flags and segments for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ANNA = {"kind": "user", "key": "anna"}

PROJECT = Path(__file__).parent.parent.parent
EXAMPLES = Path(__file__).parent / "example_flags.json"
"""Made from examples/flags.json, which users are asked to edit."""


def example_data() -> Json:
    """The example environment: ``{"flags": {...}, "segments": {...}}``."""
    data: Json = json.loads(EXAMPLES.read_text())
    return data


def boolean_flag(key: str, version: int = 1, *, value: bool = True, **fields: Any) -> Json:
    """A flag that serves ``value`` to everybody."""
    return {
        "key": key,
        "version": version,
        "on": True,
        "variations": [True, False],
        "fallthrough": {"variation": 0 if value else 1},
        "offVariation": 1,
        "salt": key,
        **fields,
    }


_ALWAYS_SENT: Json = {
    "on": False,
    "prerequisites": [],
    "targets": [],
    "contextTargets": [],
    "rules": [],
    "fallthrough": {},
    "offVariation": None,
    "variations": [],
    "clientSide": False,
    "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False},
    "salt": "",
    "trackEvents": False,
    "trackEventsFallthrough": False,
    "debugEventsUntilDate": None,
    "deleted": False,
}


def as_sent(flag: Json) -> Json:
    """The same flag as LaunchDarkly sends it, with all the properties that a flag of the tests may lack."""
    rules = [
        {
            "id": None,
            "trackEvents": False,
            **rule,
            "clauses": [{"negate": False, **clause} for clause in rule["clauses"]],
        }
        for rule in flag.get("rules") or ()
    ]
    return {**_ALWAYS_SENT, **flag, "rules": rules}


def segment(key: str, version: int = 1, *included: str, **fields: Any) -> Json:
    return {
        "key": key,
        "version": version,
        "included": list(included),
        "excluded": [],
        "rules": [],
        "salt": key,
        **fields,
    }


def by_key(*items: Json) -> dict[str, Json]:
    return {item["key"]: item for item in items}


EXAMPLE_CONTEXTS: tuple[Json, ...] = (
    {"kind": "user", "key": "vip-customer"},
    {"kind": "user", "key": "blocked-customer", "email": "b@example.com", "country": "DE", "appVersion": "1.9.3"},
    {"kind": "user", "key": "anna", "country": "FR", "preferences": {"density": "compact"}, "appVersion": "2.4.0"},
    {"kind": "user", "key": "carl", "groups": ["beta"], "email": "carl@example.com", "appVersion": "3.1.0-beta.1"},
    {"kind": "user", "key": "mallory", "email": "mallory@example.com", "groups": ["alpha", "beta"]},
    {"kind": "organization", "key": "acme", "employees": 500},
    {"kind": "multi", "user": {"key": "ключ", "country": "AT"}, "organization": {"key": "initech", "employees": 499}},
)
"""Between them they reach every target, rule and segment of the examples, and nothing at all."""
