"""Batches of events, and the payloads that are made of them."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from chalicelib.events.batches import MOST_BYTES, Batch, DeliveryReport, pack, unpack, weight
from chalicelib.events.payloads import cut, merged
from chalicelib.events.state import Part, Plan, State, events_status
from tests.support.data import Json


def summary(features: Json, start: int = 60_000, end: int = 61_000) -> Json:
    return {"kind": "summary", "startDate": start, "endDate": end, "features": features}


def feature(*counters: Json, default: object = None, kinds: tuple[str, ...] = ("user",)) -> Json:
    return {"default": default, "contextKinds": list(kinds), "counters": list(counters)}


def counter(count: int, variation: int | None = 0, version: int | None = 1) -> Json:
    known = {"variation": variation} if variation is not None else {}
    return {"count": count, "value": variation, **known, **({"version": version} if version else {"unknown": True})}


def custom(key: str, **fields: Any) -> Json:
    return {"kind": "custom", "creationDate": 1, "key": key, **fields}


def incompressible(size: int) -> str:
    """Text of which compression makes little less."""
    state, digits = 1, []
    for _ in range(size):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        digits.append(chr(33 + (state >> 16) % 90))
    return "".join(digits)


def test_what_is_packed_is_unpacked() -> None:
    events = [custom("a"), summary({"x": feature(counter(3))})]
    (batch,) = pack(events, 0, 1_700_000_000_000)
    assert unpack(batch) == (events, 0)
    assert batch.packed_at_ms == 1_700_000_000_000
    assert len(batch.name) == 22
    assert pack([], 0, 1) == []


def test_names_are_in_the_order_of_time() -> None:
    names = [pack([custom("a")], 0, now)[0].name for now in (999_999_999_999, 1_000_000_000_000, 9_999_999_999_999)]
    assert sorted(names) == names


def test_what_is_too_much_for_one_batch_goes_into_several() -> None:
    data = incompressible(100_000)
    events = [custom(str(number), data=data[number:]) for number in range(8)]
    batches = pack(events, 0, 1)
    assert len(batches) > 1
    assert all(len(batch.data) <= MOST_BYTES for batch in batches)
    assert [event for batch in batches for event in unpack(batch).events] == events


def test_a_summary_with_large_values_is_divided_by_its_flags() -> None:
    value = incompressible(100_000)
    features = {f"flag-{number}": feature({**counter(1), "value": value[number:]}) for number in range(8)}
    batches = pack([summary(features)], 0, 1)
    assert len(batches) > 1
    (whole,) = merged(event for batch in batches for event in unpack(batch).events)
    assert whole == summary(features)


@pytest.mark.parametrize(
    "bad",
    [object(), incompressible(2 * MOST_BYTES)],
    ids=["no JSON", "too large"],
)
@pytest.mark.parametrize("dropped_before", [0, 3])
def test_an_event_that_cannot_be_left_is_dropped_alone_and_counted(bad: object, dropped_before: int) -> None:
    features = {"good": feature(counter(2)), "bad": feature({**counter(5), "value": bad})}
    unpacked = list(map(unpack, pack([custom("a"), custom("b", data=bad), summary(features)], dropped_before, 1)))
    assert [event for each in unpacked for event in each.events] == [
        custom("a"),
        summary({"good": feature(counter(2))}),
    ]
    assert sum(each.dropped for each in unpacked) == dropped_before + 1 + 5


@pytest.mark.parametrize(
    "number", [float("inf"), float("-inf"), float("nan"), 10**5000], ids=["inf", "-inf", "nan", "long"]
)
def test_a_number_that_json_does_not_have_is_null(number: float) -> None:
    def events(number: float | None) -> list[Json]:
        return [custom("a", data={"x": [number, 1.5, True]}), summary({"y": feature({**counter(5), "value": number})})]

    (batch,) = pack(events(number), 0, 1)
    assert unpack(batch) == (events(None), 0)


def test_such_a_number_is_null_beside_an_event_that_is_no_json_too() -> None:
    batches = pack([custom("a", data=float("inf")), custom("b", data=object())], 0, 1)
    assert [event for batch in batches for event in unpack(batch).events] == [custom("a", data=None)]


@pytest.mark.parametrize("data", [b"", b"nonsense", zlib.compress(b"nonsense"), zlib.compress(b"[7]")])
def test_a_batch_that_cannot_be_read_is_one_that_was_dropped(data: bytes) -> None:
    assert unpack(Batch("left-by-somebody", data)) == ([], 1)
    for name in ("left-by-somebody", "²-by-somebody", "9" * 400, "9" * 5000):
        assert Batch(name, data).packed_at_ms == 0


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "summary"},
        {"kind": "dropped", "count": float("inf")},
        summary([]),  # type: ignore[arg-type]
        summary({"x": 7}),
        summary({"x": {}}),
        summary({"x": {"counters": []}}),
        summary({"x": feature({"count": "7"})}),
        summary({"x": feature(7)}),  # type: ignore[arg-type]
        summary({}, start=None),  # type: ignore[arg-type]
        summary({}, end=float("nan")),  # type: ignore[arg-type]
    ],
)
def test_a_batch_that_cannot_be_counted_and_merged_is_dropped_as_well(event: Json) -> None:
    """Or it would stop the delivery for as long as it is there."""
    data = zlib.compress(json.dumps([custom("a"), event]).encode())
    assert unpack(Batch("left-by-somebody", data)) == ([], 1)


def test_the_weight_is_what_was_evaluated_and_what_is_full() -> None:
    assert weight([custom("a"), summary({"x": feature(counter(3), counter(4, 1)), "y": feature(counter(5))})]) == 13


# Payloads.


def test_summaries_of_one_minute_are_one_as_the_sdk_would_have_counted() -> None:
    first = summary({"x": feature(counter(1), counter(2, None), default="first")}, 65_000, 66_000)
    second = summary(
        {
            "x": feature(
                counter(10), counter(20, None, None), counter(30, 0, 2), default="second", kinds=("user", "org")
            ),
            "y": feature(counter(7)),
        },
        60_000,
        90_000,
    )
    assert merged([first, custom("a"), second, custom("b")]) == [
        summary(
            {
                "x": feature(
                    counter(11),
                    counter(2, None),
                    counter(20, None, None),
                    counter(30, 0, 2),
                    default="first",
                    kinds=("user", "org"),
                ),
                "y": feature(counter(7)),
            },
            60_000,
            90_000,
        ),
        custom("a"),
        custom("b"),
    ]
    assert first == summary({"x": feature(counter(1), counter(2, None), default="first")}, 65_000, 66_000)


def test_summaries_of_different_minutes_stay_apart() -> None:
    summaries = [summary({"x": feature(counter(1))}, start, start + 5) for start in (59_999, 60_000)]
    assert merged(summaries) == summaries


def test_a_payload_is_cut_where_it_would_be_too_large() -> None:
    events = [custom(str(number)) for number in range(5)]
    size = len(json.dumps([events[0]], separators=(",", ":")))
    assert list(cut(events)) == [(0, 5)]
    assert list(cut(events, 2 * size)) == [(0, 2), (2, 4), (4, 5)]
    assert list(cut(events, 1)) == [(number, number + 1) for number in range(5)]
    assert list(cut([])) == []


# What is kept between runs.

STATE = State(7, 3, 1_000, 2, 1, 2_000, "a reason", Plan(("a", "b"), (Part("id", 0, 5), Part("other", 5, 9))), ("z",))


@pytest.mark.parametrize("state", [State(), STATE, STATE._replace(plan=None), STATE._replace(plan=Plan((), ()))])
def test_a_state_is_read_as_it_was_written(state: State) -> None:
    assert State.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "[]", '{"plan": 7}', '{"plan": [[], [[1]]]}', '{"delivered": {}}', '{"failures": Infinity}'],
)
def test_a_state_that_cannot_be_read_is_a_new_one(text: str | None) -> None:
    assert State.from_json(text) == State()


def test_the_status_tells_how_old_the_oldest_events_are() -> None:
    report = DeliveryReport(STATE.to_json(), "0000000010000-00000000")
    assert events_status(report, 25.0) == {
        "delivered": 7,
        "dropped": 3,
        "oldestUndeliveredSeconds": 15,
        "refused": "a reason",
    }
    assert events_status(DeliveryReport(None, None), 25.0)["oldestUndeliveredSeconds"] == 0
    assert events_status(report, 5.0)["oldestUndeliveredSeconds"] == 0, "by another clock, from the future"
