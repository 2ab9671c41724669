"""The waits of each path add up to less than what they are part of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib import DELIVER_MINUTES
from chalicelib.stores.dynamodb.table import CURRENT_PARTS, PART_BYTES
from chalicelib.timing import API_GATEWAY_SECONDS, Timing
from tests.support.data import PROJECT

TIMING = Timing()

STORE_REQUESTS_SECONDS = 1.0
"""What a store that is well needs for ticket, lock and backlog, at the very most."""


def function_seconds(name: str) -> int:
    config = json.loads(Path(PROJECT, ".chalice/config.json").read_text())
    seconds: int = config["lambda_functions"][name]["lambda_timeout"]
    return seconds


def test_a_request_waits_less_than_a_second_for_a_store_that_is_away() -> None:
    assert TIMING.first_exchange_seconds < 1  # a cold function
    assert 2 * (TIMING.redis_held_seconds + TIMING.redis_reconnect_seconds) < 1  # sync record, then data set
    # DynamoDB's attempts, and the pause between them, come out of one budget.
    assert TIMING.dynamodb_held_seconds + TIMING.dynamodb_reconnect_seconds < 1


def test_a_request_waits_less_than_a_second_for_two_stores_that_are_away() -> None:
    """For the flag store, and then for that of big segments."""
    assert TIMING.big_segments_least_seconds < TIMING.big_segments_seconds < 1
    for seconds in (
        TIMING.redis_held_seconds + TIMING.redis_reconnect_seconds,
        TIMING.dynamodb_held_seconds + TIMING.dynamodb_reconnect_seconds,
    ):
        assert seconds + max(TIMING.big_segments_seconds - seconds, TIMING.big_segments_least_seconds) < 1
    assert TIMING.next_address_seconds + TIMING.shortest_exchange_seconds < TIMING.big_segments_least_seconds


def test_events_are_left_within_a_moment_by_a_connection_that_has_just_answered() -> None:
    assert TIMING.events_held_seconds + TIMING.events_reconnect_seconds <= 0.25
    assert TIMING.events_reconnect_seconds < TIMING.redis_reconnect_seconds


def test_a_delivery_ends_before_its_lock_and_its_lock_before_the_next_run_but_one() -> None:
    longest = TIMING.delivery_seconds + TIMING.event_send_seconds + STORE_REQUESTS_SECONDS
    assert longest < TIMING.delivery_lock_seconds < function_seconds("deliver_events")
    assert TIMING.delivery_retry_seconds[0] < 60 * DELIVER_MINUTES  # the next run tries again


def test_a_new_connection_gets_time_for_several_addresses_and_for_an_exchange() -> None:
    silent = 2 * TIMING.next_address_seconds  # the resolver, and one address
    for seconds in (TIMING.redis_reconnect_seconds, TIMING.dynamodb_reconnect_seconds, TIMING.redis_connect_seconds):
        assert silent + TIMING.shortest_exchange_seconds < seconds


def test_a_large_answer_may_pause_as_long_as_a_whole_exchange_takes() -> None:
    assert TIMING.silence_seconds >= TIMING.redis_held_seconds + TIMING.redis_reconnect_seconds
    assert TIMING.first_exchange_seconds + TIMING.exchange_seconds < API_GATEWAY_SECONDS


def test_what_a_cold_start_reads_at_once_comes_in_time_over_the_slowest_link() -> None:
    as_base64 = CURRENT_PARTS * PART_BYTES * 4 / 3
    assert as_base64 / TIMING.slowest_bytes_per_second < TIMING.exchange_seconds


def test_gathering_and_fetching_end_before_the_lock_does() -> None:
    assert TIMING.gather_seconds + TIMING.fetch_seconds + STORE_REQUESTS_SECONDS < TIMING.lock_seconds


def test_a_write_has_time_for_batches_and_for_the_last_of_them_to_arrive_while_it_holds_the_lock() -> None:
    assert TIMING.write_lock_seconds - TIMING.dynamodb_last_batch_seconds >= 4
    assert TIMING.write_lock_seconds <= TIMING.lock_seconds
    assert TIMING.redis_connect_seconds + TIMING.redis_command_seconds < TIMING.write_lock_seconds


def test_a_webhook_outwaits_the_lock_of_an_instance_that_died_and_still_answers() -> None:
    wait_seconds = TIMING.answer_seconds - TIMING.turn_seconds
    assert wait_seconds > TIMING.lock_seconds
    assert TIMING.answer_seconds < API_GATEWAY_SECONDS - STORE_REQUESTS_SECONDS
    assert function_seconds("api_handler") > API_GATEWAY_SECONDS


def test_a_reconcile_has_its_functions_time_and_ends_within_it() -> None:
    within_seconds = function_seconds("reconcile") - STORE_REQUESTS_SECONDS
    timing = TIMING.for_reconcile(within_seconds)
    assert timing.fetch_limit_seconds == TIMING.fetch_limit_seconds + TIMING.reconcile_extra_seconds
    assert timing.fetch_seconds < timing.fetch_limit_seconds
    assert timing.fetch_limit_seconds + STORE_REQUESTS_SECONDS < timing.lock_seconds
    longest_turn_of_another = TIMING.lock_seconds + TIMING.lock_seconds  # for its fetch, and for its write
    assert longest_turn_of_another + timing.turn_seconds < within_seconds


@pytest.mark.parametrize("within_seconds", [5.0, TIMING.answer_seconds])
def test_a_reconcile_in_a_short_function_is_like_a_webhook(within_seconds: float) -> None:
    assert TIMING.for_reconcile(within_seconds) == TIMING


def test_a_fetch_may_work_beside_its_waiting_and_ends_before_the_lock_does() -> None:
    assert TIMING.fetch_seconds < TIMING.fetch_limit_seconds
    assert TIMING.gather_seconds + TIMING.fetch_limit_seconds + STORE_REQUESTS_SECONDS <= TIMING.lock_seconds
    assert TIMING.stream_connect_seconds + TIMING.stream_retry_seconds < TIMING.data_set_seconds
    assert TIMING.settle_seconds <= TIMING.announced_seconds


def test_a_secret_and_a_fetch_leave_time_for_an_answer() -> None:
    secret_seconds = TIMING.secret_attempts * (TIMING.secret_connect_seconds + TIMING.secret_read_seconds)
    assert secret_seconds + TIMING.fetch_seconds < TIMING.answer_seconds
