"""The garbage collector, kept out of cold starts and bulk decodes: it would walk again and again what is to stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def pause_collector() -> None:
    """Until :func:`resume_collector`, for a process that only imports and reads meanwhile."""
    gc.disable()


def resume_collector() -> None:
    """What is there by now belongs to the app: no collection looks at it, or only a full one after a bulk decode."""
    gc.freeze()
    gc.enable()


@contextmanager
def collector_paused() -> Iterator[None]:
    """For a block that allocates very much, all of it to stay.

    Freezing and unfreezing moves what is there to the oldest generation, unvisited, where garbage would stay
    for long. So the young generations are collected first. Where threads overlap, the first to leave wakes
    the collector.
    """
    was_enabled = gc.isenabled()
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        if was_enabled:
            gc.enable()
