"""What ``flags`` evaluates from in a user's own function. As LaunchDarkly's SDKs do, it never raises at run time.

A handler asks for many flags in one invocation, so not each of them asks the store: what was asked a moment ago
is taken for current. Whatever fails becomes default values with an error reason; the log says so once for an
outage, and the metric ``DefaultsServed`` counts them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import FlagsError, StoreNotInitialized
from ..launchdarkly.evaluators import Memberships, evaluator_over, failed
from ..launchdarkly.sdk import FEATURES, Context, EvaluationDetail, FeatureFlagsState
from ..runtime.clock import AgeingClock
from ..runtime.logs import gate_evaluator
from ..runtime.metrics import emit
from ..timing import Timing
from .snapshots import Snapshot

if TYPE_CHECKING:
    from ldclient.client import LDClient
    from ldclient.migrations import OpTracker, Stage

    from ..launchdarkly.evaluators import FixedFeatureStore, FlagEvaluator, Record
    from .direct import DirectFlags

logger = logging.getLogger(__name__)


class Answers(Protocol):
    """Flags as ``LDClient`` answers for them, with its signatures. Nothing of it raises."""

    def variation(self, key: str, context: Context, default: Any) -> Any:
        """The value of a flag (Any: JSON)."""

    def variation_detail(self, key: str, context: Context, default: Any) -> EvaluationDetail:
        """The value and its reason."""

    def all_flags_state(self, context: Context, **options: bool) -> FeatureFlagsState:
        """The state of all flags, with the SDK's own options."""

    def migration_variation(self, key: str, context: Context, default_stage: Stage) -> tuple[Stage, OpTracker]:
        """The stage of a migration flag, and what records how it goes."""

    def new_client(self) -> LDClient:
        """A client that answers the same from now on; for whoever gets it alone."""


class StoredFlags:
    """The flags of one revision."""

    def __init__(
        self,
        feature_store: FixedFeatureStore,
        evaluator: FlagEvaluator,
        record: Record | None = None,
        timing: Timing = Timing(),
    ) -> None:
        """``record`` is given the events of clients; the evaluator has its own."""
        self.feature_store = feature_store
        self._evaluator = evaluator
        self._record = record
        self._timing = timing

    def variation(self, key: str, context: Context, default: Any) -> Any:
        return self._evaluate(key, context, default, with_reasons=False).value

    def variation_detail(self, key: str, context: Context, default: Any) -> EvaluationDetail:
        return self._evaluate(key, context, default, with_reasons=True)

    def _evaluate(self, key: str, context: Context, default: Any, *, with_reasons: bool) -> EvaluationDetail:
        if not context.valid:
            logger.warning("the flag %r has its default value: %s", key, context.error)
            return failed("USER_NOT_SPECIFIED", default)
        try:
            return self._evaluator.evaluate_flag(key, context, default, with_reasons=with_reasons)
        except Exception:  # as wide as in the SDK's client
            logger.exception("the flag %r cannot be evaluated", key)
            return failed("EXCEPTION", default)

    def all_flags_state(self, context: Context, **options: bool) -> FeatureFlagsState:
        if not context.valid:
            logger.warning("there is no state of all flags: %s", context.error)
            return FeatureFlagsState(False)
        try:
            return self._state(context, **options)
        except Exception:  # as wide as in the SDK's client
            logger.exception("there is no state of all flags")
            return FeatureFlagsState(False)

    def _state(
        self,
        context: Context,
        *,
        client_side_only: bool = False,
        with_reasons: bool = False,
        details_only_for_tracked_flags: bool = False,
    ) -> FeatureFlagsState:
        flags = self.feature_store.all(FEATURES)
        keys = [key for key, flag in flags.items() if flag.get("clientSide", False)] if client_side_only else None
        state = FeatureFlagsState(True)
        memberships = Memberships(self.feature_store.read_memberships, self._timing.big_segments_seconds)
        evaluator = evaluator_over(self.feature_store, memberships)  # one reading of big segments for all flags
        for key, evaluated in evaluator.evaluate_flags(context, keys, with_reasons=with_reasons, counts=False).items():
            each = {"key": key, "variation": None, "prerequisites": [], "reason": None, **evaluated}
            state.add_flag(each, with_reasons, details_only_for_tracked_flags)
        return state

    def migration_variation(self, key: str, context: Context, default_stage: Stage) -> tuple[Stage, OpTracker]:
        return self.new_client().migration_variation(key, context, default_stage)

    def new_client(self) -> LDClient:
        from ..launchdarkly.clients import daemon_client  # imports the whole SDK

        return daemon_client(self.feature_store, record=self._record)


class StreamedFlags:
    """Direct mode: the SDK's client, which follows LaunchDarkly by itself, and knows when it is not ready."""

    def __init__(self, direct: DirectFlags) -> None:
        self._direct = direct
        self.variation = direct.client.variation
        self.variation_detail = direct.client.variation_detail
        self.all_flags_state = direct.client.all_flags_state
        self.migration_variation = direct.client.migration_variation

    def new_client(self) -> LDClient:
        from ..launchdarkly.clients import client_without_flags

        if not self._direct.client.is_initialized():
            return client_without_flags()
        return self._direct.client_of_now()


class NoFlags:
    """There is nothing to evaluate from: every flag has its default value."""

    def __init__(self, error_kind: str) -> None:
        self._error_kind = error_kind
        self._served = 0
        self._counted = 0

    def variation(self, key: str, context: Context, default: Any) -> Any:
        return self.variation_detail(key, context, default).value

    def variation_detail(self, key: str, context: Context, default: Any) -> EvaluationDetail:
        self._serve()
        return failed(self._error_kind, default)

    def all_flags_state(self, context: Context, **options: bool) -> FeatureFlagsState:
        self._serve()
        return FeatureFlagsState(False)

    def migration_variation(self, key: str, context: Context, default_stage: Stage) -> tuple[Stage, OpTracker]:
        return self.new_client().migration_variation(key, context, default_stage)

    def new_client(self) -> LDClient:
        from ..launchdarkly.clients import client_without_flags

        self._serve()
        return client_without_flags()

    def _serve(self) -> None:
        self._served += 1
        if self._served == 1:
            self.count()

    def count(self) -> None:
        """Emits the metric of what was served since the last time: not a line for each flag."""
        served = self._served
        if served > self._counted:
            emit({"DefaultsServed": served - self._counted})
            self._counted = served


class RecentFlags:
    """What to answer from. Asks the store at most so often; one for each process. Thread-safe."""

    def __init__(
        self,
        current: Callable[[], Snapshot | DirectFlags],
        max_age_seconds: Callable[[], float],
        timing: Timing = Timing(),
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``current`` and ``max_age_seconds`` may raise; the latter is in the settings, which may be wrong."""
        self._current = current
        self._max_age_seconds = max_age_seconds
        self._timing = timing
        self._retry_seconds = timing.store_retry_seconds
        self._clock = clock or AgeingClock()
        self._lock = threading.Lock()
        self._held: Answers | None = None
        self._until = 0.0
        self._failure: str | None = None
        gate_evaluator()

    def answers(self) -> Answers:
        """Those of the last time, unless they are too old."""
        with self._lock:
            if self._held is None or self._clock() >= self._until:
                self._held = self._ask()
            return self._held

    def fresh_answers(self) -> Answers:
        """Those of now."""
        with self._lock:
            self._held = self._ask()
            return self._held

    def read_ahead(self) -> None:
        """Have the answers of now ready, for whoever asks first. Raises what asking the store raises."""
        with self._lock:
            self._held = self._ask_store()

    def _ask(self) -> Answers:
        if isinstance(self._held, NoFlags):
            self._held.count()
        try:
            return self._ask_store()
        except Exception as error:  # whatever it is, the caller's flags have their defaults
            return self._nothing(error)

    def _ask_store(self) -> Answers:
        asked_at = self._clock()
        source = self._current()
        self._until = asked_at + self._seconds_to_keep(source)
        self._failure = None
        if source.provenance.stale:
            emit({"StaleAnswers": 1})
        return self._answers_from(source)

    def _seconds_to_keep(self, source: Snapshot | DirectFlags) -> float:
        """What the store has not confirmed is looked at again as soon as the store may be asked again."""
        seconds = self._max_age_seconds()
        return min(seconds, self._retry_seconds) if source.provenance.stale else seconds

    def _nothing(self, error: Exception) -> NoFlags:
        """Also what failed is not tried again at each flag. A store that answers is asked as often as it should be."""
        failure = f"{type(error).__name__}: {error}"
        is_expected = isinstance(error, FlagsError)
        if failure != self._failure:
            logger.error("flags have their default values: %s", failure, exc_info=None if is_expected else error)
        self._failure = failure
        keep_seconds = self._retry_seconds
        if isinstance(error, StoreNotInitialized):
            keep_seconds = min(keep_seconds, self._max_age_seconds())
        self._until = self._clock() + keep_seconds
        return NoFlags("CLIENT_NOT_READY" if is_expected else "EXCEPTION")

    def _answers_from(self, source: Snapshot | DirectFlags) -> Answers:
        if not isinstance(source, Snapshot):
            return StreamedFlags(source)
        held = self._held
        if isinstance(held, StoredFlags) and held.feature_store is source.feature_store:
            return held
        return StoredFlags(source.feature_store, source.evaluator, source.record_event, self._timing)
