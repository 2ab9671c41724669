"""A process that refreshes the store again and again, to be killed: ``python -m tests.support.refresh_forever``.

Takes its settings from the environment, as the app does, and the seconds of the lock as its argument.
Says ``refreshed`` after each refresh.
"""

from __future__ import annotations

import functools
import sys

from chalicelib.config import load_settings
from chalicelib.errors import RefreshConflict
from chalicelib.refresh.fetch import fetch_data_set
from chalicelib.refresh.refresher import Refresher
from chalicelib.stores.port import open_store


def main() -> None:
    settings = load_settings()
    fetch = functools.partial(fetch_data_set, settings)
    refresher = Refresher(open_store(settings), fetch, "launchdarkly", lock_seconds=float(sys.argv[1]))
    while True:
        try:
            refresher.reconcile(force=False)
        except RefreshConflict:
            continue  # slower than its lock, on a busy machine
        sys.stdout.write("refreshed\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
