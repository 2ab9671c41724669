"""What the delivery keeps in the store between its runs, and what ``/status`` says of it. Pure."""

from __future__ import annotations

import json
from typing import NamedTuple

from .batches import DeliveryReport, Json, packed_at_ms


class Part(NamedTuple):
    """Events from ``start`` to ``end`` of those of a plan, which are sent under this payload id whenever they are."""

    payload_id: str
    start: int
    end: int


class Plan(NamedTuple):
    """Which batches are being sent, and what of them LaunchDarkly has not accepted yet.

    It is in the store before anything is sent. Batches are deleted only after the last part was accepted: where one of
    them is missing, all were.
    """

    names: tuple[str, ...]
    parts: tuple[Part, ...]


class State(NamedTuple):
    """``delivered`` and ``dropped``: evaluations that are counted, and full events, ever. Times are Unix ms.

    ``failures``: how often in a row LaunchDarkly has not taken a payload. ``refusals``: how often it took another one
    right then; each plan that is finished takes one off. ``refused``: why a person has to act. ``recent``: the last
    names that were delivered, because a batch may come twice.
    """

    delivered: int = 0
    dropped: int = 0
    delivered_at_ms: int = 0
    failures: int = 0
    refusals: int = 0
    retry_at_ms: int = 0
    refused: str | None = None
    plan: Plan | None = None
    recent: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(self._asdict(), separators=(",", ":"))

    @staticmethod
    def from_json(text: str | None) -> State:
        """A state that cannot be read, whoever has left it, is a new one: what was sent may be sent again."""
        try:
            fields = json.loads(text or "{}")
            plan = fields.get("plan")
            parts = [] if plan is None else [Part(str(name), int(start), int(end)) for name, start, end in plan[1]]
            return State(
                **{name: int(fields.get(name, 0)) for name in _NUMBERS},
                refused=None if fields.get("refused") is None else str(fields["refused"]),
                plan=None if plan is None else Plan(tuple(map(str, plan[0])), tuple(parts)),
                recent=tuple(map(str, fields.get("recent", ()))),
            )
        except (ValueError, TypeError, AttributeError, IndexError, KeyError, ArithmeticError, RecursionError):
            return State()


_NUMBERS = ("delivered", "dropped", "delivered_at_ms", "failures", "refusals", "retry_at_ms")


def events_status(report: DeliveryReport, now_seconds: float) -> Json:
    """The part of ``/status`` about events."""
    state = State.from_json(report.state)
    return {
        "delivered": state.delivered,
        "dropped": state.dropped,
        "oldestUndeliveredSeconds": oldest_seconds(report.oldest, now_seconds),
        "refused": state.refused,
    }


def oldest_seconds(name: str | None, now_seconds: float) -> int:
    """How old the batch of this name is; 0 for none."""
    return 0 if name is None else max(0, round(now_seconds - packed_at_ms(name) / 1000))
