"""A change is visible on the first request after the refresh returned, in every process."""

from __future__ import annotations

from tests.read.conftest import StartProcess
from tests.support.data import ANNA, boolean_flag
from tests.support.stores import data_set, refresh_store


def test_every_refresh_is_visible_in_every_process_on_the_next_request(
    start_process: StartProcess, redis_url: str
) -> None:
    readers = [start_process(redis_url) for _ in range(2)]
    for version in range(1, 101):
        value = version % 3 == 0
        revision = refresh_store(redis_url, data_set([boolean_flag("shiny", version, value=value)]))
        for reader in readers:
            answer = reader.post("/evaluate/shiny", ANNA)
            assert answer["body"] == {
                "key": "shiny",
                "value": value,
                "variation": 0 if value else 1,
                "version": version,
                "reason": {"kind": "FALLTHROUGH"},
            }
            assert answer["headers"]["X-Flags-Revision"] == revision
            assert "X-Flags-Stale" not in answer["headers"]


def test_deleted_and_new_flags_are_visible_on_the_next_request(start_process: StartProcess, redis_url: str) -> None:
    reader = start_process(redis_url)
    refresh_store(redis_url, data_set([boolean_flag("old", 1)]))
    assert reader.post("/evaluate/old", ANNA)["status"] == 200
    assert reader.post("/evaluate/new", ANNA)["status"] == 404
    refresh_store(redis_url, data_set([boolean_flag("new", 1)]))
    assert reader.post("/evaluate/old", ANNA)["status"] == 404
    assert reader.post("/evaluate/new", ANNA)["status"] == 200


def test_a_function_that_found_the_store_empty_answers_once_it_is_filled(
    start_process: StartProcess, redis_url: str
) -> None:
    reader = start_process(redis_url)
    for _ in range(2):
        answer = reader.post("/evaluate", ANNA)
        assert (answer["status"], answer["body"]["Code"]) == (503, "ServiceUnavailableError")
        assert answer["body"]["Message"].startswith("The flag store was never filled")
        assert answer["headers"]["Retry-After"]
    refresh_store(redis_url, data_set([boolean_flag("shiny", 1)]))
    assert reader.post("/evaluate", ANNA)["body"] == {"shiny": {"value": True, "variation": 0, "version": 1}}
