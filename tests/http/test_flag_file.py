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
    on: true
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


VALUES = {"greeting": "hello", "limit": 7, "on": True, "nothing": None, "list": [1, "a"], "nested": {"a": {"b": 1.5}}}
PLAIN = {
    "JSON": json.dumps({"flagValues": VALUES}),
    "YAML": "flagValues:\n  greeting: hello\n  limit: 7\n  on: true\n  nothing: null\n  list: [1, a]\n"
    "  nested:\n    a: {b: 1.5}\n",
}


@pytest.mark.parametrize("mode", ["daemon", "direct"])
@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_a_file_of_plain_values_is_served_in_both_modes(
    load_app: LoadApp, environment: Environment, file: Path, content: str, mode: str
) -> None:
    if mode == "direct" and "on:" in content:
        pytest.skip("the SDK takes the name 'on' in YAML for a boolean")
    file.write_text(content)
    store = {} if mode == "direct" else {"REDIS_URL": environment["REDIS_URL"]}
    settings = {"EVALUATE_AUTH": "none", "EVALUATION_MODE": mode, "LAUNCHDARKLY_FLAG_FILE": str(file), **store}
    app = load_app({**settings, "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow"})
    app.webhook()
    assert app.evaluate(USER) == {key: {"value": value, "variation": 0, "version": 1} for key, value in VALUES.items()}
    if mode == "direct":
        app.module.wiring.direct_flags.client.close()


@pytest.mark.parametrize("how", ["webhook", "reconcile"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 2), (3, 2)])
def test_an_edit_shows_whatever_became_of_the_version(
    file_app: App, file: Path, before: int, after: int, how: str
) -> None:
    file.write_text(json.dumps(flags(before, value=False)))
    file_app.webhook()
    assert file_app.evaluate(USER) == {"shiny": {"value": False, "variation": 1, "version": before}}

    file.write_text(json.dumps(flags(after, value=True)))
    answer = file_app.webhook() if how == "webhook" else file_app.invoke("reconcile", {})

    assert (answer["status"], answer["changed"], answer["held_back"]) == ("refreshed", True, 0)
    assert file_app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": after}}


BROKEN = {
    "cut off": ('{"flags": {\n"shiny": {"key": "shiny", ', ", line 2: not valid JSON: "),
    "no object": ("[]", ', line 1: expected an object with "flags", "flagValues" or "segments".'),
    "other names": ('{"Flags": {}}', ', line 1: expected an object with "flags", "flagValues" or "segments".'),
    "empty": ("", ', line 1: expected an object with "flags", "flagValues" or "segments".'),
    "a flag that is no object": (
        '{"flags":\n\n{"shiny": true}}',
        """, line 3: the flag 'shiny' must be an object that has a string as "key".""",
    ),
    "a flag that no SDK can read": (
        '{"flags": {\n"shiny": {"key": "shiny", "on": 7}}}',
        ", line 2: the flag 'shiny' cannot be read: ValueError: error in flag/segment data: property \"on\"",
    ),
    "one key twice": (
        json.dumps({"flags": by_key(boolean_flag("a")), "flagValues": {"a": 1}}, indent=0),
        ", line 19: the key 'a' is used more than once in features.",
    ),
    "one name twice": ('{"flagValues": {"a": 1,\n"a": 2}}', ", line 2: the name 'a' is there twice."),
    "bad YAML": ("flags:\n  a: [unclosed", ", line 2: not valid YAML: "),
    "no segments": ('{"segments": 3}', ", line 1: segments must be an object."),
    "not finite": ('{"flagValues": {"a": NaN}}', ", line 1: not valid JSON: NaN is not a JSON number."),
    "too large a number": (
        '{"flagValues": {"a": 1e400}}',
        ", line 1: the flag 'a' cannot be read: ValueError: A number is not finite.",
    ),
    "not UTF-8": (b'{"flagValues": {"\xff": 1}}', " cannot be read: it is not UTF-8 at byte 17."),
    "missing": (None, " cannot be read: No such file or directory."),
}


def test_a_file_without_flags_empties_the_store_only_by_force(file_app: App, file: Path) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    file_app.webhook()
    file.write_text("{}")
    refused = file_app.post("/webhook", {"kind": "flag"})
    assert refused.status_code == 503
    assert refused.json_body["Message"].startswith("The flag file holds an empty data set; the store keeps its 1 flags")
    assert file_app.evaluate(USER) != {}
    assert file_app.invoke("reconcile", {"force": True})["flags"] == 0
    assert file_app.evaluate(USER) == {}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_a_503_that_names_the_line_and_leaves_the_store_as_it_was(
    file_app: App, file: Path, valkey: redis.Redis, content: str | bytes | None, message: str
) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    file_app.webhook()
    stored = content_of(valkey)

    if content is None:
        file.unlink()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = file_app.post("/webhook", {"kind": "flag"})

    assert (answer.status_code, answer.json_body["Code"]) == (503, "ServiceUnavailableError")
    assert answer.json_body["Message"].startswith(f"{file}{message}")
    assert not answer.json_body["Message"].endswith("..")
    with pytest.raises(LaunchDarklyUnreachable):
        file_app.invoke("reconcile", {"force": True})
    assert content_of(valkey) == stored
    assert file_app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}


def test_direct_mode_serves_the_file_too(load_app: LoadApp, file: Path) -> None:
    file.write_text(json.dumps(flags(1, value=True)))
    app = load_app({"EVALUATION_MODE": "direct", "EVALUATE_AUTH": "none", "LAUNCHDARKLY_FLAG_FILE": str(file)})
    assert app.evaluate(USER) == {"shiny": {"value": True, "variation": 0, "version": 1}}
    app.module.wiring.direct_flags.client.close()


def test_direct_mode_says_what_is_wrong_with_the_file(load_app: LoadApp, file: Path) -> None:
    file.write_text('{"flags": {\n"shiny": true}}')
    app = load_app({"EVALUATION_MODE": "direct", "EVALUATE_AUTH": "none", "LAUNCHDARKLY_FLAG_FILE": str(file)})
    answer = app.post("/evaluate", USER)
    assert (answer.status_code, answer.json_body["Message"]) == (
        503,
        f"""{file}, line 2: the flag 'shiny' must be an object that has a string as "key".""",
    )


def test_a_deleted_flag_is_none(file_app: App, file: Path) -> None:
    file.write_text(json.dumps({"flags": by_key(boolean_flag("a"), {"key": "b", "version": 2, "deleted": True})}))
    assert file_app.webhook()["flags"] == 1


def test_yaml_may_share_fields(file_app: App, file: Path) -> None:
    file.write_text(
        "shared: &shared {on: true, variations: [a, b], fallthrough: {variation: 1}}\n"
        "flags:\n  one: {<<: *shared, key: one, version: 2}\n  two:\n    <<: *shared\n    key: two\n    version: 3\n"
    )
    file_app.webhook()
    assert file_app.evaluate(USER) == {
        "one": {"value": "b", "variation": 1, "version": 2},
        "two": {"value": "b", "variation": 1, "version": 3},
    }
