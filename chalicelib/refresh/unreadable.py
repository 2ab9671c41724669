"""Which items of a new revision the SDK cannot read. They are stored as they came, and hold nothing else back."""

from __future__ import annotations

from ..data_set import KINDS, DataSet, StoredDataSet
from ..errors import UnreadableItem
from ..launchdarkly.items import decode_item, log_unreadable_of_refresh
from ..launchdarkly.sdk import FEATURES, SEGMENTS

_SDK_KINDS = {kind.namespace: kind for kind in (FEATURES, SEGMENTS)}


def count_unreadable(data_set: DataSet, revision: str, stored: StoredDataSet) -> int:
    """How many items of this revision cannot be read. They are logged when it is a new one.

    Of a data set in which all could be read, only what has changed since is looked at.
    """
    # A version of the app that wrote no snapshot did not count either.
    before = None if stored.record is None or stored.record.snapshot is None else stored.record
    if before is not None and before.revision == revision:
        return before.unreadable
    all_were_readable = before is not None and before.unreadable == 0
    unreadable = []
    for kind in KINDS:
        readable = stored.texts[kind] if all_were_readable else {}
        for key, item in data_set[kind].items():
            if readable.get(key) != item.text:
                try:
                    decode_item(_SDK_KINDS[kind], key, item.text)
                except UnreadableItem as error:
                    unreadable.append((_SDK_KINDS[kind], key, item.text, error))
    log_unreadable_of_refresh(unreadable)
    return len(unreadable)
