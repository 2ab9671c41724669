"""The first read of a store, begun before anybody asks for it.

A cold function waits for the network several times before it has its data set: for a connection, for TLS, for
answers. Meanwhile it can import what evaluates.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data_set import StoredDataSet
    from .port import Reader


class FirstRead:
    """The data set as it was when this was made, read in a thread of its own that ends with the answer."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stored: StoredDataSet | None = None
        self._failure: Exception | None = None
        self.begun_at = time.time()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._stored = self._reader.read_snapshot(None, None)
        except Exception as failure:  # raised where it is asked for
            self._failure = failure

    def result(self) -> StoredDataSet | None:
        """As ``read_snapshot`` of the reader, with its errors."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._stored
