"""API Gateway's own answers: what is deployed for them, and what is printed for `chalice package`."""

from __future__ import annotations

import json

import pytest

from tools.gateway_responses import gateway_responses, main, merge_template

ORIGIN = "https://app.example.com"
EXPOSED = "ETag, Retry-After, X-Flags-Revision, X-Flags-Stale, X-Flags-Synced-At"
CORS = {"Access-Control-Allow-Origin": ORIGIN, "Access-Control-Expose-Headers": EXPOSED}
AGAIN = {"Retry-After": "1"}


def as_sent(body: str) -> dict[str, str]:
    """As API Gateway fills it in."""
    filled = body.replace("$context.error.messageString", '"Forbidden"').replace(
        "$context.error.responseType", "WAF_FILTERED"
    )
    sent: dict[str, str] = json.loads(filled)
    return sent


def test_a_page_can_read_each_of_them_in_the_shape_of_either_kind_of_route() -> None:
    responses = gateway_responses(ORIGIN)
    again = {"THROTTLED", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"}
    assert {kind: response["headers"] for kind, response in responses.items()} == {
        kind: {**CORS, **(AGAIN if kind in again else {})} for kind in responses
    }
    sent = {kind: as_sent(response["body"]) for kind, response in responses.items()}
    assert {kind: body["Code"] for kind, body in sent.items()} == {
        "ACCESS_DENIED": "ForbiddenError",
        "EXPIRED_TOKEN": "ForbiddenError",
        "INVALID_SIGNATURE": "ForbiddenError",
        "MISSING_AUTHENTICATION_TOKEN": "ForbiddenError",
        "REQUEST_TOO_LARGE": "RequestEntityTooLargeError",
        "THROTTLED": "TooManyRequestsError",
        "INTEGRATION_FAILURE": "GatewayTimeoutError",
        "INTEGRATION_TIMEOUT": "GatewayTimeoutError",
        "DEFAULT_4XX": "WAF_FILTERED",
        "DEFAULT_5XX": "WAF_FILTERED",
    }
    for body in sent.values():
        assert body == {"Code": body["Code"], "Message": body["Message"], "errorDetails": body["Message"]}


def test_without_an_origin_no_page_can() -> None:
    responses = gateway_responses(None)
    assert {kind for kind, response in responses.items() if response["headers"] not in ({}, AGAIN)} == set()


def test_the_template_for_chalice_package_says_the_same() -> None:
    responses = gateway_responses(ORIGIN)
    described = merge_template(responses)["Resources"]["RestAPI"]["Properties"]["GatewayResponses"]
    assert described.keys() == responses.keys()
    assert described["THROTTLED"] == {
        "ResponseParameters": {
            "Headers": {name: f"'{value}'" for name, value in {**CORS, **AGAIN}.items()},
        },
        "ResponseTemplates": {"application/json": responses["THROTTLED"]["body"]},
    }


def test_the_command_prints_it_for_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["production"]) == 0
    assert json.loads(capsys.readouterr().out) == merge_template(gateway_responses(None))
    assert main(["staging"]) == 1
    assert "There is no stage 'staging'" in capsys.readouterr().err
