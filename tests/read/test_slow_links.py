"""A large data set arrives over any link that could carry it once: no byte is asked for twice."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from chalicelib.data_set import StoredDataSet, SyncRecord
from chalicelib.errors import StoreTooSlow
from chalicelib.read.snapshots import Snapshots
from chalicelib.timing import Timing
from tests.support.clock import Clock
from tests.support.data import boolean_flag
from tests.support.network import SlowLink
from tests.support.stores import CountedReads, data_set, open_store, refresh_store
from tests.support.valkey import ValkeyServer

READERS = 40
SIZE = 500_000
TIMING = Timing(slowest_bytes_per_second=8 * 1024.0, silence_seconds=30, exchange_seconds=120)
"""As short an answer's patience as ever; a busy machine makes a link a few times as slow as it is said to be."""
MOST = 1.02
"""Of what the answers have in bytes; the protocol adds a little."""


@pytest.fixture(scope="module")
def large() -> list[dict[str, object]]:
    """Five hundred flags of a kilobyte."""
    letters = random.Random(1)
    return [
        boolean_flag(f"flag-{number:04}", description=letters.randbytes(430).hex()) for number in range(SIZE // 1000)
    ]


@pytest.fixture
def filled(server: ValkeyServer, large: list[dict[str, object]]) -> ValkeyServer:
    refresh_store(server.url, data_set(large))
    return server


def test_forty_readers_that_share_a_link_each_get_the_data_set_at_the_first_try(filled: ValkeyServer) -> None:
    with closing(SlowLink(filled.port, 5e6)) as link:
        timing = TIMING._replace(first_exchange_seconds=2.0)  # until it is each one's turn for the first time
        readers = [open_store({"REDIS_URL": link.url}, timing).reader for _ in range(READERS)]
        with ThreadPoolExecutor(READERS) as threads:
            found = list(threads.map(lambda reader: reader.read_items(), readers))
    size = sum(map(len, found[0].texts["features"].values()))
    assert size > 0.9 * SIZE
    assert all(each == found[0] for each in found)
    assert link.connections == READERS
    assert READERS * size < link.carried < READERS * size * MOST + READERS * 25_000


def test_a_data_set_comes_over_a_link_that_takes_many_times_a_short_answers_patience(filled: ValkeyServer) -> None:
    with closing(SlowLink(filled.port, 0.25e6)) as link:
        reader = open_store({"REDIS_URL": link.url}, TIMING).reader
        assert len(reader.read_items().texts["features"]) == SIZE // 1000
        assert link.connections == 1


def test_an_answer_that_comes_too_slowly_is_cut_off_and_not_asked_for_again(filled: ValkeyServer) -> None:
    with closing(SlowLink(filled.port, 0.5e6)) as link:
        reader = open_store({"REDIS_URL": link.url}, Timing(slowest_bytes_per_second=5e6)).reader
        reader.read_sync_record()
        with pytest.raises(StoreTooSlow, match="did not answer in time"):
            reader.read_items()
        assert link.connections == 1


class TooSlow(CountedReads):
    """A store from which data comes too slowly to be read, until it does not."""

    is_slow = False

    def read_snapshot(self, record: SyncRecord | None, held: StoredDataSet | None) -> StoredDataSet | None:
        found = super().read_snapshot(record, held)
        if self.is_slow:
            raise StoreTooSlow("The flag store sends its data too slowly.")
        return found


def test_reads_that_are_cut_off_come_back_later_each_time(redis_url: str) -> None:
    refresh_store(redis_url, data_set([boolean_flag("shiny", 1)]))
    reads, clock = TooSlow(open_store({"REDIS_URL": redis_url}).reader), Clock()
    timing = Timing(store_retry_seconds=1.0, store_longest_retry_seconds=10.0)
    snapshots = Snapshots(reads, 15.0, timing, clock)
    first = snapshots.current()
    refresh_store(redis_url, data_set([boolean_flag("shiny", 2)]))
    reads.is_slow = True
    for shortest, longest in ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (5.0, 10.0), (5.0, 10.0)):
        before = reads.count
        assert (snapshots.current().revision, snapshots.current().stale) == (first.revision, True)
        assert reads.count == before + 2, "it has tried once"
        clock.advance(shortest - 0.01)
        snapshots.current()
        assert reads.count == before + 2, "it has not tried again"
        clock.advance(longest - shortest + 0.02)
    reads.is_slow = False
    assert (snapshots.current().revision != first.revision, snapshots.current().stale) == (True, False)
