"""Flags evaluated by LaunchDarkly's SDK: by its evaluator alone, or by a whole client.

The evaluator is a class that the SDK keeps to itself, and a fraction of a client: no client has to be
imported, made or freed (docs/decisions/0006-evaluator-without-a-client.md). The tests hold its answers to
those of a client. A client answers in direct mode, and wherever the SDK has no such evaluator.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import proxy

from ..errors import FetchTimedOut, UnreadableItem
from ..patience import Patience
from .sdk import (
    FEATURES,
    SEGMENTS,
    BigSegmentsStatus,
    Context,
    EvaluationDetail,
    Evaluator,
    EventFactory,
    VersionedDataKind,
)

if TYPE_CHECKING:
    from ldclient.client import LDClient
    from ldclient.impl.model import FeatureFlag

logger = logging.getLogger(__name__)

Json = dict[str, Any]
"""A JSON object (Any: JSON)."""

Record = Callable[[Any], None]
"""Takes an event of the SDK's (which exports no type)."""


Membership = dict[str, bool]
"""Of a context in big segments: the segment's reference -> whether it is included, or excluded."""

KnownMembership = tuple[Membership | None, str]
"""What the SDK's evaluator takes: the membership, None where it is not known, and the status of its store."""

ReadMemberships = Callable[[Collection[str], Patience | None], Mapping[str, KnownMembership]]
"""(context keys, how long to wait for all of them) -> what is known of each. None: for as long as a request may."""


def no_memberships(keys: Collection[str], _patience: Patience | None = None) -> dict[str, KnownMembership]:
    """Where there is no store of them: a flag that needs one says so in its reason."""
    return dict.fromkeys(keys, (None, BigSegmentsStatus.NOT_CONFIGURED))


class Memberships:
    """What one request learns of its contexts' memberships in big segments: each is read once, when a flag asks."""

    def __init__(self, read: ReadMemberships, wait_seconds: float) -> None:
        """``wait_seconds``: how long the request may wait for all of them; for each hundred contexts of a batch."""
        self.known: dict[str, KnownMembership] = {}
        """By context key: all that flags have asked for, and in a batch what they may ask for next."""
        self._read = read
        self._wait_seconds = wait_seconds
        self._patience = Patience(wait_seconds)
        self._expected: Collection[Context] = ()

    def expect(self, contexts: Collection[Context]) -> None:
        """These will be evaluated: when the first of them asks, the memberships of all of its kind are read."""
        self._expected = contexts
        self._patience.renew(self._wait_seconds * (1 + len(contexts) // 100))

    def of(self, context_key: str) -> KnownMembership:
        if context_key not in self.known:
            kinds = [keys for keys in self._keys_by_kind.values() if context_key in keys]
            wanted = dict.fromkeys([context_key, *(key for keys in kinds for key in keys)])
            self.known.update(self._read([key for key in wanted if key not in self.known], self._patience))
        return self.known[context_key]

    @functools.cached_property
    def _keys_by_kind(self) -> dict[str, dict[str, None]]:
        """Of the expected contexts, each key once."""
        keys: dict[str, dict[str, None]] = {}
        for context in self._expected:
            for index in range(context.individual_context_count):
                individual = context.get_individual_context(index)
                assert individual is not None  # there are so many
                keys.setdefault(individual.kind, {})[individual.key] = None
        return keys


class FixedFeatureStore(Protocol):
    """The flags and segments of one moment, as the SDK's models. They do not change any more."""

    @property
    def read_memberships(self) -> ReadMemberships:
        """Where the members of its big segments are, which do change."""

    @property
    def same_for_everybody(self) -> Mapping[bool, MutableMapping[str, Json]]:
        """Answers to every context, by whether they have reasons and by flag; kept for the life of the store."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""

    def __hash__(self) -> int:
        """By identity."""


class FlagEvaluator(Protocol):
    """Evaluates flags for a context."""

    def evaluate_flag(
        self, key: str, context: Context, default: Any = None, *, with_reasons: bool = True
    ) -> EvaluationDetail:
        """One flag, as the SDK's ``variation_detail`` (Any: JSON); without reasons as ``variation`` in its event."""

    def evaluate_flags(
        self, context: Context, keys: Collection[str] | None, *, with_reasons: bool, counts: bool = True
    ) -> dict[str, Json]:
        """What the SDK's ``all_flags_state`` says of each flag (``keys`` None: of all), its value among it.

        Unreadable and unknown flags are left out. ``counts``: these keys were asked for, which is an evaluation of
        each. Raises FetchTimedOut while there is no data set.
        """


def evaluator_over(
    feature_store: FixedFeatureStore, memberships: Memberships | None = None, record: Record | None = None
) -> FlagEvaluator:
    """The cheapest evaluator that there is. ``memberships``: those of the request, if it is for one. ``record`` is
    given the events that a client would send.
    """
    if Evaluator is None:
        return ClientEvaluator(_client_over(feature_store, record), memberships, counts=record is not None)
    return BareEvaluator(feature_store, memberships, record)


_memberships_of_request: ContextVar[Memberships | None] = ContextVar("memberships of the request", default=None)
"""One client answers all requests."""


@functools.lru_cache(maxsize=1)
def _client_over(feature_store: FixedFeatureStore, record: Record | None) -> LDClient:
    """One for all requests that are answered from this store; the collector frees it after the next one is made."""
    from .clients import daemon_client

    held = proxy(feature_store)  # the client is a cycle, and shall not keep a data set until it is collected

    def membership_of_request(context_key: str) -> KnownMembership:
        memberships = _memberships_of_request.get()
        return membership_of(held, context_key) if memberships is None else memberships.of(context_key)

    return daemon_client(feature_store, membership_of_request, record)


def membership_of(feature_store: FixedFeatureStore, context_key: str) -> KnownMembership:
    """For an evaluation that is not part of a request."""
    return feature_store.read_memberships([context_key], None)[context_key]


class ClientEvaluator(NamedTuple):
    """By a client, which sends its analytics events if it is made to.

    ``counts`` False evaluates without one: the client sends none for all flags.
    """

    client: LDClient
    memberships: Memberships | None = None
    counts: bool = True

    def evaluate_flag(
        self, key: str, context: Context, default: Any = None, *, with_reasons: bool = True
    ) -> EvaluationDetail:
        with self._asking():
            if self.counts:
                return self.client.variation_detail(key, context, default)
            state = self.client.all_flags_state(context, with_reasons=True)
        if not state.valid:
            return failed("CLIENT_NOT_READY", default)
        if state.get_flag_reason(key) is None:
            return failed("FLAG_NOT_FOUND", default)
        metadata = state.to_json_dict()["$flagsState"][key]
        detail = EvaluationDetail(state.get_flag_value(key), metadata.get("variation"), metadata["reason"])
        return _or_default(detail, default)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        token = _memberships_of_request.set(self.memberships)
        try:
            yield
        finally:
            _memberships_of_request.reset(token)

    def evaluate_flags(
        self, context: Context, keys: Collection[str] | None, *, with_reasons: bool, counts: bool = True
    ) -> dict[str, Json]:
        with self._asking():
            state = self.client.all_flags_state(context, with_reasons=with_reasons)
        if not state.valid:
            raise FetchTimedOut("LaunchDarkly has not delivered the data set yet.")
        values = state.to_json_dict()
        states: dict[str, Json] = values["$flagsState"]
        if self.counts and counts:
            with self._asking():
                for key in keys or ():
                    self._count(key, context, with_reasons)
        chosen = states if keys is None else [key for key in keys if key in states]
        return {key: {"value": values[key], **states[key]} for key in chosen}

    def _count(self, key: str, context: Context, with_reasons: bool) -> None:
        """Have the client send what it sends for one flag."""
        evaluate = self.client.variation_detail if with_reasons else self.client.variation
        evaluate(key, context, None)


class BareEvaluator:
    """By the SDK's evaluator, over a feature store that is there and does not change.

    What is asked for by its key is recorded as the SDK's client does: with the default None, and with reasons where the
    caller gets them. All flags together are no evaluation of any of them.
    """

    def __init__(
        self,
        feature_store: FixedFeatureStore,
        memberships: Memberships | None = None,
        record: Record | None = None,
    ) -> None:
        self._feature_store = feature_store
        self._record = record
        self._evaluator = Evaluator(
            functools.partial(feature_store.get, FEATURES),
            functools.partial(feature_store.get, SEGMENTS),
            functools.partial(membership_of, feature_store) if memberships is None else memberships.of,
            logger,
        )

    def evaluate_flag(
        self, key: str, context: Context, default: Any = None, *, with_reasons: bool = True
    ) -> EvaluationDetail:
        events = _WITH_REASONS if with_reasons else _WITHOUT_REASONS
        flag, error_kind = self._flag(key)
        if flag is None:
            return self._answer_without_flag(error_kind, key, context, events, default)
        return self._evaluate(flag, context, events, self._record, default)[0]

    def evaluate_flags(
        self, context: Context, keys: Collection[str] | None, *, with_reasons: bool, counts: bool = True
    ) -> dict[str, Json]:
        events = _WITH_REASONS if with_reasons else _WITHOUT_REASONS
        if keys is None or self._record is None or not counts:
            return self._evaluate_unrecorded(context, keys, with_reasons)
        answers = {}
        for key in keys:
            flag, error_kind = self._flag(key)
            if flag is None:
                self._answer_without_flag(error_kind, key, context, events)
            else:
                detail, prerequisites = self._evaluate(flag, context, events, self._record)
                answers[key] = _state(flag, detail, prerequisites, with_reasons)
        return answers

    def _evaluate_unrecorded(
        self, context: Context, keys: Collection[str] | None, with_reasons: bool
    ) -> dict[str, Json]:
        answers = {}
        same_for_everybody = self._feature_store.same_for_everybody[with_reasons]
        for key, flag in self._flags(keys):
            answer = same_for_everybody.get(key)
            if answer is None:
                detail, prerequisites = self._evaluate(flag, context, _WITHOUT_REASONS, None)
                answer = _state(flag, detail, prerequisites, with_reasons)
                if _is_same_for_everybody(flag):
                    same_for_everybody[key] = answer
            answers[key] = answer
        return answers

    def _flags(self, keys: Collection[str] | None) -> Iterable[tuple[str, FeatureFlag]]:
        if keys is None:
            return self._feature_store.all(FEATURES).items()
        found = ((key, self._flag(key)[0]) for key in keys)
        return [(key, flag) for key, flag in found if flag is not None]

    def _flag(self, key: str) -> tuple[FeatureFlag | None, str]:
        """The flag; where there is none that can be read, the error kind of an evaluation of it."""
        try:
            return self._feature_store.get(FEATURES, key), "FLAG_NOT_FOUND"
        except UnreadableItem:
            return None, "EXCEPTION"

    def _answer_without_flag(
        self, error_kind: str, key: str, context: Context, events: EventFactory, default: Any = None
    ) -> EvaluationDetail:
        """What an evaluation says where there is no flag that can be read (Any: JSON)."""
        failure = failed(error_kind, default)
        if self._record is not None:
            self._record(events.new_unknown_flag_event(key, context, failure.value, failure.reason))
        return failure

    def _evaluate(
        self, flag: FeatureFlag, context: Context, events: EventFactory, record: Record | None, default: Any = None
    ) -> tuple[EvaluationDetail, list[str]]:
        """The detail, and the keys of the flag's own prerequisites as far as they were evaluated (Any: JSON).

        The evaluator makes an event for each prerequisite, whether somebody records them or not.
        """
        try:
            result = self._evaluator.evaluate(flag, context, events)
            assert result.detail is not None  # it is once the evaluator returns
            detail = result.detail if default is None else _or_default(result.detail, default)
            if record is not None:
                for event in result.events or ():
                    record(event)
                record(events.new_eval_event(flag, context, detail, default))
        except Exception as error:  # as wide as in the SDK's client: one flag fails, and no other
            if not isinstance(error, UnreadableItem):  # which the feature store has logged
                logger.exception("flag %r cannot be evaluated", flag.key)
            failure = failed("EXCEPTION", default)
            if record is not None:
                record(events.new_default_event(flag, context, default, failure.reason))
            return failure, []
        return detail, result.prerequisites


_WITH_REASONS, _WITHOUT_REASONS = EventFactory(with_reasons=True), EventFactory(with_reasons=False)


def failed(error_kind: str, default: Any = None) -> EvaluationDetail:
    """What the SDK says of a flag that cannot be evaluated (Any: JSON)."""
    return EvaluationDetail(default, None, {"kind": "ERROR", "errorKind": error_kind})


def _or_default(detail: EvaluationDetail, default: Any) -> EvaluationDetail:
    return EvaluationDetail(default, None, detail.reason) if detail.is_default_value() else detail


def _state(flag: FeatureFlag, detail: EvaluationDetail, prerequisites: list[str], with_reasons: bool) -> Json:
    """A flag's value and its entry in ``$flagsState``, as ``all_flags_state`` puts it together."""
    reason, variation, debugged = detail.reason, detail.variation_index, flag.debug_events_until_date
    is_experiment = EventFactory.is_experiment(flag, reason)
    state: Json = {"value": detail.value}
    if with_reasons or is_experiment:
        state["reason"] = reason
    state["version"] = flag.version
    if prerequisites:
        state["prerequisites"] = prerequisites
    if variation is not None:
        state["variation"] = variation
    if is_experiment or flag.track_events:
        state["trackEvents"] = True
    if is_experiment:
        state["trackReason"] = True
    if debugged is not None:
        state["debugEventsUntilDate"] = debugged
    return state


def _is_same_for_everybody(flag: FeatureFlag) -> bool:
    """Whether no context can make a difference: the flag is off, or has one variation and no conditions."""
    if not flag.on:
        return True
    has_conditions = flag.rules or flag.targets or flag.context_targets or flag.prerequisites
    return not has_conditions and flag.fallthrough.variation is not None
