"""`make run`, from its first word to Ctrl-C: which source, which store, and what is in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests

from tests.support.app import App
from tests.support.data import PROJECT, boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly, Fault
from tests.support.local_stage import LocalStage, local_stage
from tests.support.ports import free_port
from tests.support.processes import BIN, OwnProcess
from tests.support.stores import data_set, refresh_store
from tests.support.waiting import eventually
from tools.run_local import main, reconcile_forever


def value_of(stage: LocalStage, key: str) -> object:
    answer = requests.post(f"{stage.url}evaluate/{key}", json={"key": "anna"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


def test_it_says_what_it_serves_and_what_to_try(tmp_path: Path) -> None:
    file = tmp_path / "flags.yaml"
    file.write_text("flagValues: {greeting: hello}\n")
    with local_stage({"LAUNCHDARKLY_FLAG_FILE": str(file)}) as stage:
        said = stage.said
        data = next(line for line in said if line.startswith("Data: "))
        assert [line.replace(stage.url, "…/") for line in said if line != data] == [
            "Starting; this takes a few seconds.",
            "Store: an embedded Valkey, which ends with this program.",
            f"Filling the store from {file}.",
            f"Source: {file}.",
            "Try:",
            "  …/  in a browser: every flag, and why it has its value",
            (
                "  curl -s …/evaluate/greeting -H 'Content-Type: application/json' -d "
                '\'{"key": "anna", "email": "anna@example.com"}\''
            ),
            f"""  edit {file}, then: curl -s …/webhook -H 'Content-Type: application/json' -d '{{"kind": "flag"}}'""",
            "Ctrl-C ends it.",
            f"Serving on {stage.url.rstrip('/')}",
        ]
        assert data.startswith("Data: 1 flags and 0 segments, refreshed at 20")
        assert value_of(stage, "greeting") == "hello"

        taken = subprocess.run(
            [sys.executable, "-m", "tools.run_local", "--port", stage.url.rstrip("/").rpartition(":")[2]],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "LAUNCHDARKLY_FLAG_FILE": str(file)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert taken.returncode == 1
        assert len(taken.stderr.splitlines()) == 1
        assert taken.stderr.startswith("Port ")
        assert "make run PORT=" in taken.stderr

        stage.process.interrupt()
        assert stage.process.wait() == 0
        rest = [line for line in iter(stage.process.read_line, "") if line.strip()]
        assert [line for line in rest if not line.startswith(('{"timestamp"', "127.0.0.1 - - "))] == []


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_cannot_be_is_told_at_once(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", port]) == 1
    assert capsys.readouterr() == (
        "",
        f"There is no port {port}; choose one from 1 to 65535: make run PORT=8001\n",
    )


def test_an_sdk_key_is_the_source_and_is_asked_every_minute(launchdarkly: FakeLaunchDarkly) -> None:
    launchdarkly.replace(flags=by_key(boolean_flag("mine")))
    with local_stage({"LAUNCHDARKLY_SDK_KEY": "sdk-key", "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri}) as stage:
        assert "Source: LaunchDarkly (127.0.0.1), asked again every minute." in stage.said
        assert value_of(stage, "mine") is True


def test_a_store_of_ones_own_is_used_as_it_is(valkey: redis.Redis, redis_url: str) -> None:
    refresh_store(redis_url, data_set([boolean_flag("theirs")]))
    content = valkey.hgetall("launchdarkly:features")
    with local_stage({"REDIS_URL": redis_url}) as stage:
        assert f"Store: Redis at {urlsplit(redis_url).path or urlsplit(redis_url).netloc}." in stage.said
        assert any(line.startswith("Source: none is set, so the store is used as it is.") for line in stage.said)
        assert value_of(stage, "theirs") is True
    assert valkey.hgetall("launchdarkly:features") == content


def test_a_store_that_another_writer_has_filled_has_no_time_of_a_refresh(valkey: redis.Redis, redis_url: str) -> None:
    valkey.hset("launchdarkly:features", "theirs", json.dumps(boolean_flag("theirs")))
    valkey.set("launchdarkly:$inited", "")
    with local_stage({"REDIS_URL": redis_url}) as stage:
        data = next(line for line in stage.said if line.startswith("Data: "))
        assert data.startswith("Data: 1 flags and 0 segments, filled by another writer, revision ")


def test_an_empty_store_of_ones_own_gets_the_examples(valkey: redis.Redis, redis_url: str) -> None:
    with local_stage({"REDIS_URL": redis_url}) as stage:
        assert "Source: examples/flags.json." in stage.said
        assert value_of(stage, "new-checkout") in (True, False)
    assert valkey.hlen("launchdarkly:features") > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EVALUATE_AUTH": "token"}, "there is no digest of a token. make token prints a token and its digest; then"),
        ({"EVALUATE_AUTH": "iam"}, "nobody checks signatures here. Leave it unset, or set it to none."),
    ],
    ids=["token", "iam"],
)
def test_it_says_so_where_no_caller_can_evaluate(redis_url: str, settings: dict[str, str], said: str) -> None:
    with local_stage({"REDIS_URL": redis_url, **settings}) as stage:
        (refused,) = (line for line in stage.said if line.startswith("Every evaluation is refused: EVALUATE_AUTH is "))
        assert said in refused
        assert not any("<token>" in line or "in a browser" in line for line in stage.said)
        assert requests.post(f"{stage.url}evaluate/new-checkout", json={"key": "anna"}, timeout=60).status_code == 401


def test_a_token_is_asked_for_where_one_can_exist(redis_url: str) -> None:
    with local_stage({"REDIS_URL": redis_url, "EVALUATE_CLIENT_TOKEN_SHA256": "ab" * 32}) as stage:
        assert any("-H 'Authorization: Bearer <token>'" in line for line in stage.said)
        assert not any("refused" in line for line in stage.said)


def refusals(tmp_path: Path, launchdarkly: FakeLaunchDarkly) -> dict[str, tuple[dict[str, str], str]]:
    (tmp_path / "broken.json").write_text('{"flags": {\n"a": 1}}')
    launchdarkly.fault = Fault.UNAUTHORIZED
    closed = free_port()
    return {
        "a wrong setting": ({"REDIS_URL": "localhost"}, "REDIS_URL is malformed"),
        "a broken file": (
            {"LAUNCHDARKLY_FLAG_FILE": str(tmp_path / "broken.json")},
            "broken.json, line 2: the flag 'a' must be an object",
        ),
        "a rejected key": (
            {"LAUNCHDARKLY_SDK_KEY": "sdk-revoked", "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri},
            "LaunchDarkly rejected the SDK key",
        ),
        "a store that is away": ({"REDIS_URL": f"redis://127.0.0.1:{closed}"}, "The flag store cannot be reached"),
    }


@pytest.mark.parametrize("name", ["a wrong setting", "a broken file", "a rejected key", "a store that is away"])
def test_it_does_not_start_with_what_cannot_work(tmp_path: Path, launchdarkly: FakeLaunchDarkly, name: str) -> None:
    environment, message = refusals(tmp_path, launchdarkly)[name]
    ran = subprocess.run(
        [sys.executable, "-m", "tools.run_local", "--port", str(free_port())],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_a_reconcile_says_what_changes_and_what_fails(
    app: App, launchdarkly: FakeLaunchDarkly, capsys: pytest.CaptureFixture[str]
) -> None:
    launchdarkly.replace(flags=by_key(boolean_flag("a")))
    said: list[str] = []

    def has_said(text: str) -> bool:
        said.append(capsys.readouterr().out)
        return text in "".join(said)

    stop = threading.Event()
    thread = threading.Thread(target=reconcile_forever, args=(app.module.wiring, stop, 0.01))
    thread.start()
    try:
        eventually(lambda: has_said("Refreshed: 1 flags, revision "))
        launchdarkly.fault = Fault.UNAUTHORIZED
        eventually(lambda: has_said("Not refreshed: LaunchDarkly rejected the SDK key"))
    finally:
        stop.set()
        thread.join()


def test_plain_chalice_local_says_what_is_missing(redis_url: str) -> None:
    command = [BIN / "chalice", "local", "--stage", "test", "--no-autoreload", "--port", free_port()]
    with OwnProcess(command, {"PYTHONUNBUFFERED": "1", "REDIS_URL": redis_url}, stdout=subprocess.PIPE) as process:
        line = json.loads(process.read_line())
    assert (line["level"], line["message"]) == (
        "WARNING",
        (
            "EVALUATE_TOKEN_SHA256 is empty, so every evaluation is refused. This stage is meant for AWS; without AWS, "
            "run: make run, or: chalice local --stage local"
        ),
    )
