"""What an audit-log entry says has changed, and whether its sender may say so."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.config import EnvironmentResource, Settings, load_settings
from chalicelib.data_set import FEATURES, SEGMENTS, Announcement
from chalicelib.errors import InvalidRequest, InvalidSignature
from chalicelib.refresh.webhook import Change, change_in, verify_signature, verify_webhook
from tests.support.webhooks import WEBHOOK_SECRET, signature_of

Json = dict[str, Any]

PRODUCTION = EnvironmentResource("shop", "production")
BODY = '{"kind": "flag",  "name":"Größe"}\n'.encode()


# The signature.


def test_the_signature_is_the_hmac_sha256_of_the_raw_body() -> None:
    # A test vector of RFC 4231, section 4.3.
    verify_signature(
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "Jefe",
    )


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (None, "The webhook is not signed: the X-LD-Signature header is missing."),
        ("", "The webhook is not signed: the X-LD-Signature header is missing."),
        (signature_of(BODY, "another secret"), "The X-LD-Signature header does not match the body."),
        (signature_of(BODY.strip()), "The X-LD-Signature header does not match the body."),
        (signature_of(BODY).upper(), "The X-LD-Signature header does not match the body."),
        (signature_of(BODY)[:-1], "The X-LD-Signature header does not match the body."),
        ("größe\ud800", "The X-LD-Signature header does not match the body."),
    ],
)
def test_any_other_signature_is_refused(signature: str | None, message: str) -> None:
    with pytest.raises(InvalidSignature) as raised:
        verify_signature(BODY, signature, WEBHOOK_SECRET)
    assert str(raised.value) == message


def settings(secret: str | None = None, *, allow_unsigned: bool = False) -> Settings:
    return load_settings(
        {
            "REDIS_URL": "embedded",
            "LAUNCHDARKLY_WEBHOOK_SECRET": secret or "",
            "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow" if allow_unsigned else "refuse",
        }
    )


@pytest.mark.parametrize(
    ("accepting", "signature"),
    [
        (settings(WEBHOOK_SECRET), signature_of(BODY)),
        (settings(WEBHOOK_SECRET, allow_unsigned=True), signature_of(BODY)),
        (settings(WEBHOOK_SECRET, allow_unsigned=True), None),
        (settings(allow_unsigned=True), None),
    ],
)
def test_the_settings_accept_a_webhook(accepting: Settings, signature: str | None) -> None:
    verify_webhook(accepting, BODY, signature)


@pytest.mark.parametrize(
    ("refusing", "signature"),
    [
        (settings(), None),
        (settings(), signature_of(BODY)),
        (settings(), signature_of(BODY, "")),
        (settings(WEBHOOK_SECRET), None),
        (settings(WEBHOOK_SECRET), signature_of(BODY, "wrong")),
        (settings(WEBHOOK_SECRET, allow_unsigned=True), signature_of(BODY, "wrong")),
    ],
)
def test_the_settings_refuse_a_webhook(refusing: Settings, signature: str | None) -> None:
    with pytest.raises(InvalidSignature) as raised:
        verify_webhook(refusing, BODY, signature)
    assert WEBHOOK_SECRET not in str(raised.value)
    assert signature_of(BODY) not in str(raised.value)


def test_without_a_secret_the_refusal_says_what_to_set() -> None:
    with pytest.raises(InvalidSignature) as raised:
        verify_webhook(settings(), BODY, signature_of(BODY))
    assert str(raised.value) == "Every webhook is refused, because LAUNCHDARKLY_WEBHOOK_SECRET is not set."


# The entry.


def entry(kind: str, *resources: object, action: str = "updateOn", **fields: object) -> Json:
    """As LaunchDarkly sends it: the same resources in ``accesses`` and in ``target``."""
    return {
        "_id": "650a1",
        "kind": kind,
        "name": "A display name",
        "member": {"email": "anna@example.com"},
        "accesses": [{"action": action, "resource": resource} for resource in resources],
        "target": {"name": "A display name", "resources": list(resources)},
        **fields,
    }


FLAG = "proj/shop:env/production:flag/new-checkout"
SEGMENT = "proj/shop:env/production:segment/beta"

CONCERNING: list[tuple[str, Json]] = [
    ("a flag of this environment", entry("flag", FLAG)),
    ("a segment of this environment", entry("segment", SEGMENT)),
    ("tags in every part", entry("flag", "proj/shop;a,b:env/production;c:flag/new-checkout;d,e.f_g-h")),
    ("tags on a segment", entry("segment", "proj/shop:env/production;c:segment/beta;d")),
    ("every environment", entry("flag", "proj/shop:env/*:flag/new-checkout")),
    ("every project", entry("flag", "proj/*:env/*:flag/*")),
    ("the resource itself", entry("flag", "proj/shop:env/~:flag/new-checkout")),
    ("another environment first", entry("flag", "proj/shop:env/test:flag/new-checkout", FLAG)),
    ("only accesses", entry("flag", FLAG, target=None)),
    ("only a target", entry("flag", FLAG, accesses=None)),
    ("neither accesses nor a target", {"kind": "flag"}),
    ("accesses and target of the wrong type", entry("flag", accesses="all", target=["all"])),
    ("resources of the wrong type", entry("flag", accesses=[None, {"resource": 7}], target={"resources": [8]})),
    ("target resources of the wrong type", entry("flag", target={"resources": "all"})),
    ("a resource that cannot be read", entry("flag", "proj/shop:something/else")),
]


@pytest.mark.parametrize("webhook", [row[1] for row in CONCERNING], ids=[row[0] for row in CONCERNING])
def test_a_change_that_may_concern_this_environment_is_a_change(webhook: Json) -> None:
    assert change_in(webhook, PRODUCTION) == Change(None)


OTHER_ENVIRONMENT = "This webhook is not about shop/production."
OTHER_KIND = "This webhook is not about a flag or a segment."
IGNORED: list[tuple[str, Json, str]] = [
    ("another environment", entry("flag", "proj/shop:env/test:flag/new-checkout"), OTHER_ENVIRONMENT),
    ("another project", entry("flag", "proj/blog:env/production:flag/new-checkout"), OTHER_ENVIRONMENT),
    ("an environment whose key only begins like it", entry("flag", "proj/shop:env/prod:flag/a"), OTHER_ENVIRONMENT),
    ("a tag that looks like it", entry("flag", "proj/shop:env/test;production:flag/a"), OTHER_ENVIRONMENT),
    ("several others", entry("segment", "proj/shop:env/a:segment/s", "proj/b:env/*:segment/s"), OTHER_ENVIRONMENT),
    *((kind, entry(kind, f"{kind}/x"), OTHER_KIND) for kind in ("environment", "project", "member", "webhook")),
    ("a kind that does not exist yet", entry("hologram", FLAG), OTHER_KIND),
    ("no kind", {"accesses": [{"resource": FLAG}]}, OTHER_KIND),
    ("a kind of the wrong type", {"kind": ["flag"]}, OTHER_KIND),
    ("an empty object", {}, OTHER_KIND),
]


@pytest.mark.parametrize(("webhook", "reason"), [row[1:] for row in IGNORED], ids=[row[0] for row in IGNORED])
def test_a_webhook_about_anything_else_is_ignored_and_says_why(webhook: Json, reason: str) -> None:
    assert change_in(webhook, PRODUCTION) == Change(ignored_because=reason)


def test_without_an_environment_no_resource_is_ignored() -> None:
    assert change_in(entry("flag", "proj/any:env/any:flag/a"), None) == Change(None)


@pytest.mark.parametrize("body", [None, [], "flag", 7, True])
def test_what_is_no_entry_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        change_in(body, PRODUCTION)
    assert str(raised.value) == "A webhook must be a JSON object: an audit-log entry."


def current(version: object = 8, environment: str = "production", **fields: object) -> Json:
    return {"environments": {environment: {"on": True, "version": version}, "test": {"version": 99}}, **fields}


EVERY_ENVIRONMENT = ("proj/shop:env/production:flag/a", "proj/shop:env/test:flag/a")
ANNOUNCED: list[tuple[str, Json, Announcement | None]] = [
    ("a flag's version", entry("flag", FLAG, currentVersion=current()), Announcement(FEATURES, "new-checkout", 8)),
    ("no currentVersion", entry("flag", FLAG), None),
    ("a null currentVersion", entry("flag", FLAG, currentVersion=None), None),
    ("no environments", entry("flag", FLAG, currentVersion={"version": 3}), None),
    ("a currentVersion without our environment", entry("flag", FLAG, currentVersion=current(8, "staging")), None),
    ("an environment that is no object", entry("flag", FLAG, currentVersion={"environments": {"production": 8}}), None),
    ("a version that is no number", entry("flag", FLAG, currentVersion=current("8")), None),
    ("a version that is a boolean", entry("flag", FLAG, currentVersion=current(True)), None),
    (
        "a flag in tagged resources",
        entry("flag", "proj/shop;t:env/production;u:flag/new-checkout;v", currentVersion=current()),
        Announcement(FEATURES, "new-checkout", 8),
    ),
    (
        "a flag in every environment by wildcard",
        entry("flag", "proj/shop:env/*:flag/new-checkout", currentVersion=current()),
        Announcement(FEATURES, "new-checkout", 8),
    ),
    (
        "a creation, which names every environment",
        entry("flag", *EVERY_ENVIRONMENT, action="createFlag", currentVersion=current(1)),
        Announcement(FEATURES, "a", 1),
    ),
    (
        "a flag, with a segment beside it",
        entry("flag", FLAG, SEGMENT, currentVersion=current()),
        Announcement(FEATURES, "new-checkout", 8),
    ),
    (
        "something else than a truth about the archive",
        entry("flag", FLAG, currentVersion=current(archived="no")),
        Announcement(FEATURES, "new-checkout", 8),
    ),
    ("several flags", entry("flag", FLAG, EVERY_ENVIRONMENT[0], currentVersion=current()), None),
    ("every flag", entry("flag", "proj/shop:env/production:flag/*", currentVersion=current()), None),
    ("a segment, whose entry has no such version", entry("segment", SEGMENT, currentVersion=current()), None),
    (
        "a deleted flag",
        entry("flag", *EVERY_ENVIRONMENT, action="deleteFlag", currentVersion=None),
        Announcement(FEATURES, "a", None),
    ),
    ("a deleted segment", entry("segment", SEGMENT, action="deleteSegment"), Announcement(SEGMENTS, "beta", None)),
    (
        "an archived flag",
        entry("flag", FLAG, action="updateGlobalArchived", currentVersion=current(archived=True)),
        Announcement(FEATURES, "new-checkout", None),
    ),
    (
        "a flag that was brought back from the archive",
        entry("flag", FLAG, action="updateGlobalArchived", currentVersion=current(archived=False)),
        Announcement(FEATURES, "new-checkout", 8),
    ),
    ("a deletion of nobody knows what", entry("flag", action="deleteFlag"), None),
]


@pytest.mark.parametrize(("webhook", "announcement"), [row[1:] for row in ANNOUNCED], ids=[row[0] for row in ANNOUNCED])
def test_an_entry_announces_what_launchdarkly_now_holds(webhook: Json, announcement: Announcement | None) -> None:
    assert change_in(webhook, PRODUCTION) == Change(announcement)


def test_without_an_environment_the_only_one_in_the_entry_is_meant() -> None:
    one = entry("flag", FLAG, currentVersion=current())
    several = entry("flag", *EVERY_ENVIRONMENT, currentVersion=current())
    assert change_in(one, None) == Change(Announcement(FEATURES, "new-checkout", 8))
    with_wildcard = entry("flag", FLAG, "proj/shop:env/*:flag/new-checkout", currentVersion=current())
    assert change_in(with_wildcard, None) == Change(Announcement(FEATURES, "new-checkout", 8))
    assert change_in(several, None) == Change(None)


def test_a_change_holds_nothing_of_the_member() -> None:
    change = change_in(entry("flag", FLAG, currentVersion=current()), PRODUCTION)
    assert change.announcement is not None
    assert "anna@example.com" not in str(change)
