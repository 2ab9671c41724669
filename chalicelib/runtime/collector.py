"""The garbage collector, kept out of bulk decodes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """A bulk decode only allocates; the collector would walk the growing heap again and again.

    Freezing and unfreezing moves what was allocated to the oldest generation, unvisited: without it, the
    next collection of the youngest one would walk all of it. Where threads overlap, the first to leave
    wakes the collector.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        if was_enabled:
            gc.enable()
