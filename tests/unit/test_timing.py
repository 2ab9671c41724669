"""The waits of each path add up to less than what they are part of."""

from __future__ import annotations

import json
from pathlib import Path

from chalicelib.timing import API_GATEWAY_SECONDS, Timing
from tests.support.data import PROJECT

TIMING = Timing()

STORE_REQUESTS_SECONDS = 1.0
"""What a store that is well needs for ticket, lock and backlog, at the very most."""


def function_seconds(name: str) -> int:
    config = json.loads(Path(PROJECT, ".chalice/config.json").read_text())
    seconds: int = config["lambda_functions"][name]["lambda_timeout"]
    return seconds


def test_a_request_waits_less_than_a_second_for_redis() -> None:
    reads = 2  # the sync record, and the data set when its revision is new
    assert reads * (TIMING.redis_held_seconds + TIMING.redis_reconnect_seconds) < 1
    assert TIMING.redis_first_seconds < 1  # a cold function reads once, over its first connection


def test_a_request_learns_within_a_second_that_dynamodb_is_away() -> None:
    attempts = TIMING.dynamodb_read_attempts
    pauses = (attempts - 1) * TIMING.dynamodb_read_pause_seconds
    assert attempts * TIMING.dynamodb_get_seconds + pauses < 1


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


def test_a_reconcile_ends_before_its_function_does() -> None:
    assert TIMING.answer_seconds < function_seconds("reconcile")


def test_a_fetch_may_work_beside_its_waiting_and_ends_before_the_lock_does() -> None:
    assert TIMING.fetch_seconds < TIMING.fetch_limit_seconds
    assert TIMING.gather_seconds + TIMING.fetch_limit_seconds + STORE_REQUESTS_SECONDS <= TIMING.lock_seconds
    assert TIMING.stream_connect_seconds + TIMING.stream_retry_seconds < TIMING.data_set_seconds
    assert TIMING.settle_seconds <= TIMING.announced_seconds


def test_a_secret_and_a_fetch_leave_time_for_an_answer() -> None:
    secret_seconds = TIMING.secret_attempts * (TIMING.secret_connect_seconds + TIMING.secret_read_seconds)
    assert secret_seconds + TIMING.fetch_seconds < TIMING.answer_seconds
