"""What an evaluation uses of LaunchDarkly's SDK, imported without the rest of it.

Importing ``ldclient`` imports its HTTP client, its streams, its events and its asynchronous half, which is
most of a cold start; an evaluation needs the models, the context and the evaluator. So the package waits
(``runtime/deferred.py``): its submodules can be imported one by one, and whoever asks it for anything, by
``from ldclient import LDClient`` or ``ldclient.get()``, gets the SDK as always, with the same classes. Three
more modules wait because the models or the evaluator import them, and hardly use them.

Everything that an evaluation imports of the SDK comes from here: an import of ``ldclient`` elsewhere could
come first.
"""

from __future__ import annotations

import importlib
import time

from ..runtime.deferred import defer


def _current_time_millis() -> int:
    return int(time.time() * 1000)


defer("ldclient")
# It imports certifi and urllib3; the types of events only take this one function from it.
defer("ldclient.impl.util", lambda: {"current_time_millis": _current_time_millis})
# Asks importlib.metadata for its own version, as it is imported. Used for clauses that compare times.
defer("pyrfc3339")
# Imports its command line, and with it argparse.
defer("semver", lambda: {"VersionInfo": importlib.import_module("semver.version").VersionInfo})

from ldclient.context import Context
from ldclient.evaluation import BigSegmentsStatus, EvaluationDetail
from ldclient.versioned_data_kind import FEATURES, SEGMENTS, VersionedDataKind

__all__ = ["FEATURES", "SEGMENTS", "BigSegmentsStatus", "Context", "EvaluationDetail", "VersionedDataKind"]
