"""What is kept of memberships in big segments, for how long, and when the store is asked."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pytest

from chalicelib.errors import StoreUnavailable
from chalicelib.patience import Patience
from chalicelib.read.big_segments import MOST_KEPT, BigSegments, hash_of
from chalicelib.stores.port import StoredMemberships
from chalicelib.timing import Timing
from tests.support import big_segments
from tests.support.clock import Clock

HEALTHY, STORE_ERROR = "HEALTHY", "STORE_ERROR"


class Members:
    """A store in which everybody is in segment ``s``; ``failing`` hashes it cannot read, and None of them if away."""

    at_once = 3

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.seconds: list[float] = []
        self.failing: set[str] = set()
        self.is_away = False

    def read(self, hashes: Collection[str], within_seconds: float) -> StoredMemberships:
        self.reads.append(list(hashes))
        self.seconds.append(within_seconds)
        if self.is_away:
            raise StoreUnavailable("The flag store cannot be reached.")
        members = {each: {"s.g1": True} for each in hashes if each not in self.failing}
        failure = "Some cannot be read." if len(members) < len(hashes) else None
        return StoredMemberships(members, big_segments.now_ms(), True, failure)


MEMBER = ({"s.g1": True}, HEALTHY)
UNKNOWN = (None, STORE_ERROR)


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(members: Members, clock: Clock) -> BigSegments:
    return BigSegments(lambda: members, 5.0, clock=clock)


@pytest.mark.parametrize("key", ["anna", "", "🔑 clé", "x" * 5000])
def test_a_context_is_known_by_the_hash_of_its_key(key: str) -> None:
    assert hash_of(key) == big_segments.hash_of(key)


def test_a_membership_is_read_again_after_some_seconds(kept: BigSegments, members: Members, clock: Clock) -> None:
    assert kept.memberships_of(["anna"]) == {"anna": MEMBER}
    clock.advance(4.9)
    assert kept.memberships_of(["ben", "anna", "ben"]) == {"ben": MEMBER, "anna": MEMBER}
    clock.advance(0.1)
    kept.memberships_of(["anna", "ben"])
    assert members.reads == [[hash_of("anna")], [hash_of("ben")], [hash_of("anna")]]


def test_nothing_is_kept_for_no_seconds(members: Members, clock: Clock) -> None:
    kept = BigSegments(lambda: members, 0.0, clock=clock)
    for _ in range(2):
        assert kept.memberships_of(["anna"]) == {"anna": MEMBER}
    assert len(members.reads) == 2
    assert not kept._kept


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(kept: BigSegments, members: Members) -> None:
    for number in range(MOST_KEPT + 10):
        kept.memberships_of([f"user-{number}"])
    assert len(kept._kept) == MOST_KEPT
    before = len(members.reads)
    kept.memberships_of(["user-10"])
    assert len(members.reads) == before
    kept.memberships_of(["user-9"])
    assert len(members.reads) == before + 1


def test_what_is_read_again_is_among_the_youngest(kept: BigSegments, members: Members, clock: Clock) -> None:
    kept.memberships_of(["again"])
    kept.memberships_of([f"user-{number}" for number in range(MOST_KEPT - 1)])
    clock.advance(5)
    kept.memberships_of(["again"])
    kept.memberships_of(["another"])
    before = len(members.reads)
    kept.memberships_of(["again"])
    assert len(members.reads) == before


def test_more_than_a_store_reads_at_once_are_read_in_turn_out_of_one_patience(
    kept: BigSegments, members: Members
) -> None:
    keys = [f"user-{number}" for number in range(7)]
    assert kept.memberships_of(keys, Patience(0.5)) == dict.fromkeys(keys, MEMBER)
    assert [len(each) for each in members.reads] == [3, 3, 1]
    assert 0.5 >= members.seconds[0] >= members.seconds[1] >= members.seconds[2] > 0


def test_without_any_patience_nothing_is_asked(kept: BigSegments, members: Members) -> None:
    assert kept.memberships_of(["anna"], Patience(0.0)) == {"anna": UNKNOWN}
    assert members.reads == []


def test_a_request_waits_for_as_long_as_the_timing_says(members: Members) -> None:
    BigSegments(lambda: members, 5.0, Timing(big_segments_seconds=0.25)).memberships_of(["anna"])
    assert 0.2 < members.seconds[0] <= 0.25


def test_a_store_that_is_away_is_asked_once_a_second_and_told_once(
    kept: BigSegments, members: Members, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kept.memberships_of(["anna"])
    members.is_away = True
    for _ in range(3):
        assert kept.memberships_of(["ben"]) == {"ben": UNKNOWN}
        assert kept.memberships_of(["anna"]) == {"anna": ({"s.g1": True}, STORE_ERROR)}, "as the SDK says of its cache"
    clock.advance(1.0)
    assert kept.memberships_of(["ben"]) == {"ben": UNKNOWN}
    assert len(members.reads) == 3
    assert caplog.messages == ["big segments cannot be read: The store cannot be reached."]

    members.is_away = False
    clock.advance(1.0)
    assert kept.memberships_of(["ben", "anna"]) == {"ben": MEMBER, "anna": MEMBER}
    members.is_away = True
    clock.advance(5.0)
    kept.memberships_of(["anna"])
    assert len(caplog.messages) == 2


def test_what_could_not_be_read_is_not_kept_and_holds_nothing_else_up(
    kept: BigSegments, members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    members.failing = {hash_of("ben")}
    assert kept.memberships_of(["anna", "ben"]) == {"anna": MEMBER, "ben": UNKNOWN}
    members.failing = set()
    assert kept.memberships_of(["anna", "ben"]) == {"anna": MEMBER, "ben": MEMBER}
    assert caplog.record_tuples == [
        (
            "chalicelib.read.big_segments",
            logging.ERROR,
            "some of the big segments cannot be read: Some cannot be read.",
        )
    ]
