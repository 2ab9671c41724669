"""LaunchDarkly environments of realistic size: about 1 KB a flag, as JSON from LaunchDarkly's stream."""

from __future__ import annotations

import random
from typing import Any

Json = dict[str, Any]


def environment(flag_count: int, seed: int = 7) -> Json:
    """``{"flags": {...}, "segments": {...}}``: boolean and multivariate flags with targets, rules and rollouts."""
    choose = random.Random(seed)
    segments = {key: _segment(key, choose) for key in (f"segment-{n}" for n in range(max(1, flag_count // 50)))}
    flags = {key: _flag(key, list(segments), choose) for key in (f"flag-{n:05d}" for n in range(flag_count))}
    return {"flags": flags, "segments": segments}


def _flag(key: str, segment_keys: list[str], choose: random.Random) -> Json:
    variations: list[object] = choose.choice(
        [[True, False], ["control", "treatment-a", "treatment-b"], [{"limit": 10}, {"limit": 50}]]
    )
    return {
        "key": key,
        "version": choose.randint(1, 200),
        "on": choose.random() < 0.8,
        "prerequisites": [],
        "targets": [{"values": [_user(choose) for _ in range(4)], "variation": 0}],
        "contextTargets": [],
        "rules": [
            _rule(key, "country", "in", choose.sample(["DE", "FR", "US", "GB", "JP", "BR"], 3)),
            _rule(key, "email", "endsWith", ["@example.com", "@example.org"]),
            _rule(key, "", "segmentMatch", [choose.choice(segment_keys)]),
        ],
        "fallthrough": {"rollout": {"contextKind": "user", "variations": _weights(len(variations))}},
        "offVariation": len(variations) - 1,
        "variations": variations,
        "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False},
        "clientSide": False,
        "salt": f"{choose.getrandbits(128):032x}",
        "trackEvents": False,
        "trackEventsFallthrough": False,
        "debugEventsUntilDate": None,
        "deleted": False,
    }


def _rule(key: str, attribute: str, op: str, values: list[str]) -> Json:
    clause = {"attribute": attribute, "op": op, "values": values, "contextKind": "user", "negate": False}
    return {"variation": 0, "id": f"{key}-{op}", "clauses": [clause], "trackEvents": False}


def _weights(count: int) -> list[Json]:
    weights = [100_000 // count] * count
    weights[0] += 100_000 - sum(weights)
    return [{"variation": index, "weight": weight} for index, weight in enumerate(weights)]


def _segment(key: str, choose: random.Random) -> Json:
    included = [_user(choose) for _ in range(20)]
    return {"key": key, "version": 3, "included": included, "excluded": [], "rules": [], "salt": key, "deleted": False}


def _user(choose: random.Random) -> str:
    return f"user-{choose.getrandbits(32):08x}"
