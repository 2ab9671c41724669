"""What replaces flags and segments together, without a pause, until it is killed.

The content is one of ``REVISIONS`` data sets, in turn. Each says in three ways which one it is: by the values of its
flags, by who is in its segment, and by its revision. A mix of two contradicts itself.
"""

from __future__ import annotations

import itertools

from chalicelib.data_set import DataSet
from chalicelib.refresh.refresher import Refresher
from tests.support.data import boolean_flag, segment
from tests.support.stores import data_set, open_store

REVISIONS = 64
FLAGS = [f"number-{each}" for each in range(3)]
BITS = [f"bit-{each}" for each in range(REVISIONS.bit_length() - 1)]
"""Contexts: the segment of data set n includes those of the bits that are set in n."""


def numbered(number: int) -> DataSet:
    """Data set ``number``."""
    flags = [boolean_flag(key, 1, variations=[number, None]) for key in FLAGS]
    in_segment = {"attribute": "", "op": "segmentMatch", "values": ["bits"]}
    member = boolean_flag("member", 1, rules=[{"clauses": [in_segment], "variation": 0}], fallthrough={"variation": 1})
    included = [bit for place, bit in enumerate(BITS) if number >> place & 1]
    return data_set([*flags, member], [segment("bits", 1, *included)])


def replace_forever(redis_url: str) -> None:
    data_sets = itertools.cycle([numbered(number) for number in range(REVISIONS)])
    refresher = Refresher(open_store({"REDIS_URL": redis_url}).writer, lambda _: next(data_sets), "launchdarkly")
    while True:
        refresher.reconcile(force=True)
