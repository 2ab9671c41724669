"""What LaunchDarkly's stream tells is kept as it came, item by item."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from chalicelib.data_set import FEATURES, SEGMENTS, UNREADABLE, Item
from chalicelib.launchdarkly.received import ReceivedDataSet

DEEP = "[" * 100_000 + "]" * 100_000
MANY_DIGITS = "9" * 10_000


def put(flags: str, segments: str = "{}") -> str:
    return f'{{"path":"/","data":{{"flags":{flags},"segments":{segments}}}}}'


def received(*events: tuple[str, str]) -> ReceivedDataSet:
    data_set = ReceivedDataSet()
    for event, data in events:
        data_set.take(event, data)
    return data_set


def holding(version: int | None = 3) -> ReceivedDataSet:
    """One flag, ``shiny``, and one segment."""
    flag = {"key": "shiny"} if version is None else {"key": "shiny", "version": version}
    return received(("put", put(json.dumps({"shiny": flag}), '{"beta":{"version":1}}')))


def patch(version: object, path: str = "/flags/shiny", **more: object) -> str:
    return json.dumps({"path": path, "data": {"version": version, **more}})


# The text of a flag, its version.
ITEMS: dict[str, tuple[str, int]] = {
    "keys in LaunchDarkly's order": ('{"z":1,"version":2,"a":{"c":1,"b":2}}', 2),
    "unknown fields": ('{"version":2,"somethingNew":[{"x":null}]}', 2),
    "spaces": ('{ "version" : 2 ,\t"a" : [ 1 , 2 ] }', 2),
    "escapes and other scripts": ('{"version":2,"a":"\\u00e9 \\ud83d\\ude00 \\" größe 東京"}', 2),
    "a lone surrogate": ('{"version":2,"salt":"\\ud800"}', 2),
    "numbers as they are written": ('{"version":2,"a":[1.0,1E5,100000000000000000000000,-0.0,1e308,1e999]}', 2),
    "what is not JSON's number": ('{"version":2,"a":[NaN,Infinity,-Infinity]}', 2),
    "a number with more digits than Python reads": (f'{{"version":2,"a":{MANY_DIGITS}}}', UNREADABLE),
    "nested deeper than Python reads": (f'{{"version":2,"a":{DEEP},"b":"]}}\\""}}', UNREADABLE),
    "no version": ('{"key":"shiny"}', UNREADABLE),
    "a version that is no whole number": ('{"version":3.0}', UNREADABLE),
    "a version that is text": ('{"version":"3"}', UNREADABLE),
    "a version that is true": ('{"version":true}', UNREADABLE),
    "a string": ('"flag"', UNREADABLE),
    "a number": ("1", UNREADABLE),
    "only a number with more digits than Python reads": (MANY_DIGITS, UNREADABLE),
    "null": ("null", UNREADABLE),
    "a list": ('[{"version":3}]', UNREADABLE),
    "an empty object": ("{}", UNREADABLE),
}


@pytest.mark.parametrize(("text", "version"), ITEMS.values(), ids=ITEMS.keys())
def test_an_item_is_kept_as_it_came_and_holds_nothing_back(text: str, version: int) -> None:
    before, after = '{"version":1}', '{"version":4}'
    flags = f'{{"before":{before},"shiny" : {text} ,"after":{after}}}'
    expected = {
        "before": Item(1, before.encode()),
        "shiny": Item(version, text.encode()),
        "after": Item(4, after.encode()),
    }
    data_set = received(("put", put(flags, f'{{"shiny":{text}}}')))
    assert data_set.data_set() == {FEATURES: expected, SEGMENTS: {"shiny": expected["shiny"]}}

    data_set = holding()
    data_set.take("patch", f'{{"data": {text} , "path": "/flags/new"}}')
    assert data_set.data_set()[FEATURES]["new"] == expected["shiny"]


EMPTY: dict[str, str] = {
    "nothing": put("{}"),
    "no segments": '{"path":"/","data":{"flags":{}}}',
    "null for segments": put("{}", "null"),
    "a list of segments": put("{}", "[1]"),
    "fields of another time": '{"a":[1],"data":{"b":{"c":1},"flags":{},"d":2},"path":"/","e":{}}',
    "spaces everywhere": ' { "data" : { "flags" : { } , "segments" : { } } } ',
}


@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY.keys())
def test_a_data_set_may_be_empty(data: str) -> None:
    data_set = received(("put", data))
    assert data_set.is_complete
    assert data_set.data_set() == {FEATURES: {}, SEGMENTS: {}}


UNREADABLE_PUTS: dict[str, str] = {
    "nothing": "",
    "no JSON": "{garbage",
    "half of it": put('{"shiny":{"version":4}}')[:40],
    "more than it": put("{}") + "}",
    "a list": "[]",
    "null": "null",
    "no data": '{"path":"/"}',
    "data that is null": '{"data":null}',
    "no flags": '{"data":{"segments":{}}}',
    "flags that are null": put("null"),
    "flags that are a list": put("[]"),
    "a key that is no string": put("{1:{}}"),
    "a comma too many": put('{"a":{},}'),
    "a flag that is no JSON": put('{"a":{"b":}}'),
    "a flag that does not end, nested deep": put('{"a":' + "[" * 100_000),
    "no value": put('{"a"}'),
}


@pytest.mark.parametrize("data", UNREADABLE_PUTS.values(), ids=UNREADABLE_PUTS.keys())
def test_a_put_that_cannot_be_read_changes_nothing(data: str) -> None:
    data_set = holding()
    before = copy.deepcopy(data_set.data_set())
    with pytest.raises(ValueError, match=r".+"):
        data_set.take("put", data)
    assert data_set.data_set() == before
    with pytest.raises(ValueError, match=r".+"):
        received(("put", data))


@pytest.mark.parametrize("event", ["patch", "delete"])
@pytest.mark.parametrize("data", ["", "{", "[]", "null", '{"path":"/flags/shiny"', "1"])
def test_another_event_that_cannot_be_read_changes_nothing(event: str, data: str) -> None:
    data_set = holding()
    before = copy.deepcopy(data_set.data_set())
    with pytest.raises(ValueError, match=r".+"):
        data_set.take(event, data)
    assert data_set.data_set() == before


# The version that is held (None: unreadable), an event, the version that is held afterwards (None: no such flag).
CHANGES: list[tuple[int | None, str, str, int | None]] = [
    (3, "patch", patch(4), 4),
    (3, "patch", patch(3), 3),
    (3, "patch", patch(2), 3),
    (None, "patch", patch(1), 1),
    (3, "patch", patch("no version"), UNREADABLE),
    (3, "patch", patch(4, deleted=True), None),
    (3, "patch", patch(2, deleted=True), 3),
    (3, "patch", patch(9, path="/segments/shiny"), 3),
    (3, "patch", patch(9, path="/elsewhere/shiny"), 3),
    (3, "patch", patch(9, path="/flags/"), 3),
    (3, "patch", '{"data":{"version":9}}', 3),
    (3, "delete", '{"path":"/flags/shiny","version":4}', None),
    (3, "delete", '{"path":"/flags/shiny","version":3}', 3),
    (3, "delete", '{"path":"/flags/shiny"}', None),
    (None, "delete", '{"path":"/flags/shiny","version":1}', None),
    (3, "delete", '{"path":"/segments/shiny","version":9}', 3),
    (3, "delete", '{"version":9}', 3),
    (3, "something new", "{}", 3),
]


@pytest.mark.parametrize(("held", "event", "data", "version"), CHANGES)
def test_a_change_is_taken_when_it_is_newer(held: int | None, event: str, data: str, version: int | None) -> None:
    data_set = holding(held)
    data_set.take(event, data)
    assert data_set.version(FEATURES, "shiny") == version
    assert ("shiny" in data_set.data_set()[FEATURES]) is (version is not None)


@pytest.mark.parametrize("deletion", ['{"path":"/flags/shiny","version":7}', None])
def test_what_is_deleted_does_not_come_back_with_an_older_version(deletion: str | None) -> None:
    data_set = holding()
    if deletion is None:
        data_set.take("put", put('{"shiny":{"version":7,"deleted":true}}'))
    else:
        data_set.take("delete", deletion)
    data_set.take("patch", patch(6))
    assert data_set.version(FEATURES, "shiny") is None
    data_set.take("patch", patch(8))
    assert data_set.version(FEATURES, "shiny") == 8


def test_another_put_replaces_everything() -> None:
    data_set = holding()
    data_set.take("delete", '{"path":"/flags/shiny","version":7}')
    data_set.take("put", put('{"shiny":{"version":2}}'))
    assert data_set.version(FEATURES, "shiny") == 2
    assert data_set.version(SEGMENTS, "beta") is None


@pytest.mark.parametrize("event", ["patch", "delete"])
def test_a_change_before_the_data_set_makes_none(event: str) -> None:
    assert not received((event, patch(1))).is_complete


def test_the_later_of_two_equal_keys_is_the_one_that_counts() -> None:
    """As for every JSON parser of LaunchDarkly's SDKs."""
    data: Any = '{"shiny":{"version":1},"shiny":{"version":2}}'
    assert received(("put", put(data))).version(FEATURES, "shiny") == 2
