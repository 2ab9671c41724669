"""Batches of events as the list in Redis holds them: the name, a space, the data."""

from __future__ import annotations

from ...events.batches import Batch, DeliveryReport


def queued(batch: Batch) -> bytes:
    """The batch as a value of the list."""
    return batch.name.encode(errors="surrogateescape") + b" " + batch.data


def batch_of(value: bytes) -> Batch:
    """Of whatever is in the list: ``queued`` makes the same of it, but for a space at the end where there is none."""
    name, _, data = value.partition(b" ")
    return Batch(name.decode(errors="surrogateescape"), data)


def report_of(state: bytes | None, oldest: bytes | None) -> DeliveryReport:
    """From what the delivery has kept, and the first value of the list."""
    text = None if state is None else state.decode(errors="replace")
    return DeliveryReport(text, None if oldest is None else batch_of(oldest).name)
