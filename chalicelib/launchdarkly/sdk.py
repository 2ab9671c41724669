"""What an evaluation uses of LaunchDarkly's SDK, imported without the rest of it.

Importing ``ldclient`` imports its HTTP client, its streams, its events and its asynchronous half, which is
most of a cold start; an evaluation needs the models, the context and the evaluator. So the package waits
(``runtime/deferred.py``): its submodules can be imported one by one, and whoever asks it for anything, by
``from ldclient import LDClient`` or ``ldclient.get()``, gets the SDK as always, with the same classes. Five
more modules wait that are imported on the way, and hardly used.

Everything that an evaluation imports of the SDK comes from here: an import of ``ldclient`` elsewhere could
come first.
"""

from __future__ import annotations

import functools
import time
from importlib import import_module
from typing import Any

from ..runtime.deferred import defer, give, lending


def current_time_millis() -> int:
    """Unix time, as the SDK's events have it."""
    return int(time.time() * 1000)


class _SemanticVersion:
    """What the SDK asks of ``semver.VersionInfo``, for the flags that compare versions.

    It asks for the same versions of a context at each clause of each flag, and parsing one takes microseconds.
    """

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def parse(version: str) -> Any:  # a package of the SDK's, which is none of ours
        return import_module("semver").VersionInfo.parse(version)


defer("hashlib")  # loads OpenSSL, which only flags with a rollout use
defer("ipaddress")  # urllib.parse imports it, and asks it for addresses in brackets only; app.py needs that sooner
defer("ldclient")
defer("ldclient.impl.util")  # imports certifi and urllib3
defer("pyrfc3339")  # asks importlib.metadata for its own version
defer("semver")  # imports its command line, and with it argparse

with (
    lending("ldclient.impl.util", current_time_millis=current_time_millis),
    lending("semver", VersionInfo=_SemanticVersion),
):
    from ldclient.context import Context
    from ldclient.evaluation import BigSegmentsStatus, EvaluationDetail, FeatureFlagsState
    from ldclient.impl.events.types import EventFactory
    from ldclient.versioned_data_kind import FEATURES, SEGMENTS, VersionedDataKind

    try:
        from ldclient.impl.evaluator import Evaluator
    except ImportError:  # an SDK that has moved it
        Evaluator = None  # type: ignore[assignment, misc]

give("ldclient", Context=Context)  # what functions import that evaluate flags, which need no more of it

__all__ = [
    "FEATURES",
    "SEGMENTS",
    "BigSegmentsStatus",
    "Context",
    "EvaluationDetail",
    "Evaluator",
    "EventFactory",
    "FeatureFlagsState",
    "VersionedDataKind",
]
