"""CloudWatch metrics as lines on stdout, in the embedded metric format: no client, no permission, no waiting.

Namespace ``ServerlessFlags``, dimension ``Deployment`` (``<app>-<stage>``):

- ``RefreshFailures``: 0 or 1 for each refresh, so the sum counts failures and the sample count refreshes.
- ``RefreshMilliseconds``: how long it took, waiting for other refreshes included.
- ``DataAgeSeconds``: age of what the store held when it ended; left out while the store cannot tell.
- ``StaleAnswers``: 1 for each answer from memory because the store is out of reach.
- ``StoreErrors``: 1 for each evaluation refused because there is nothing to evaluate from.
- ``DefaultsServed``: how many answers of `flags` were default values because there is nothing to evaluate from,
  counted up and written once a second at most; of a client that `one_revision` gives, the client alone counts.
- ``EventsDelivered``, ``EventsDropped``: evaluations that are counted and full events, of one run of its function.
- ``EventsRefused``: 1 for each run while LaunchDarkly does not take events before a person has done something.
- ``OldestEventSeconds``: age of the oldest events that are still in the store after a run.

An evaluation that goes well writes no line: CloudWatch charges for each byte.

Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..config import deployment_name

_NAMESPACE = "ServerlessFlags"
_UNITS = {
    "RefreshFailures": "Count",
    "RefreshMilliseconds": "Milliseconds",
    "DataAgeSeconds": "Seconds",
    "StaleAnswers": "Count",
    "StoreErrors": "Count",
    "DefaultsServed": "Count",
    "EventsDelivered": "Count",
    "EventsDropped": "Count",
    "EventsRefused": "Count",
    "OldestEventSeconds": "Seconds",
}


def emit(values: Mapping[str, float]) -> None:
    """Write one line with these metrics; on Lambda only, where somebody reads it."""
    deployment = deployment_name()
    if deployment is not None:
        sys.stdout.write(metric_line(deployment, values, int(time.time() * 1000)) + "\n")


@contextmanager
def measured_refresh(data_age_seconds: Callable[[], float | None]) -> Iterator[None]:
    """Emits the metrics of the refresh in the block; ``data_age_seconds`` is asked when it ends."""
    begun, failed = time.monotonic(), True
    try:
        yield
        failed = False
    finally:
        milliseconds = round((time.monotonic() - begun) * 1000)
        age_seconds = data_age_seconds()
        age = {} if age_seconds is None else {"DataAgeSeconds": age_seconds}
        emit({"RefreshFailures": int(failed), "RefreshMilliseconds": milliseconds, **age})


def metric_line(deployment: str, values: Mapping[str, float], unix_ms: int) -> str:
    """One line of JSON that CloudWatch Logs turns into these metrics."""
    metrics = [{"Name": name, "Unit": _UNITS[name]} for name in values]
    directive = {"Namespace": _NAMESPACE, "Dimensions": [["Deployment"]], "Metrics": metrics}
    return json.dumps(
        {"_aws": {"Timestamp": unix_ms, "CloudWatchMetrics": [directive]}, "Deployment": deployment, **values}
    )
