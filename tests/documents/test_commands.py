"""Every command of README.md and docs/ is run, or held to what runs it, and answers what is written there."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from chalicelib import VERSION
from tests.support.app import App
from tests.support.aws import Aws
from tests.support.big_segments import RedisMembers
from tests.support.data import EXAMPLES, PROJECT
from tests.support.documents import DOCUMENTS, Command, blocks_of, commands_of, name_of
from tests.support.local_stage import LocalStage, local_stage

VOLATILE = re.compile(r'("syncedAt":)"[^"]+"|("ageSeconds":)\d+')
LOCAL, DEPLOYED = "localhost:8000", "https://….amazonaws.com/production"


@pytest.fixture(scope="module")
def flag_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents") / "flags.json"


@pytest.fixture(scope="module")
def stage(flag_file: Path) -> Iterator[LocalStage]:
    """One server for all documents but one."""
    shutil.copy(EXAMPLES, flag_file)
    with local_stage({"LAUNCHDARKLY_FLAG_FILE": str(flag_file)}) as stage:
        yield stage


@pytest.fixture(scope="module")
def stage_with_events(flag_file: Path) -> Iterator[LocalStage]:
    """What `EVENTS=full make run` serves."""
    with local_stage({"LAUNCHDARKLY_FLAG_FILE": str(flag_file), "EVENTS": "full"}) as stage:
        yield stage


def curl(command: str, stage: LocalStage) -> str:
    """What it prints, asked of the local stage."""
    typed = command.replace(LOCAL, stage.url.rstrip("/")).replace(DEPLOYED, stage.url.rstrip("/"))
    ran = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_request_is_answered_as_it_is_written(
    document: Path, request: pytest.FixtureRequest, flag_file: Path
) -> None:
    requests = [command for command in commands_of(document) if command.text.startswith("curl ")]
    if not requests:
        return
    shutil.copy(EXAMPLES, flag_file)
    stage = request.getfixturevalue("stage_with_events" if document.name == "events.md" else "stage")
    curl(f"""curl -sf {LOCAL}/webhook -H 'Content-Type: application/json' -d '{{"kind": "flag"}}'""", stage)
    for each in requests:
        if "switch `maintenance-mode` on" in each.before:
            switch_on(flag_file, "maintenance-mode")
        answer = curl(each.text, stage)
        if DEPLOYED in each.text:
            assert json.loads(answer)["Message"] == "There is no flag 'my-flag'."
        else:
            assert masked(answer) == masked(each.output)


def switch_on(flag_file: Path, key: str) -> None:
    """By hand: the version stays."""
    data = json.loads(flag_file.read_text())
    data["flags"][key]["on"] = True
    flag_file.write_text(json.dumps(data))


def masked(text: str) -> str:
    return VOLATILE.sub(r"\1\2…", text.strip())


def test_the_headers_are_those_of_an_answer(stage: LocalStage, flag_file: Path) -> None:
    """Of the first request in the README."""
    shutil.copy(EXAMPLES, flag_file)
    curl(f"""curl -sf {LOCAL}/webhook -H 'Content-Type: application/json' -d '{{"kind": "flag"}}'""", stage)
    document = PROJECT / "docs" / "http-api.md"
    (written,) = (block for block, _ in blocks_of(document, "") if block.startswith("ETag: "))
    first = next(each for each in commands_of(PROJECT / "README.md") if each.text.startswith("curl "))
    answered = curl(first.text.replace("curl -s", "curl -s -o /dev/null -D -"), stage)
    headers = [line for line in answered.splitlines() if line.lower().startswith(("etag", "x-flags"))]
    shown = re.compile(r'"[0-9a-f]{32}"|\d{4}-\d\d-\d\dT\S+')  # what depends on the version of the app, and on the time
    assert sorted(shown.sub("…", line).lower() for line in headers) == sorted(
        shown.sub("…", line).lower() for line in written.splitlines()
    )


# What is not a request.


def run_with_make(command: Command, _: Path) -> None:
    """Make knows the target, and takes what is set before and behind it."""
    typed = command.text.replace("make ", "make -n ", 1)
    ran = subprocess.run(["bash", "-c", typed], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def run_make_token(command: Command, folder: Path) -> None:
    ran = subprocess.run(["bash", "-c", command.text], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert re.search(r"[0-9a-f]{64}", ran.stdout)


AWS_CLI = """#!{python}
import json, sys, boto3
words = sys.argv[1:]
options = {{name[2:]: value for name, value in zip(words, words[1:]) if name.startswith("--")}}
if words[:2] == ["ssm", "put-parameter"]:
    boto3.client("ssm").put_parameter(Type=options["type"], Name=options["name"], Value=options["value"])
elif words[:2] == ["dynamodb", "get-item"]:
    boto3.client("dynamodb").get_item(TableName=options["table-name"], Key=json.loads(options["key"]))
else:
    sys.exit("not known to the tests: " + " ".join(words))
"""
"""As much of the AWS CLI as the documents use, beside what deploys a template."""


def run_with_aws(command: Command, folder: Path) -> None:
    """Against the emulated AWS, which has the table."""
    with Aws() as account:
        account.create_table("serverless-flags-production")
        run_in_shell(command, folder, "aws", AWS_CLI, account.environment)


REDIS_CLI = """#!{python}
import os, sys, redis
print(redis.Redis.from_url(os.environ["SERVER"], decode_responses=True).execute_command(*sys.argv[1:]))
"""


def run_in_shell(command: Command, folder: Path, program: str, source: str, variables: Mapping[str, str]) -> str:
    """What it prints, where ``program`` is what stands in ``source``."""
    (folder / program).write_text(source.format(python=sys.executable))
    (folder / program).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONUTF8": "1", **variables}
    typed = "\n".join([*command.variables, command.text])
    ran = subprocess.run(
        ["bash", "-ec", typed], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def deploy_template(command: Command, _: Path) -> None:
    """The template is there, and has these parameters and no others that somebody must give."""
    from cfnlint.decode import cfn_yaml

    words = shlex.split(command.text.replace("\\\n", " "))
    template = cfn_yaml.load(str(PROJECT / words[words.index("--template-file") + 1]))
    given = {word.partition("=")[0] for word in words[words.index("--parameter-overrides") + 1 :]}
    required = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
    assert required <= given <= set(template["Parameters"])


def set_variable(command: Command, _: Path) -> None:
    name = command.text.partition("=")[0]
    typed = f"{command.text}\necho ${name}"
    assert subprocess.run(["bash", "-ec", typed], capture_output=True, text=True, check=True).stdout.strip()


def run_uv(command: Command, _: Path) -> None:
    """Nobody downloads packages here; the command is the one that has made the file."""
    made_by = (PROJECT / "requirements.txt").read_text().splitlines()[1].removeprefix("#").strip()
    assert command.text.startswith(made_by + " --upgrade-package ")


def run_git(command: Command, _: Path) -> None:
    assert (PROJECT / command.text.split()[-1]).exists()


def use_what_was_built(command: Command, _: Path) -> None:
    """The file is named as `make layer` and `make wheel` name it; tests/tools and tests/lambda build and use both."""
    built = re.search(
        r"dist/serverless_flags-([0-9.]+)-(py3-none-any\.whl|python3\.\d+-(x86_64|arm64)\.zip)(\s|$)", command.text
    )
    assert built is not None
    assert built[1] == VERSION


RUNNERS: dict[str, Callable[[Command, Path], None]] = {
    "make token": run_make_token,
    "make": run_with_make,
    "aws cloudformation deploy": deploy_template,
    "aws s3 cp": use_what_was_built,
    "pip install dist/": use_what_was_built,
    "aws": run_with_aws,
    "hash=": set_variable,
    "uv": run_uv,
    "git": run_git,
}
"""By how a command begins, after what it sets. What `make` does is run by tests/lambda, tests/tools and others."""

OTHERS = {
    f"{name_of(document)}: {command.text.splitlines()[0]}": command
    for document in DOCUMENTS
    for command in commands_of(document)
    if not command.text.startswith("curl ")
}


@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS)
def test_every_other_command_can_be_run(command: Command, tmp_path: Path, redis_url: str) -> None:
    if command.text.startswith("redis-cli "):
        RedisMembers(redis_url).put("anna", ["big.g3"])
        assert "big.g3" in run_in_shell(command, tmp_path, "redis-cli", REDIS_CLI, {"SERVER": redis_url})
        return
    words = re.sub(r"^([A-Z_]+=\S+ )+", "", command.text)
    runner = next((run for begin, run in RUNNERS.items() if words.startswith(begin)), None)
    assert runner is not None, "nobody knows how to run this"
    runner(command, tmp_path)


# What is not a command.


def test_a_function_of_your_own_gets_what_the_readme_says(example_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program, against the function on_event itself."""
    (program,) = (block for block, _ in blocks_of(PROJECT / "README.md", "python") if "on_event" in block)

    def invoke(FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names them
        assert FunctionName == "serverless-flags-production-on_event"
        result = json.dumps(example_app.invoke("on_event", json.loads(Payload)))
        return {"Payload": SimpleNamespace(read=lambda: result)}

    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=lambda _: SimpleNamespace(invoke=invoke)))
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["is_new"] in (True, False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_is_what_it_says(document: Path) -> None:
    for block, _ in blocks_of(document, "python"):
        ast.parse(block)
    for block, _ in blocks_of(document, "yaml"):
        yaml.safe_load(block)
    for block, _ in blocks_of(document, "json"):
        assert all(json.loads(value) is not None for value in json_values(block))


def json_values(block: str) -> list[str]:
    """A part of an object, one value, or one in each line."""
    if block.startswith('"'):
        return ["{" + block.rstrip(",") + "}"]
    return [block] if block.startswith("{\n") else block.splitlines()
