"""A writer replaces flags and segments together, all the time; no reader ever sees a mix of two data sets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.read.conftest import Reader, ReaderOf, StartProcess
from tests.support.chalice_local import chalice_local
from tests.support.data import Json
from tests.support.forks import ForkedProcess
from tests.support.stores import refresh_store, revision
from tests.support.waiting import eventually
from tests.support.writer import BITS, FLAGS, REVISIONS, numbered, replace_forever

NUMBERS = {revision(numbered(number)): number for number in range(REVISIONS)}
CONTEXTS: list[Json] = [{"kind": "user", "key": bit} for bit in BITS]
THREADS = 4


@pytest.fixture
def busy_store(redis_url: str, reader_of: ReaderOf) -> Iterator[str]:
    """The URL of a store whose content another process replaces without a pause."""
    refresh_store(redis_url, numbered(0))
    with ForkedProcess(replace_forever, {}, redis_url) as writer:
        reader = reader_of(redis_url)
        eventually(lambda: _number_of_batch(reader) > 0)  # it is at work
        yield redis_url
        assert writer.is_running  # and was to the end


def _number_of_batch(reader: Reader) -> int:
    """Which data set answered, by all that the answer says: one request is answered from one revision."""
    answer = reader.app.invoke("on_event", {"contexts": CONTEXTS})
    number = NUMBERS[answer["revision"]]
    for place, result in enumerate(answer["results"]):
        assert result["flags"] == _flags(number, place)
    return number


def _flags(number: int, place: int) -> Json:
    """What data set ``number`` says to the context in this place."""
    is_member = bool(number >> place & 1)
    return {
        **{key: {"value": number, "variation": 0, "version": 1} for key in FLAGS},
        "member": {"value": is_member, "variation": 0 if is_member else 1, "version": 1},
    }


def test_threads_that_share_a_process_never_see_a_mix(busy_store: str, reader_of: ReaderOf) -> None:
    reader = reader_of(busy_store)
    with ThreadPoolExecutor(THREADS) as threads:
        numbers = list(threads.map(lambda _: _number_of_batch(reader), range(1000)))
    assert len(set(numbers)) > 10  # so there were revisions to mix


def test_a_process_of_its_own_never_sees_a_mix(busy_store: str, start_process: StartProcess) -> None:
    function = start_process(busy_store)
    seen = set()
    for each in range(300):
        place = each % len(BITS)
        answer = function.post("/evaluate", CONTEXTS[place])
        number = NUMBERS[answer["headers"]["X-Flags-Revision"]]
        assert answer["body"] == _flags(number, place)
        seen.add(number)
    assert len(seen) > 10


@pytest.fixture
def busy_server(busy_store: str, tmp_path: Path) -> Iterator[str]:
    """The URL of `chalice local`, which serves every connection in a thread, over the busy store."""
    with chalice_local({"REDIS_URL": busy_store, "EVALUATE_AUTH": "none"}, tmp_path) as server:
        yield server.url


def test_requests_to_chalice_local_at_the_same_time_never_see_a_mix(busy_server: str) -> None:
    def number_of(place: int) -> int:
        answer = requests.post(f"{busy_server}/evaluate", json=CONTEXTS[place], timeout=60)
        number = NUMBERS[answer.headers["X-Flags-Revision"]]
        assert answer.json() == _flags(number, place)
        one = requests.post(f"{busy_server}/evaluate/member", json=CONTEXTS[place], timeout=60)
        assert one.json()["value"] is bool(NUMBERS[one.headers["X-Flags-Revision"]] >> place & 1)
        return number

    with ThreadPoolExecutor(THREADS) as threads:
        numbers = list(threads.map(number_of, [each % len(BITS) for each in range(150)]))
    assert len(set(numbers)) > 10
