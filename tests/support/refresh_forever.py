"""A process that refreshes the store again and again, to be killed: ``python -m tests.support.refresh_forever``.

Takes its settings from the environment, as the app does, and the seconds of the lock as its argument.
Says ``refreshed`` after each refresh.
"""

from __future__ import annotations

import sys

from chalicelib.errors import RefreshBusy, RefreshConflict, StoreUnavailable
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring


def main() -> None:
    lock_seconds = float(sys.argv[1])
    refresher = Wiring(Timing(lock_seconds=lock_seconds, write_lock_seconds=lock_seconds)).refresher
    while True:
        try:
            refresher.reconcile(force=False)
        except (RefreshConflict, RefreshBusy, StoreUnavailable):
            continue  # slower than its lock, on a busy machine or because it was stopped
        sys.stdout.write("refreshed\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
