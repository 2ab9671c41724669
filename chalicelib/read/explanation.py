"""Why a flag has its value for a context: step by step, in words and as data. Imported only when somebody asks.

The SDK says which rule matched, and not why. So it is asked about each part by itself: a flag that has one clause,
or a segment that has one rule, is evaluated by the same evaluator over the same data set. Nothing of what LaunchDarkly
means by an operator is known here, but its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ..errors import UnreadableItem
from ..launchdarkly.evaluators import FlagEvaluator, ReadMemberships, evaluator_over
from ..launchdarkly.sdk import FEATURES, SEGMENTS, Context, VersionedDataKind
from .feature_stores import SnapshotFeatureStore
from .snapshots import Snapshot

if TYPE_CHECKING:
    from ldclient.impl.model import Clause, FeatureFlag, FlagRule, Segment, SegmentRule
    from ldclient.impl.model.variation_or_rollout import VariationOrRollout

    from .evaluation import FlagSource

Json = dict[str, Any]
"""A JSON object (Any: JSON)."""

_VALUES = 100
"""How many values of a clause an explanation holds; ``valueCount`` says how many there are."""
_NAMED_VALUES = 10
"""How many of them its text names."""
_NESTED_SEGMENTS = 3
"""How many segments within each other are explained: each may refer to many."""
_TEXT_CHARACTERS = 80
"""How long a value may be in a text."""

_NO_SUCH_VARIATION = "the flag serves no variation that exists"
_NO_OFF_VARIATION = "the flag has no off variation to serve"

_PROBE = {"key": "", "version": 1, "on": True, "variations": [True, False], "offVariation": 1, "salt": ""}

_OPERATORS: Mapping[str, tuple[str, str]] = {
    "in": ("is", "is not"),
    "endsWith": ("ends with", "does not end with"),
    "startsWith": ("starts with", "does not start with"),
    "matches": ("matches", "does not match"),
    "contains": ("contains", "does not contain"),
    "lessThan": ("is less than", "is not less than"),
    "lessThanOrEqual": ("is at most", "is not at most"),
    "greaterThan": ("is greater than", "is not greater than"),
    "greaterThanOrEqual": ("is at least", "is not at least"),
    "before": ("is before", "is not before"),
    "after": ("is after", "is not after"),
    "semVerEqual": ("is version", "is not version"),
    "semVerLessThan": ("is a version before", "is not a version before"),
    "semVerGreaterThan": ("is a version after", "is not a version after"),
}
"""In words: the operator, and the operator negated."""


def explain(source: FlagSource, context: Context, evaluated: Mapping[str, Any]) -> Json:
    """``{"summary": text, "steps": [...]}`` for an evaluation of this context, as ``evaluate_flag`` gave it.

    The steps are in the order in which the SDK takes them. Each has a ``kind`` (targeting, prerequisite, target, rule,
    default), a ``text``, and ``outcome``: what it came to (passed, failed, matched, not matched, not reached). Whatever
    a rule looks at is in its ``clauses``.
    """
    key, reason = evaluated["key"], evaluated["reason"]
    try:
        flag = source.feature_store.get(FEATURES, key)
    except UnreadableItem:
        return {"summary": "The flag is stored in a form that no SDK can read.", "steps": []}
    if flag is None:  # deleted since it was evaluated, in direct mode
        return {"summary": "The flag is gone.", "steps": []}
    explanation = _Explanation(source, context, flag, reason, evaluated["variation"])
    steps = list(explanation.steps())
    return {"summary": explanation.summary(steps), "steps": steps}


class _Explanation:
    """Of one flag for one context; ``reason`` and ``variation`` are what the SDK came to."""

    def __init__(
        self, source: FlagSource, context: Context, flag: FeatureFlag, reason: Mapping[str, Any], variation: int | None
    ) -> None:
        self._source = source
        self._context = context
        self._flag = flag
        self._reason = reason
        self._variation = variation
        self._probes = _Probes(source, context)

    def steps(self) -> Iterator[Json]:
        flag, kind = self._flag, self._reason["kind"]
        if not flag.on:
            served = self._served_by(flag.off_variation, _NO_OFF_VARIATION)
            yield _step("targeting", "failed", f"Targeting is off: {served}.", on=False)
            return
        yield _step("targeting", "passed", "Targeting is on.", on=True)
        for step in self._prerequisites():
            yield step
            if step["outcome"] == "failed":
                return
        yield from self._targets(kind)
        is_decided = kind == "TARGET_MATCH"
        for index, rule in enumerate(flag.rules):
            step = self._rule(index, rule, is_reached=not is_decided)
            is_decided = is_decided or step["outcome"] in ("matched", "failed")
            yield step
        yield self._default(is_reached=not is_decided)

    def summary(self, steps: Sequence[Json]) -> str:
        """One sentence or two."""
        if self._reason["kind"] == "ERROR":
            return f"The flag cannot be evaluated: {self._reason.get('errorKind', 'unknown error')}."
        deciding = next((each for each in steps if each["outcome"] in ("failed", "matched")), steps[-1])
        return str(deciding["text"]) + self._big_segments()

    def _big_segments(self) -> str:
        status = self._reason.get("bigSegmentsStatus")
        if status is None or status == "HEALTHY":
            return ""
        return f" It depends on a big segment, whose members are not known for certain: {status}."

    def _prerequisites(self) -> Iterator[Json]:
        for prerequisite in self._flag.prerequisites:
            key, required = prerequisite.key, prerequisite.variation
            detail = self._source.evaluator.evaluate_flag(key, self._context)
            is_on = self._is_on(key)
            is_met = is_on is True and detail.variation_index == required
            if is_on is None:
                found = "there is no such flag that can be read"
            else:
                found = "it is off" if not is_on else f"it has {_variation(detail.variation_index)}"
            text = f"Prerequisite {key} must have {_variation(required)}: {found}."
            if not is_met and self._reason["kind"] != "ERROR":
                text += f" So {self._served_by(self._flag.off_variation, _NO_OFF_VARIATION)}."
            outcome = "passed" if is_met else "failed"
            yield _step(
                "prerequisite", outcome, text, key=key, requiredVariation=required, variation=detail.variation_index
            )

    def _is_on(self, key: str) -> bool | None:
        try:
            flag = self._source.feature_store.get(FEATURES, key)
        except UnreadableItem:
            return None
        return None if flag is None else bool(flag.on)

    def _targets(self, kind: str) -> Iterator[Json]:
        """One step for all of them."""
        flag = self._flag
        if not flag.targets and not flag.context_targets:
            return
        if kind != "TARGET_MATCH":
            yield _step("target", "not matched", "The context is not targeted individually.")
            return
        matched = next((each for each in [*flag.targets, *flag.context_targets] if self._is_target(each)), None)
        who = "context" if matched is None else self._described(matched.context_kind or Context.DEFAULT_KIND)
        text = f"The {who} is targeted individually: {self._served_by(self._variation)}."
        yield _step("target", "matched", text, variation=self._variation)

    def _is_target(self, target: Any) -> bool:
        individual = self._context.get_individual_context(target.context_kind or Context.DEFAULT_KIND)
        return individual is not None and individual.key in target.values and target.variation == self._variation

    def _described(self, kind: str) -> str:
        individual = self._context.get_individual_context(kind)
        return kind if individual is None else f"{kind} {_text_of(individual.key)}"

    def _rule(self, index: int, rule: FlagRule, *, is_reached: bool) -> Json:
        name = f"Rule {index + 1}" + (f" ({rule.id})" if rule.id else "")
        clauses = [self._probes.clause(clause) for clause in rule.clauses] if is_reached else []
        outcome, what = self._outcome(index, rule, clauses) if is_reached else ("not reached", "was not reached")
        return _step("rule", outcome, f"{name} {what}.", index=index, id=rule.id, clauses=clauses)

    def _outcome(self, index: int, rule: FlagRule, clauses: Sequence[Json]) -> tuple[str, str]:
        """Of a rule that was reached: what it came to, and how a sentence about it goes on."""
        # The SDK looks at no clause after the first that does not match.
        stops = next((each for each in clauses if each["matched"] is not True), None)
        if self._reason["kind"] == "ERROR" and stops is not None and stops["matched"] is None:
            return "failed", f"cannot be evaluated: {stops['text']}"
        if self._has_matched(index, clauses):
            because = " and ".join(each["text"] for each in clauses) or "it has no conditions"
            return "matched", f"matched: {because}. So {self._served(rule.variation_or_rollout)}"
        because = "; ".join(each["text"] for each in clauses if each["matched"] is False)
        return "not matched", f"did not match: {because}" if because else "did not match"

    def _has_matched(self, index: int, clauses: Sequence[Json]) -> bool:
        """As the SDK says, which does not say it of a flag that has then failed."""
        if self._reason["kind"] == "ERROR":
            return all(each["matched"] for each in clauses)
        return bool(self._reason["kind"] == "RULE_MATCH" and self._reason.get("ruleIndex") == index)

    def _default(self, *, is_reached: bool) -> Json:
        if not is_reached:
            return _step("default", "not reached", "The default rule was not reached.")
        first = "No rule matched, so the default rule applies" if self._flag.rules else "The default rule applies"
        return _step("default", "matched", f"{first}: {self._served(self._flag.fallthrough)}.")

    def _served(self, served: VariationOrRollout) -> str:
        """What a rule or the default rule serves."""
        rollout = served.rollout
        if served.variation is not None or rollout is None:
            return self._served_by(self._variation)
        by = "key" if rollout.bucket_by is None else rollout.bucket_by.path
        shares = ", ".join(f"{each.weight / 1000:g} % {_variation(each.variation)}" for each in rollout.variations)
        what = "an experiment" if rollout.is_experiment else "a rollout"
        kind = rollout.context_kind or Context.DEFAULT_KIND
        return f"{what} by {kind} {by} ({shares}) decides: {self._served_by(self._variation)}"

    def _served_by(self, variation: int | None, otherwise: str = _NO_SUCH_VARIATION) -> str:
        if variation is None:
            return otherwise
        if not 0 <= variation < len(self._flag.variations):
            return _NO_SUCH_VARIATION
        return f"the flag serves {_variation(variation)}, {_text_of(self._flag.variations[variation])}"


class _Probes:
    """Parts of flags and segments, each evaluated alone."""

    def __init__(self, source: FlagSource, context: Context) -> None:
        self._source = source
        self._context = context

    def clause(self, clause: Clause, within: Collection[str] = ()) -> Json:
        """``{"text", "matched", "contextKind", "attribute", "operator", "values", "valueCount", "negate", "actual"}``.

        ``text`` states what is the case, be it what the clause asks for or not. For segments, ``segments`` instead of
        an attribute. ``within`` names the segments that are being explained.
        """
        matched = self._matches(lambda rule: rule.clauses.append(clause))
        shared = {
            "matched": matched,
            "operator": clause.op,
            "values": clause.values[:_VALUES],
            "valueCount": len(clause.values),
            "negate": bool(clause.negate),
        }
        if clause.op == "segmentMatch":
            segments = [self._segment(str(key), within) for key in clause.values[:_VALUES]]
            return {"text": _segments_text(clause, segments), **shared, "segments": segments}
        kind, attribute = clause.context_kind or Context.DEFAULT_KIND, _name_of(clause)
        actual = self._actual(clause)
        text = self._fact(clause, kind, attribute, actual, clause.negate == (matched is not False))
        return {"text": text, **shared, "contextKind": kind, "attribute": attribute, "actual": actual}

    def _fact(self, clause: Clause, kind: str, attribute: str, actual: Any, is_not: bool) -> str:
        if not attribute:
            return "the clause names no valid attribute"
        if not clause.values:
            return "the clause has no values"
        subject = attribute if kind == Context.DEFAULT_KIND or attribute == "kind" else f"{kind} {attribute}"
        if actual is None:
            has_kind = self._context.get_individual_context(kind) is not None
            return f"the context has no {subject if has_kind else kind}"
        words = _OPERATORS.get(clause.op, (f"satisfies {clause.op}", f"does not satisfy {clause.op}"))[is_not]
        found = "" if clause.op == "in" and not is_not and len(clause.values) == 1 else f" (it is {_text_of(actual)})"
        return f"{subject} {words} {_listed(clause)}{found}"

    def _matches(self, add: Callable[[FlagRule], None], segment: Segment | None = None) -> bool | None:
        """Whether a flag matches whose one rule ``add`` completes; None where that cannot be evaluated."""
        flag = FEATURES.decode({**_PROBE, "fallthrough": {"variation": 1}, "rules": [{"variation": 0, "clauses": []}]})
        add(flag.rules[0])
        detail = _evaluator(self._source, _Overlay(self._source.feature_store, flag, segment)).evaluate_flag(
            flag.key, self._context
        )
        return None if detail.reason["kind"] == "ERROR" else bool(detail.value)

    def _segment(self, key: str, within: Collection[str]) -> Json:
        """``{"key", "matched", "text"}``, and ``clauses`` of the rule that matched."""
        try:
            segment = self._source.feature_store.get(SEGMENTS, key)
        except UnreadableItem:
            segment = None
        if segment is None:
            return {"key": key, "matched": False, "text": f"there is no segment {key} that can be read"}
        matched = self._is_in_segment(key)
        if matched is None:
            members = "only the SDK knows its members" if segment.unbounded else "it cannot be evaluated by itself"
            return {"key": key, "matched": None, "text": f"not known to be in segment {key}: {members}"}
        return {"key": key, "matched": matched, **self._why_in_segment(segment, matched, within)}

    def _is_in_segment(self, key: str, instead: Segment | None = None) -> bool | None:
        clause = {"contextKind": "", "attribute": "", "op": "segmentMatch", "values": [key], "negate": False}
        flag = FEATURES.decode({**_PROBE, "rules": [{"variation": 0, "clauses": [clause]}]})
        return self._matches(lambda rule: rule.clauses.extend(flag.rules[0].clauses), instead)

    def _why_in_segment(self, segment: Segment, matched: bool, within: Collection[str]) -> Json:
        key = segment.key
        if segment.unbounded:
            return {"text": f"{'in' if matched else 'not in'} the big segment {key}"}
        if matched and self._is_listed(segment.included, segment.included_contexts):
            return {"text": f"included in segment {key}"}
        if not matched and self._is_listed(segment.excluded, segment.excluded_contexts):
            return {"text": f"excluded from segment {key}"}
        is_near = key not in within and len(within) < _NESTED_SEGMENTS  # a segment may refer to itself
        rule, number = self._matching_rule(segment) if matched and is_near else (None, 0)
        if rule is None:
            return {"text": f"{'in' if matched else 'not in'} segment {key}"}
        clauses = [self.clause(each, {*within, key}) for each in rule.clauses]
        because = " and ".join(each["text"] for each in clauses) or "it has no conditions"
        share = "" if rule.weight is None else f", for {rule.weight / 1000:g} %"
        return {"text": f"in segment {key} by its rule {number}: {because}{share}", "clauses": clauses}

    def _is_listed(self, keys: Collection[str], by_kind: Sequence[Any]) -> bool:
        """Whether a context is among the keys of users or those of its kind (Any: the SDK exports no type)."""
        lists = [(Context.DEFAULT_KIND, keys), *((each.context_kind, each.values) for each in by_kind)]
        individuals = ((self._context.get_individual_context(kind or Context.DEFAULT_KIND), of) for kind, of in lists)
        return any(individual is not None and individual.key in of for individual, of in individuals)

    def _matching_rule(self, segment: Segment) -> tuple[SegmentRule | None, int]:
        """The first that matches, and its number."""
        for number, rule in enumerate(segment.rules, start=1):
            alone = SEGMENTS.decode({"key": segment.key, "version": 1, "salt": segment.salt, "rules": []})
            alone.rules.append(rule)
            if self._is_in_segment(segment.key, alone):
                return rule, number
        return None, 0

    def _actual(self, clause: Clause) -> Any:
        """What the context has there; None where it has nothing (Any: JSON)."""
        if _name_of(clause) == "kind":
            return [each.kind for each in _individuals(self._context)]
        individual = self._context.get_individual_context(clause.context_kind or Context.DEFAULT_KIND)
        if individual is None or clause.attribute is None or not clause.attribute.valid:
            return None
        value = individual.get(clause.attribute[0] or "")
        for depth in range(1, clause.attribute.depth):
            value = value.get(clause.attribute[depth]) if isinstance(value, dict) else None
        return value


class _Overlay:
    """A data set in which one flag, and perhaps one segment, is another; all else is asked of the data set itself."""

    def __init__(self, feature_store: Any, flag: FeatureFlag, segment: Segment | None) -> None:
        self._feature_store = feature_store
        self._flag = flag
        self._segment = segment
        self.same_for_everybody: dict[bool, dict[str, Json]] = {False: {}, True: {}}

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        if kind is FEATURES and key == self._flag.key:
            return self._flag
        if kind is SEGMENTS and self._segment is not None and key == self._segment.key:
            return self._segment
        return self._feature_store.get(kind, key)

    def all(self, kind: VersionedDataKind) -> dict[str, Any]:
        return {}

    @property
    def read_memberships(self) -> ReadMemberships:
        """Those of the data set; in direct mode the SDK keeps them to itself."""
        known: ReadMemberships = getattr(self._feature_store, "read_memberships", _unknown_memberships)
        return known


def _unknown_memberships(_keys: Collection[str], _patience: object = None) -> NoReturn:
    raise UnreadableItem("The members of big segments are not known here.")


def _evaluator(source: FlagSource, overlay: _Overlay) -> FlagEvaluator:
    """As the source's own, but over the overlay."""
    if isinstance(source, Snapshot):
        return source._replace(feature_store=cast(SnapshotFeatureStore, overlay)).evaluator
    return evaluator_over(overlay)


def _individuals(context: Context) -> Iterator[Context]:
    for index in range(context.individual_context_count):
        individual = context.get_individual_context(index)
        if individual is not None:
            yield individual


def _step(kind: str, outcome: str, text: str, **fields: Any) -> Json:
    return {"kind": kind, "outcome": outcome, "text": text, **fields}


def _segments_text(clause: Clause, segments: Sequence[Json]) -> str:
    """Why the context is in the first segment that it is in; else which is not known, or of which it is in none."""
    matched = next((each for each in segments if each["matched"]), None)
    if matched is not None:
        return f"the context is {matched['text']}"
    unknown = next((each for each in segments if each["matched"] is None), None)
    if unknown is not None:
        return f"the context is {unknown['text']}"
    why = "; ".join(each["text"] for each in segments if each["text"].startswith("excluded"))
    return f"the context is not in segment {_listed(clause)}" + (f": it is {why}" if why else "")


def _name_of(clause: Clause) -> str:
    return "" if clause.attribute is None else clause.attribute.path


def _listed(clause: Clause) -> str:
    values = [_text_of(value) for value in clause.values[:_NAMED_VALUES]]
    more = len(clause.values) - len(values)
    if more:
        values.append(f"{more} more")
    return f"one of {', '.join(values)}" if len(values) > 1 else "".join(values)


def _variation(index: int | None) -> str:
    return "no variation" if index is None else f"variation {index}"


def _text_of(value: Any) -> str:
    """A JSON value in a sentence, cut off where it is long."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"
