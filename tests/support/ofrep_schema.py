"""What an answer of the OpenFeature Remote Evaluation Protocol, version 0.3.0, has to be, as JSON Schema.

The rules of https://github.com/open-feature/protocol (service/openapi.yaml), put in our words. There the value is
``oneOf`` six schemas, of which the one without a value is met by every object and an integer by two; what is meant
is ``anyOf``. An array is a value in OpenFeature, though it has no schema of its own there.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_METADATA: Json = {"type": "object", "additionalProperties": {"type": ["boolean", "string", "number"]}}
_DETAILS: Json = {"errorDetails": {"type": "string"}}
_VALUE: Json = {"type": ["boolean", "string", "number", "object", "array"]}

SUCCESS: Json = {
    "type": "object",
    "required": ["key", "reason"],
    "not": {"required": ["errorCode"]},
    "properties": {
        "key": {"type": "string"},
        "reason": {"enum": ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"]},
        "variant": {"type": "string"},
        "metadata": _METADATA,
        "value": _VALUE,
    },
}


def _failure(*codes: str) -> Json:
    return {
        "type": "object",
        "required": ["key", "errorCode"],
        "properties": {
            "key": {"type": "string"},
            "errorCode": {"enum": list(codes)},
            "metadata": _METADATA,
            **_DETAILS,
        },
    }


FAILURE = _failure("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")
NOT_FOUND = _failure("FLAG_NOT_FOUND")
BULK_SUCCESS: Json = {
    "type": "object",
    "required": ["flags"],
    "properties": {"flags": {"type": "array", "items": {"oneOf": [SUCCESS, FAILURE]}}, "metadata": _METADATA},
}
BULK_FAILURE: Json = {
    "type": "object",
    "required": ["errorCode"],
    "properties": {"errorCode": {"type": "string"}, **_DETAILS},
}
ERROR: Json = {"type": "object", "properties": _DETAILS, "required": ["errorDetails"]}

SINGLE = {200: SUCCESS, 400: FAILURE, 404: NOT_FOUND}
BULK = {200: BULK_SUCCESS, 400: BULK_FAILURE}
"""By status. Every other one is an ERROR, or has no body."""
