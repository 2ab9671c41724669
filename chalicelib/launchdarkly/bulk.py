"""LaunchDarkly's events service: one payload, as the SDK sends it. Neither its address nor the SDK key is logged."""

from __future__ import annotations

import gzip
from enum import Enum
from types import TracebackType
from typing import NamedTuple

import urllib3
from ldclient.version import VERSION

from ..config import Settings
from ..patience import Patience
from ..secrets import read_secret, rotated_secret
from ..timing import Timing
from .events import CURRENT_EVENT_SCHEMA
from .stream import pool_manager, proxy_for

_LAUNCHDARKLY = "https://events.launchdarkly.com"
_WORTH_ANOTHER_TRY = (400, 408, 429)
"""Beside every 5xx, as the SDK has it. A redirect, which it does not follow, is one more that passes."""


class Verdict(Enum):
    """What becomes of a payload that was sent."""

    ACCEPTED = "LaunchDarkly has it"
    LATER = "worth another try"
    TOO_LARGE = "worth another try in parts"
    UNFIT = "the same, because of something in it"
    REFUSED = "a person has to do something"


class Reply(NamedTuple):
    """``words`` say what LaunchDarkly answered, for the log. ``is_key``: the SDK key is what it refuses.

    ``may_be_payload``: the answer does not tell whether it is this payload that LaunchDarkly refuses, or every one.
    """

    verdict: Verdict
    words: str
    is_key: bool = False
    may_be_payload: bool = False


class BulkSender:
    """Sends payloads over one connection; use it in ``with``. Not thread-safe."""

    def __init__(self, settings: Settings, timing: Timing) -> None:
        """Raises ConfigurationError without an SDK key."""
        self._settings = settings
        self._timing = timing
        self._key = read_secret(settings.sdk_key, timing)
        self._url = (settings.events_uri or _LAUNCHDARKLY).rstrip("/") + "/bulk"
        self._patience = Patience(0.0)
        self._pool = pool_manager(proxy_for(self._url, settings.proxies), self._patience)

    def __enter__(self) -> BulkSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.clear()

    def send(self, payload_id: str, body: bytes) -> Reply:
        """What LaunchDarkly says to this payload, a JSON array; with a key that has just been replaced, at once."""
        reply = self._send(payload_id, body)
        if reply.is_key:
            key = rotated_secret(self._settings.sdk_key, self._key, self._timing)
            if key is not None:
                self._key = key
                return self._send(payload_id, body)
        return reply

    def _send(self, payload_id: str, body: bytes) -> Reply:
        self._patience.renew(self._timing.event_send_seconds)
        headers = {
            "Authorization": self._key,
            "User-Agent": f"PythonClient/{VERSION}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "X-LaunchDarkly-Event-Schema": str(CURRENT_EVENT_SCHEMA),
            "X-LaunchDarkly-Payload-ID": payload_id,
        }
        timeout = urllib3.Timeout(connect=self._timing.event_connect_seconds, read=self._timing.event_send_seconds)
        try:
            answer = self._pool.request(
                "POST",
                self._url,
                headers=headers,
                body=gzip.compress(body, mtime=0),
                timeout=timeout,
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._pool.clear()
            return Reply(Verdict.LATER, f"LaunchDarkly cannot be reached ({type(error).__name__}).")
        return _reply(answer.status)


def _reply(status: int) -> Reply:
    words = f"LaunchDarkly answered HTTP {status}."
    if 200 <= status < 300:
        return Reply(Verdict.ACCEPTED, words)
    if status == 413:
        return Reply(Verdict.TOO_LARGE, words)
    if status in _WORTH_ANOTHER_TRY or status >= 500 or status < 400:
        return Reply(Verdict.LATER, words, may_be_payload=status == 400)
    if status in (401, 403):
        return Reply(Verdict.REFUSED, f"LaunchDarkly rejected the SDK key (HTTP {status}).", is_key=True)
    return Reply(Verdict.REFUSED, words, may_be_payload=True)
