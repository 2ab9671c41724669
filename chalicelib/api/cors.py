"""CORS: what a browser lets the pages of one origin do with the evaluation routes. Pure.

The app answers preflights itself, with routes of its own, instead of leaving them to Chalice's
``CORSConfig``: that one is fixed when the API is deployed, the setting is read at run time like all
others; it has nothing on a 405; and ``chalice.test.Client`` cannot ask for it. A preflight that
reaches the function has warmed it up when the request follows, and browsers keep the answer.

What API Gateway answers by itself (403, 413, 429, 504) has these headers from ``tools/gateway_responses.py``.
"""

from __future__ import annotations

import re

_EXPOSED = "ETag, Retry-After, X-Flags-Revision, X-Flags-Stale, X-Flags-Synced-At"
_ACCEPTED = (
    "Authorization, Content-Type, If-None-Match, X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token, X-API-Key"
)

_OF_CLIENT_SDKS = "X-LaunchDarkly-Tags, X-LaunchDarkly-User-Agent, X-LaunchDarkly-Wrapper"
"""What LaunchDarkly's client SDKs add to their requests."""

_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
_MOST_ASKED_HEADERS = 50

_MAX_AGE_SECONDS = 7200
"""As long as Chromium keeps a preflight at most."""


def cors_headers(origin: str | None) -> dict[str, str]:
    """Headers of every answer of a route that pages of ``origin`` may call; None for no page."""
    if origin is None:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}


def preflight_headers(origin: str | None, asked_headers: str = "", method: str = "POST") -> dict[str, str]:
    """What the answer to OPTIONS adds to :func:`cors_headers`; ``asked_headers`` are Access-Control-Request-Headers.

    ``method`` is the one that the route has: GET for LaunchDarkly's client SDKs.

    A page may send whatever it asks for. Tracers add headers of their own (``traceparent``, ``sentry-trace``,
    ``x-datadog-origin`` and many more), the app looks at none of them, and no cookie lets anybody in.
    """
    if origin is None:
        return {}
    accepted = f"{_ACCEPTED}, {_OF_CLIENT_SDKS}" if method == "GET" else _ACCEPTED
    return {
        "Access-Control-Allow-Methods": method,
        "Access-Control-Allow-Headers": ", ".join([accepted, *_others(asked_headers, accepted)]),
        "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
        "Vary": "Access-Control-Request-Headers",
    }


def _others(asked_headers: str, accepted: str) -> list[str]:
    """The names of headers among those that are asked for which are not accepted in any case."""
    names_accepted = accepted.lower().split(", ")
    names = dict.fromkeys(name.strip().lower() for name in asked_headers.split(",")[:_MOST_ASKED_HEADERS])
    return [name for name in names if re.fullmatch(_HEADER_NAME, name) and name not in names_accepted]
