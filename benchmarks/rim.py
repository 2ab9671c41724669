"""What the token check and the log line cost each request: the app called in this process, as Lambda calls it."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace

from benchmarks.setting import FLAG, Place, http_request
from benchmarks.tables import Table
from tests.support.app import import_app

_TOKEN = "a-token-of-a-benchmark"
_ROUNDS = 2000
_LAMBDA_CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)


def table(place: Place) -> Table:
    log = logging.getLogger("serverless-flags")
    with open(os.devnull, "w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        logging.getLogger().addHandler(handler)
        bare = _app({**place.local_variables, "EVALUATE_AUTH": "none"})
        digest = hashlib.sha256(_TOKEN.encode()).hexdigest()
        checking = _app({**place.local_variables, "EVALUATE_AUTH": "token", "EVALUATE_TOKEN_SHA256": digest})
        cases: dict[str, tuple[Callable[[], object], bool]] = {
            "neither": (bare, True),
            "token check": (checking, True),
            "log line": (bare, False),
            "both": (checking, False),
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(_ROUNDS):
            for case, (request, is_silent) in cases.items():
                log.disabled = is_silent
                start = time.perf_counter()
                request()
                seconds[case].append(time.perf_counter() - start)
        log.disabled = False
        logging.getLogger().removeHandler(handler)
    medians = {case: median(each) for case, each in seconds.items()}
    return Table(
        "Token and log",
        f"One flag over HTTP events in one process, {place.flag_count:,} flags, median of {_ROUNDS:,} requests taken "
        "in turn; the log goes nowhere, but is written.",
        ("", "a request", "more than neither"),
        tuple((case, _us(each), _us(each - medians["neither"])) for case, each in medians.items()),
    )


def _app(variables: dict[str, str]) -> Callable[[], object]:
    """A request for one flag to an app of its own with these settings."""
    os.environ.update(variables)
    module = import_app()
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    event = http_request(f"/evaluate/{FLAG}", "/evaluate/{flag_key}", headers, flag_key=FLAG)
    answer = module.app(event, _LAMBDA_CONTEXT)
    assert answer["statusCode"] == 200, answer
    return lambda: module.app(event, _LAMBDA_CONTEXT)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"
