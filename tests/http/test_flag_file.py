"""A flag file instead of LaunchDarkly: the SDK's own file data source, by way of the real refresh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from chalicelib.errors import LaunchDarklyUnreachable
from tests.support.app import App, Environment, LoadApp
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly

USER = {"key": "vip-customer"}
UNREADABLE = "The data set cannot be read: it is missing, or not valid JSON or YAML."


def flags(version: int, *, value: bool) -> dict[str, Any]:
    return {"flags": by_key(boolean_flag("shiny", version, value=value)), "segments": {}}


def content_of(valkey: redis.Redis) -> list[Any]:
    return [valkey.dump(f"launchdarkly:{name}") for name in ("features", "segments", "$inited", "$sync")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


@pytest.fixture
def file_app(load_app: LoadApp, environment: Environment, file: Path) -> App:
    return load_app({**environment, "LAUNCHDARKLY_SDK_KEY": "", "LAUNCHDARKLY_FLAG_FILE": str(file)})


def test_the_example_file_fills_the_store(file_app: App, file: Path, valkey: redis.Redis) -> None:
    """As it stands in the repository, or as a user has edited it."""
    text = (PROJECT / "examples" / "flags.json").read_text()
    examples = json.loads(text)
    file.write_text(text)
    answer = file_app.webhook()
    assert {**answer, "revision": None} == {
        "status": "refreshed",
        "revision": None,
        "flags": len(examples["flags"]),
        "segments": len(examples["segments"]),
        "changed": True,
        "confirmed": None,
        "held_back": 0,
    }
    stored = {key: json.loads(text) for key, text in valkey.hgetall("launchdarkly:features").items()}
    assert stored == examples["flags"]
    assert json.loads(valkey.get("launchdarkly:$sync") or "")["source"] == "file"
    assert file_app.evaluate(USER).keys() == examples["flags"].keys()


def test_launchdarkly_is_not_contacted(file_app: App, file: Path, launchdarkly: FakeLaunchDarkly) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    file_app.webhook()
    assert launchdarkly.stream_count == 0


YAML = """
flags:
  greeting:
    key: greeting
    version: 3
    "on": true
    variations: [Hello, 'Grüß Gott']
    fallthrough: {variation: 0}
    rules:
      - id: austrians
        variation: 1
        clauses:
          - {attribute: country, op: in, values: [AT]}  # a comment
segments: {}
"""


def test_yaml_is_read_like_json(file_app: App, file: Path) -> None:
    file.write_text(YAML, encoding="utf-8")
    from_yaml = file_app.webhook()
    assert file_app.evaluate({"key": "anna", "country": "AT"}) == {
        "greeting": {"value": "Grüß Gott", "variation": 1, "version": 3}
    }

    clause = {"attribute": "country", "op": "in", "values": ["AT"]}
    flag = {
        "key": "greeting",
        "version": 3,
        "on": True,
        "variations": ["Hello", "Grüß Gott"],
        "fallthrough": {"variation": 0},
        "rules": [{"id": "austrians", "variation": 1, "clauses": [clause]}],
    }
    file.write_text(json.dumps({"flags": by_key(flag)}))
    assert file_app.webhook() == {**from_yaml, "changed": False}


def test_a_file_of_plain_values_is_served(file_app: App, file: Path) -> None:
    file.write_text("flagValues:\n  greeting: hello\n  limit: 7\n")
    file_app.webhook()
    assert file_app.evaluate(USER) == {
        "greeting": {"value": "hello", "variation": 0, "version": 1},
        "limit": {"value": 7, "variation": 0, "version": 1},
    }


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 2), (3, 2)])
def test_an_edit_shows_whatever_became_of_the_version(file_app: App, file: Path, before: int, after: int) -> None:
    file.write_text(json.dumps(flags(before, value=False)))
    file_app.webhook()
    assert file_app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": before}}

    file.write_text(json.dumps(flags(after, value=True)))
    answer = file_app.webhook()

    assert (answer["status"], answer["changed"], answer["held_back"]) == ("refreshed", True, 0)
    assert file_app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": after}}


BROKEN = {
    "cut off": '{"flags": {"shiny": {"key": "shiny", ',
    "no object": "[]",
    "empty": "",
    "a flag that is no object": '{"flags": {"shiny": true}}',
    "one key twice": json.dumps({"flags": by_key(boolean_flag("a")), "flagValues": {"a": 1}}),
    "bad YAML": "flags: [unclosed",
    "missing": None,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_a_503_and_leaves_the_store_as_it_was(
    file_app: App, file: Path, valkey: redis.Redis, content: str | None
) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    file_app.webhook()
    stored = content_of(valkey)

    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    answer = file_app.post("/webhook", {"kind": "flag"})

    assert (answer.status_code, answer.json_body) == (
        503,
        {"Code": "ServiceUnavailableError", "Message": UNREADABLE},
    )
    with pytest.raises(LaunchDarklyUnreachable):
        file_app.invoke("reconcile", {"force": True})
    assert content_of(valkey) == stored
    assert file_app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}


def test_direct_mode_serves_the_file_too(load_app: LoadApp, file: Path) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    app = load_app({"EVALUATION_MODE": "direct", "EVALUATE_AUTH": "none", "LAUNCHDARKLY_FLAG_FILE": str(file)})
    assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}
    app.module.wiring.direct_flags.client.close()
