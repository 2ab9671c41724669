"""What looks after a stage says what there is, and each failure in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
import requests_mock

from chalicelib.stores.redis import embedded
from tests.support.app import App, Environment, LoadApp
from tests.support.aws import Aws
from tests.support.data import boolean_flag, by_key, example_data
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.network import SlowLink
from tests.support.stores import data_set, refresh_store
from tests.support.valkey import ValkeyServer
from tests.tools.conftest import Configure
from tools import operate
from tools.stages import Stage

Json = dict[str, Any]

STATUS = "http://127.0.0.1:8000/status"
WEBHOOK = "http://127.0.0.1:8000/webhook"


@pytest.fixture
def stage(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """``production`` of a clone whose stages the command reads."""
    stage = configure()
    monkeypatch.setattr(operate, "Stage", lambda name: Stage(name, stage.folder))
    return stage


def set_variables(stage: Stage, **variables: str | None) -> None:
    path = stage.folder / ".chalice" / "config.json"
    config = json.loads(path.read_text())
    environment = {**config["stages"]["production"]["environment_variables"], **variables}
    config["stages"]["production"]["environment_variables"] = {
        name: value for name, value in environment.items() if value is not None
    }
    path.write_text(json.dumps(config))


def test_the_flags_of_a_redis_are_one_line_each(
    stage: Stage, example_app: App, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=redis_url)
    assert operate.main(["flags", "production"]) == 0
    *lines, footer = capsys.readouterr().out.splitlines()
    flags = example_data()["flags"]
    assert [line.split()[0] for line in lines] == sorted(flags)
    for line in lines:
        flag = flags[line.split()[0]]
        assert line.split()[1:6] == [
            "on" if flag["on"] else "off",
            "version",
            str(flag["version"]),
            str(len(flag.get("rules", []))),
            "rules",
        ]
        assert line.endswith(" bytes")
    refreshed = example_app.invoke("reconcile", {})
    assert footer.startswith(f"{refreshed['flags']} flags and {refreshed['segments']} segments, refreshed at 20")
    assert footer.endswith(f"Z, revision {refreshed['revision']}.")


def test_a_redis_behind_a_slow_tunnel_is_waited_for(
    stage: Stage, redis_url: str, valkey_server: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    refresh_store(redis_url, data_set([boolean_flag("shiny")]))
    link = SlowLink(valkey_server.port, bytes_per_second=250)  # a second for each answer
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=link.url)
    try:
        assert operate.main(["flags", "production"]) == 0
    finally:
        link.close()
    assert capsys.readouterr().out.startswith("shiny ")


def test_one_flag_is_shown_whole_and_a_misspelt_one_is_told(
    stage: Stage, example_app: App, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL="rediss://cache.in.a.vpc:6379")
    key, flag = next(iter(example_data()["flags"].items()))
    assert operate.main(["flags", "production", "--flag", key, "--redis-url", redis_url]) == 0
    assert json.loads(capsys.readouterr().out) == flag
    assert operate.main(["flags", "production", "--flag", f"{key}s", "--redis-url", redis_url]) == 1
    assert capsys.readouterr().err.startswith(f"There is no flag {key + 's'!r} in the store; did you mean {key}")


def test_a_variation_is_explained_rule_by_rule(
    stage: Stage, example_app: App, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=redis_url)
    key = next(key for key, flag in sorted(example_data()["flags"].items()) if flag.get("rules") and flag["on"])
    context = '{"kind": "user", "key": "anna"}'
    answer = example_app.post(f"/evaluate/{key}?explain=true", json.loads(context)).json_body
    assert operate.main(["explain", "production", "--flag", key, "--context", context]) == 0
    first, *steps = capsys.readouterr().out.splitlines()
    assert first == f"{key} is {json.dumps(answer['value'])}. {answer['explanation']['summary']}"
    assert steps == [f"  {step['outcome']}: {step['text']}" for step in answer["explanation"]["steps"]]
    assert len(steps) >= 2


def test_what_cannot_be_explained_is_one_line(
    stage: Stage, example_app: App, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=redis_url)
    for flag, context in (("no-flag", '{"key": "anna"}'), ("any", "anna"), ("any", "[]")):
        assert operate.main(["explain", "production", "--flag", flag, "--context", context]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "There is no flag 'no-flag'.",
        """CONTEXT is not JSON; for example: CONTEXT='{"kind": "user", "key": "anna"}'""",
    ]
    assert len(lines) == 3


def test_the_flags_of_a_table_are_read_with_the_callers_rights(
    stage: Stage,
    aws: Aws,
    load_app: LoadApp,
    environment: Environment,
    launchdarkly: FakeLaunchDarkly,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aws.create_table("serverless-flags-production")
    assert operate.main(["flags", "production"]) == 1
    assert capsys.readouterr().err == "The store was never filled: make refresh STAGE=production\n"
    launchdarkly.replace(by_key(boolean_flag("shiny", 3)))
    table = {"DYNAMODB_TABLE": "serverless-flags-production", "REDIS_URL": ""}
    load_app({**environment, **aws.environment, **table}).invoke("reconcile", {})
    for name, value in {**aws.environment, "DYNAMODB_TABLE": "another", "REDIS_URL": "redis://elsewhere"}.items():
        monkeypatch.setenv(name, value)  # of the shell; those of the stage count
    assert operate.main(["flags", "production"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:4] == ["shiny", "on", "version", "3"]


def test_items_that_cannot_be_read_are_told_and_deleted_ones_are_not(
    stage: Stage, redis_url: str, valkey: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Filled by another SDK, which leaves marks of deleted flags."""
    texts: dict[Any, Any] = {"broken": "{", "no-object": "[]", "gone": '{"key": "gone", "version": 2, "deleted": true}'}
    valkey.hset("launchdarkly:features", mapping=texts)
    valkey.set("launchdarkly:$inited", "")
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=redis_url)
    assert operate.main(["flags", "production"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "broken unreadable 1 bytes",
        "no-object unreadable 2 bytes",
        "2 flags and 0 segments; a Relay Proxy or another SDK has filled the store.",
    ]
    assert operate.main(["flags", "production", "--flag", "broken"]) == 0
    assert capsys.readouterr().out == "{\n"


def test_what_is_told_of_a_flag_is_readable(
    stage: Stage,
    app: App,
    launchdarkly: FakeLaunchDarkly,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    launchdarkly.replace(by_key({**boolean_flag("größe"), "variations": ["groß", "klein"]}))
    app.webhook()
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL=redis_url)
    assert operate.main(["flags", "production", "--flag", "größe"]) == 0
    assert '"key": "größe"' in capsys.readouterr().out
    assert operate.main(["explain", "production", "--flag", "größe", "--context", '{"key": "anna"}']) == 0
    assert capsys.readouterr().out.startswith('größe is "groß". ')


def test_a_store_out_of_reach_and_a_stage_without_one_are_one_line(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    set_variables(stage, DYNAMODB_TABLE=None, REDIS_URL="redis://127.0.0.1:1")
    assert operate.main(["flags", "production"]) == 1
    told = capsys.readouterr().err
    assert told.endswith("A cache in a VPC is reached by a tunnel: say REDIS_URL=...\n")
    assert told.count("\n") == 1
    set_variables(stage, REDIS_URL=None, EVALUATION_MODE="direct")
    assert operate.main(["flags", "production"]) == 1
    assert capsys.readouterr().err == "Stage 'production' has EVALUATION_MODE 'direct', which has no store.\n"


def test_the_local_stage_is_the_app_that_runs_here(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert operate.main(["flags", "local"]) == 1
    assert capsys.readouterr().err == "No app runs on this machine with an embedded Valkey: make run\n"
    for name in ("flags-a", "flags-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "valkey.sock").touch()
    assert operate.main(["flags", "local"]) == 1
    urls = f"unix://{tmp_path}/flags-a/valkey.sock, unix://{tmp_path}/flags-b/valkey.sock"
    assert capsys.readouterr().err == (
        f"Several apps run on this machine; say which one with PORT=..., or its store with REDIS_URL=: {urls}\n"
    )
    monkeypatch.setenv("REDIS_URL", redis_url)  # as for `make run`
    assert operate.main(["flags", "local"]) == 1
    assert capsys.readouterr().err == "The store was never filled: make refresh STAGE=local\n"


def test_of_several_local_apps_the_one_on_the_port_is_meant(
    stage: Stage,
    example_app: App,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    revision = example_app.invoke("reconcile", {})["revision"]
    servers = [f"unix://{tmp_path}/left-behind.sock", redis_url]
    monkeypatch.setattr(embedded, "running_servers", lambda: servers)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with requests_mock.Mocker() as mock:
        mock.get("http://127.0.0.1:8001/status", json={"data": {"revision": revision}})
        assert operate.main(["--port", "8001", "flags", "local"]) == 0
        assert capsys.readouterr().out.endswith(f"revision {revision}.\n")
        mock.get("http://127.0.0.1:8001/status", json={"status": "healthy"})  # STATUS_AUTH=token
        assert operate.main(["--port", "8001", "flags", "local"]) == 1
        assert capsys.readouterr().err.startswith("Several apps run on this machine; say which one with PORT=...")


def test_the_local_app_is_asked_and_refreshed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    refreshed = {"status": "refreshed", "revision": "r2", "flags": 2, "segments": 1, "changed": True}
    with requests_mock.Mocker() as mock:
        mock.get(STATUS, [{"json": {"status": "healthy"}}, {"json": {"status": "empty"}, "status_code": 503}])
        mock.post(WEBHOOK, [{"json": refreshed}, {"json": {"Message": "No."}, "status_code": 503}])
        assert operate.main(["status", "local"]) == 0
        assert capsys.readouterr() == ('{\n  "status": "healthy"\n}\n', "")
        assert operate.main(["status", "local"]) == 1
        assert capsys.readouterr().err == "Stage 'local' cannot answer: it is empty.\n"
        assert operate.main(["refresh", "local"]) == 0
        assert capsys.readouterr().out == "2 flags and 1 segments, changed, revision r2.\n"
        assert mock.last_request is not None
        assert mock.last_request.json() == {"kind": "flag"}
        assert operate.main(["refresh", "local"]) == 1
        assert capsys.readouterr().err == "Not refreshed: No.\n"


def test_what_does_not_go_locally_is_told(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate.main(["refresh", "local", "--force"]) == 1
    assert operate.main(["logs", "local"]) == 1
    with requests_mock.Mocker() as mock:
        mock.get(STATUS, [{"exc": requests.ConnectionError}, {"text": "<html>"}])
        assert operate.main(["status", "local"]) == 1
        assert operate.main(["status", "local"]) == 1
    assert operate.main(["--port", "99999", "status", "local"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "FORCE is for a deployed stage; locally, what the flag file says is taken as it is, unless it is empty.",
        "The local stage logs where `make run` was started.",
        "Nothing listens on port 8000 here: make run, or say PORT=...",
        "What listens on port 8000 here is not this app; say PORT=...",
        "Nothing listens on port 99999 here: make run, or say PORT=...",
    ]


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "1e12"])
def test_minutes_that_cannot_be_are_told(stage: Stage, capsys: pytest.CaptureFixture[str], minutes: str) -> None:
    assert operate.main(["logs", "production", "--minutes", minutes]) == 1
    expected = f"MINUTES is {float(minutes):g}; expected how far back to look, such as 60.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("command", ["status", "refresh", "logs"])
def test_a_stage_that_is_not_deployed_is_told(
    stage: Stage, aws: Aws, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert operate.main([command, "production"]) == 1
    told = capsys.readouterr().err
    assert "account 123456789012 in eu-central-1" in told
    assert told.count("\n") == 1
