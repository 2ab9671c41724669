"""Who may evaluate: tokens, IAM, nobody in particular; and nobody at all without a token to compare with."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest

from chalicelib.api.access import check_access
from chalicelib.config import Settings, load_settings
from chalicelib.errors import InvalidToken


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def settings(auth: str = "token", *accepted: str) -> Settings:
    digests = ",".join(digest(token) for token in accepted)
    return load_settings({"REDIS_URL": "embedded", "EVALUATE_AUTH": auth, "EVALUATE_TOKEN_SHA256": digests})


OLD, NEW = "old-token", "nëw-token"
ROTATING = settings("token", OLD, NEW)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {OLD}"},
        {"authorization": f"Bearer {NEW}"},
        {"authorization": f"bearer   {OLD} "},
        {"x-api-key": OLD},
        {"x-api-key": f" {NEW} "},
        {"authorization": f"Bearer {OLD}", "x-api-key": OLD},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": OLD},
        {"authorization": f"Bearer {OLD}", "x-api-key": ""},
    ],
)
def test_an_accepted_token_is_let_in(headers: dict[str, str]) -> None:
    check_access(ROTATING, headers, {})


MISSING = "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'."
WRONG = "The token is not accepted."
TWO = "The Authorization and X-API-Key headers hold different tokens; send one."
REFUSED: list[tuple[dict[str, str], str]] = [
    ({}, MISSING),
    ({"authorization": ""}, MISSING),
    ({"authorization": "Bearer"}, MISSING),
    ({"authorization": "Bearer "}, MISSING),
    ({"authorization": OLD}, MISSING),
    ({"authorization": f"Basic {OLD}"}, MISSING),
    ({"authorization": f"Bearer{OLD}"}, MISSING),
    ({"x-api-key": " "}, MISSING),
    ({"authorization": "Bearer guess"}, WRONG),
    ({"x-api-key": "guess"}, WRONG),
    ({"authorization": f"Bearer {OLD.upper()}"}, WRONG),
    ({"authorization": f"Bearer {OLD} {OLD}"}, WRONG),
    ({"authorization": f"Bearer {digest(OLD)}"}, WRONG),
    ({"x-api-key": "\ud800"}, WRONG),
    ({"authorization": f"Bearer {OLD}", "x-api-key": NEW}, TWO),
    ({"authorization": "Bearer guess", "x-api-key": OLD}, TWO),
]


@pytest.mark.parametrize(("headers", "message"), REFUSED)
def test_anything_else_is_refused(headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidToken) as raised:
        check_access(ROTATING, headers, {})
    assert str(raised.value) == message


def test_a_token_that_was_rotated_out_is_refused() -> None:
    with pytest.raises(InvalidToken):
        check_access(settings("token", NEW), {"x-api-key": OLD}, {})


@pytest.mark.parametrize("headers", [{}, {"x-api-key": OLD}, {"x-api-key": digest("")}])
def test_without_a_digest_everybody_is_refused_and_the_log_says_what_to_set(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidToken), caplog.at_level(logging.ERROR):
        check_access(settings("token"), headers, {})
    assert caplog.messages == [
        "every evaluation is refused: set EVALUATE_TOKEN_SHA256, or EVALUATE_AUTH to iam or none"
    ]


def test_a_token_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidToken) as raised, caplog.at_level(logging.DEBUG):
        check_access(ROTATING, {"x-api-key": "guess"}, {})
    assert "guess" not in caplog.text + str(raised.value)


def test_iam_lets_in_whom_api_gateway_has_identified() -> None:
    check_access(settings("iam"), {}, {"identity": {"userArn": "arn:aws:iam::123456789012:user/anna"}})


@pytest.mark.parametrize("context", [{}, {"identity": None}, {"identity": {}}, {"identity": {"userArn": None}}])
def test_iam_refuses_whom_api_gateway_has_not_identified(context: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as raised:
        check_access(settings("iam", OLD), {"x-api-key": OLD}, context)
    assert str(raised.value) == "The request must be signed with AWS Signature Version 4."


def test_none_lets_everybody_in() -> None:
    check_access(settings("none"), {}, {})
