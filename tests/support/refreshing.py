"""Refreshes in processes of their own, to be stopped and killed."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.connection import Connection

from chalicelib.errors import RefreshBusy, RefreshConflict, StoreUnavailable
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring
from tests.support.forks import FORKS, ForkedProcess


class RefreshingProcess(ForkedProcess):
    """Refreshes the store that these settings name again and again."""

    def __init__(self, environment: Mapping[str, str], lock_seconds: float) -> None:
        self._refreshed, tells = FORKS.Pipe(duplex=False)
        super().__init__(_refresh_forever, environment, lock_seconds, tells)
        tells.close()

    def wait_for_refresh(self) -> None:
        self._refreshed.recv()

    def kill(self) -> None:
        super().kill()
        self._refreshed.close()


def _refresh_forever(lock_seconds: float, tells: Connection) -> None:
    refresher = Wiring(Timing(lock_seconds=lock_seconds, write_lock_seconds=lock_seconds)).refresher
    while True:
        try:
            refresher.reconcile(force=False)
        except (RefreshConflict, RefreshBusy, StoreUnavailable):
            continue  # slower than its lock, on a busy machine or because it was stopped
        tells.send("refreshed")


def reconcile_once() -> None:
    """What Lambda does when the schedule invokes the function."""
    import app

    app.reconcile({}, None)
