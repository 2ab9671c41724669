"""DynamoDB: requests for each evaluation, and what a million of them cost."""

from __future__ import annotations

from collections import Counter

from benchmarks.environments import Json
from benchmarks.setting import FLAG, Packages, Place, invocation
from benchmarks.tables import Table

DOLLARS_PER_MILLION_READ_UNITS = 0.125
"""On demand, standard tables, us-east-1, as listed in November 2026: https://aws.amazon.com/dynamodb/pricing/on-demand/"""

_UNIT_BYTES = 4096
_ITEM_BYTES = 1200
"""About what one of the benchmarks' flags takes in the table."""


def table(packages: Packages, place: Place) -> Table:
    uncached = {**place.variables, "CACHE": "off"}
    cases: list[tuple[str, str, dict[str, str], Json]] = [
        ("ours, one flag", "serverless-flags", place.variables, invocation(flag=FLAG)),
        ("ours, all flags", "serverless-flags", place.variables, invocation()),
        ("(b), one flag, 15 s cache", place.baseline, place.variables, invocation(flag=FLAG)),
        ("(b), one flag, no cache", place.baseline, uncached, invocation(flag=FLAG)),
        ("(b), all flags, no cache", place.baseline, uncached, invocation()),
    ]
    rows = []
    for label, package, variables, event in cases:
        cold, warm = _requests(packages, place, package, variables, event)
        cost = _units(warm, place.flag_count, is_ours=package == "serverless-flags") * DOLLARS_PER_MILLION_READ_UNITS
        rows.append((label, _shown(cold), _shown(warm), f"{cost:,.2f} $"))
    return Table(
        "Requests and cost",
        f"DynamoDB requests of a function with {place.flag_count:,} flags, counted, and what a million warm "
        f"evaluations cost for reads, at {DOLLARS_PER_MILLION_READ_UNITS} $ a million read request units (on demand, "
        "us-east-1, listed in November 2026): a consistent read of up to 4 KB is one unit, an eventually consistent "
        "one (the SDK's of single items) half of one, a query one for each 4 KB.",
        ("", "cold", "warm", "a million warm evaluations"),
        tuple(rows),
    )


def _requests(
    packages: Packages, place: Place, package: str, variables: dict[str, str], event: Json
) -> tuple[Counter[str], Counter[str]]:
    with packages.function(package, variables) as function:
        place.start_counting()
        function.invoke(event)
        cold = place.requests()
        place.start_counting()
        function.invoke(event)
        return cold, place.requests()


def _units(requests: Counter[str], flag_count: int, *, is_ours: bool) -> float:
    """Read request units; every query here is one of a whole data set, in as many pages as were counted."""
    single = requests["GetItem"] * (1.0 if is_ours else 0.5)
    return single + (flag_count * _ITEM_BYTES / _UNIT_BYTES if requests["Query"] else 0.0)


def _shown(requests: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in requests.most_common()) or "none"
