"""The garbage collector, kept out of bulk decodes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """For a block that allocates very much, all of it to stay: the collector would walk it again and again.

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
