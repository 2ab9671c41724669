"""One refresh in a process of its own: ``python -m benchmarks.refresh_once ours|sdk '{"variables": {}, ...}'``.

What a refresh imports is there before the clock starts. Prints what it took as JSON: ``seconds``, ``cpu_seconds``,
and ``peak_mb``, the most memory that the process ever had.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    side, options = sys.argv[1], json.loads(sys.argv[2])
    os.environ.update(options["variables"])
    refresh = _ours(options) if side == "ours" else _sdk(options)
    start, cpu = time.perf_counter(), time.process_time()
    refresh()
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps({**took, "peak_mb": _peak_mb()}))


def _ours(options: Any) -> Callable[[], object]:
    from chalicelib.config import load_settings
    from chalicelib.data_set import Announcement
    from chalicelib.timing import Timing
    from chalicelib.wiring import Wiring

    wiring = Wiring(Timing()._replace(**options["timing"]))
    wiring.settings = load_settings({**options["variables"], "STORE_PREFIX": "ours"})
    refresher = wiring.refresher
    announcement = Announcement("features", options["flag"], options["version"])
    return lambda: refresher.refresh(announcement, within_seconds=600)


def _sdk(options: Any) -> Callable[[], object]:
    """What LaunchDarkly's guide does: initialise an SDK over its own store, and close it."""
    from ldclient.client import LDClient
    from ldclient.config import Config
    from ldclient.integrations import DynamoDB, Redis

    variables = options["variables"]
    if "REDIS_URL" in variables:
        store = Redis.new_feature_store(url=variables["REDIS_URL"], prefix="sdk")
    else:
        store = DynamoDB.new_feature_store(variables["DYNAMODB_TABLE"], prefix="sdk")
    uri = variables["LAUNCHDARKLY_STREAM_URI"]
    config = Config("sdk-key", stream_uri=uri, feature_store=store, send_events=False, diagnostic_opt_out=True)
    return lambda: LDClient(config, start_wait=300).close()


def _peak_mb() -> float:
    """Not ``getrusage``, which begins with what the parent had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
