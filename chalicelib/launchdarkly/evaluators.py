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
    def same_for_everybody(self) -> MutableMapping[tuple[str, bool], Json]:
        """Answers to every context, by flag and whether they have reasons; kept for the life of the store."""

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        """The item, or None when there is none. Raises UnreadableItem."""

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        """Every readable item by key."""

    def __hash__(self) -> int:
        """By identity."""


class FlagEvaluator(Protocol):
    """Evaluates flags for a context."""

    def evaluate_flag(self, key: str, context: Context) -> EvaluationDetail:
        """One flag, as the SDK's ``variation_detail`` with the default None."""

    def evaluate_flags(self, context: Context, keys: Collection[str] | None, *, with_reasons: bool) -> dict[str, Json]:
        """What the SDK's ``all_flags_state`` says of each flag (``keys`` None: of all), its value among it.

        Unreadable and unknown flags are left out. Raises FetchTimedOut while there is no data set.
        """


def evaluator_over(feature_store: FixedFeatureStore, memberships: Memberships | None = None) -> FlagEvaluator:
    """The cheapest evaluator that there is. ``memberships``: those of the request, if it is for one."""
    if Evaluator is None:
        return ClientEvaluator(_client_over(feature_store), memberships)
    return BareEvaluator(feature_store, memberships)


_memberships_of_request: ContextVar[Memberships | None] = ContextVar("memberships of the request", default=None)
"""One client answers all requests."""


@functools.lru_cache(maxsize=1)
def _client_over(feature_store: FixedFeatureStore) -> LDClient:
    """One for all requests that are answered from this store; the collector frees it after the next one is made."""
    from .clients import daemon_client

    held = proxy(feature_store)  # the client is a cycle, and shall not keep a data set until it is collected

    def membership_of_request(context_key: str) -> KnownMembership:
        memberships = _memberships_of_request.get()
        return membership_of(held, context_key) if memberships is None else memberships.of(context_key)

    return daemon_client(feature_store, membership_of_request)


def membership_of(feature_store: FixedFeatureStore, context_key: str) -> KnownMembership:
    """For an evaluation that is not part of a request."""
    return feature_store.read_memberships([context_key], None)[context_key]


class ClientEvaluator(NamedTuple):
    """By a client, which sends its analytics events if it is made to."""

    client: LDClient
    memberships: Memberships | None = None

    def evaluate_flag(self, key: str, context: Context) -> EvaluationDetail:
        with self._asking():
            return self.client.variation_detail(key, context, None)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        token = _memberships_of_request.set(self.memberships)
        try:
            yield
        finally:
            _memberships_of_request.reset(token)

    def evaluate_flags(self, context: Context, keys: Collection[str] | None, *, with_reasons: bool) -> dict[str, Json]:
        with self._asking():
            state = self.client.all_flags_state(context, with_reasons=with_reasons)
        if not state.valid:
            raise FetchTimedOut("LaunchDarkly has not delivered the data set yet.")
        values = state.to_json_dict()
        states: dict[str, Json] = values["$flagsState"]
        chosen = states if keys is None else [key for key in keys if key in states]
        return {key: {"value": values[key], **states[key]} for key in chosen}


class BareEvaluator:
    """By the SDK's evaluator, over a feature store that is there and does not change."""

    def __init__(self, feature_store: FixedFeatureStore, memberships: Memberships | None = None) -> None:
        self._feature_store = feature_store
        self._evaluator = Evaluator(
            functools.partial(feature_store.get, FEATURES),
            functools.partial(feature_store.get, SEGMENTS),
            functools.partial(membership_of, feature_store) if memberships is None else memberships.of,
            logger,
        )
        # The evaluator makes an event for each prerequisite, which nobody sends.
        self._events = EventFactory(with_reasons=False)

    def evaluate_flag(self, key: str, context: Context) -> EvaluationDetail:
        try:
            flag = self._feature_store.get(FEATURES, key)
        except UnreadableItem:
            return _failed("EXCEPTION")
        if flag is None:
            return _failed("FLAG_NOT_FOUND")
        return self._evaluate(flag, context)[0]

    def evaluate_flags(self, context: Context, keys: Collection[str] | None, *, with_reasons: bool) -> dict[str, Json]:
        kept, answers = self._feature_store.same_for_everybody, {}
        for key, flag in self._flags(keys):
            answer = kept.get((key, with_reasons))
            if answer is None:
                detail, prerequisites = self._evaluate(flag, context)
                answer = _state(flag, detail, prerequisites, with_reasons)
                if _is_same_for_everybody(flag):
                    kept[key, with_reasons] = answer
            answers[key] = answer
        return answers

    def _flags(self, keys: Collection[str] | None) -> Iterable[tuple[str, FeatureFlag]]:
        if keys is None:
            yield from self._feature_store.all(FEATURES).items()
            return
        for key in keys:
            try:
                flag = self._feature_store.get(FEATURES, key)
            except UnreadableItem:
                continue
            if flag is not None:
                yield key, flag

    def _evaluate(self, flag: FeatureFlag, context: Context) -> tuple[EvaluationDetail, list[str]]:
        """The detail, and the keys of the flag's own prerequisites as far as they were evaluated."""
        try:
            result = self._evaluator.evaluate(flag, context, self._events)
        except UnreadableItem:  # the feature store has logged it
            return _failed("EXCEPTION"), []
        except Exception:  # as wide as in the SDK's client: one flag fails, and no other
            logger.exception("flag %r cannot be evaluated", flag.key)
            return _failed("EXCEPTION"), []
        assert result.detail is not None  # it is once the evaluator returns
        return result.detail, result.prerequisites


def _failed(error_kind: str) -> EvaluationDetail:
    return EvaluationDetail(None, None, {"kind": "ERROR", "errorKind": error_kind})


def _state(flag: FeatureFlag, detail: EvaluationDetail, prerequisites: list[str], with_reasons: bool) -> Json:
    """A flag's value and its entry in ``$flagsState``, as ``all_flags_state`` puts it together."""
    is_experiment = EventFactory.is_experiment(flag, detail.reason)
    state: Json = {"value": detail.value}
    if with_reasons or is_experiment:
        state["reason"] = detail.reason
    state["version"] = flag["version"]
    if prerequisites:
        state["prerequisites"] = prerequisites
    if detail.variation_index is not None:
        state["variation"] = detail.variation_index
    if flag.get("trackEvents") or is_experiment:
        state["trackEvents"] = True
    if is_experiment:
        state["trackReason"] = True
    if flag.get("debugEventsUntilDate") is not None:
        state["debugEventsUntilDate"] = flag["debugEventsUntilDate"]
    return state


def _is_same_for_everybody(flag: FeatureFlag) -> bool:
    """Whether no context can make a difference: the flag is off, or has one variation and no conditions."""
    if not flag.on:
        return True
    has_conditions = flag.prerequisites or flag.targets or flag.context_targets or flag.rules
    return flag.fallthrough.variation is not None and not has_conditions
