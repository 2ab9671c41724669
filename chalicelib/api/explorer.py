"""The explorer page: the page itself, what it asks for beside evaluations, and in the local stage what it changes."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..errors import InvalidRequest, InvalidToken, NotServed
from ..flag_file.editing import FlagChange
from ..launchdarkly.sdk import FEATURES
from .access import Access, check_access
from .answers import Answer, Json, provenance_headers
from .request import Incoming, parse_json

if TYPE_CHECKING:
    from ..read.direct import DirectFlags
    from ..read.snapshots import Snapshot

PAGE = Path(__file__).parent.parent / "explorer" / "page.html"

_FIELDS = {"on": bool, "fallthrough": int, "offVariation": int}


def page() -> Answer:
    """The page. It holds nothing that anybody may not see: its requests present the token."""
    html = PAGE.read_text(encoding="utf-8")
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": content_security_policy(html),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(html, headers)


def content_security_policy(html: str) -> str:
    """Runs and styles by what is in the page, known by its hash, and asks nobody but the app."""
    (script,), (style,) = (re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def check_explorer(settings: Settings, incoming: Incoming) -> None:
    """Raises NotServed where there is no explorer, and InvalidToken for whoever may not see every flag."""
    if not settings.has_explorer:
        raise NotServed("There is no explorer here; it is served where EXPLORER is 'on'.")
    if check_access(settings, incoming.headers, incoming.gateway) is not Access.ALL_FLAGS:
        raise InvalidToken("The token does not see every flag: the explorer needs one of EVALUATE_TOKEN_SHA256.")


def listing(flags: Snapshot | DirectFlags, settings: Settings) -> Answer:
    """``{"flags": [...], "editing": bool}``: what each flag is, whatever the context."""
    items = flags.feature_store.all(FEATURES)
    readable = [_described(key, flag, settings) for key, flag in items.items()]
    unreadable: list[Json] = [
        {"key": key, "kind": "unreadable", "on": False, "version": None, "variations": [], "editable": False}
        for key in flags.feature_store.unreadable_flags()
    ]
    listed = sorted(readable + unreadable, key=lambda each: str(each["key"]))
    headers = {"Cache-Control": "no-store", **provenance_headers(flags.provenance)}
    return Answer({"flags": listed, "editing": is_editing(settings)}, headers)


def is_editing(settings: Settings) -> bool:
    """Only on a developer's machine, and never what LaunchDarkly has sent."""
    return settings.is_local and settings.flag_file is not None and not settings.direct_mode


def _described(key: str, flag: Any, settings: Settings) -> Json:
    """``flag`` is the SDK's model, which exports no type."""
    return {
        "key": key,
        "kind": kind_of(flag.variations),
        "on": bool(flag.on),
        "version": flag.version,
        "variations": flag.variations,
        "fallthrough": flag.fallthrough.variation,
        "offVariation": flag.off_variation,
        "editable": is_editing(settings) and len(flag.variations) > 1,
    }


def kind_of(variations: list[Any]) -> str:
    """LaunchDarkly's word for what a flag's variations are (Any: JSON)."""
    kinds = {_KINDS.get(type(value), "json") for value in variations}
    return kinds.pop() if len(kinds) == 1 else "json"


_KINDS = {bool: "boolean", str: "string", int: "number", float: "number"}


def change_from(settings: Settings, incoming: Incoming) -> FlagChange:
    """What the page asks to change. Raises NotServed where nothing can be, and InvalidRequest."""
    if not is_editing(settings):
        raise NotServed("Flags can be changed only in the local stage, with a flag file and in daemon mode.")
    body = parse_json(incoming.read_body())
    fields = body.items() if isinstance(body, dict) else ()
    if not fields or not all(type(value) is _FIELDS.get(name) for name, value in fields):
        expected = 'an object with "on" (true or false), "fallthrough" or "offVariation" (the index of a variation)'
        raise InvalidRequest(f"The change is not one; expected {expected}.")
    return FlagChange(body.get("on"), body.get("fallthrough"), body.get("offVariation"))
