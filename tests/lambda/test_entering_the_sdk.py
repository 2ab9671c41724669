"""The SDK, entered without running its package, is the SDK as always for whoever uses it afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.data import PROJECT
from tests.support.processes import OwnProcess

ENTER = "import chalicelib.launchdarkly.evaluators as ours, sys\n"

USES = {
    "nothing has run yet": """
        for name in ("ldclient", "ldclient.impl.util", "semver", "pyrfc3339"):
            assert type(sys.modules[name]).__name__ == "_Waiting", name
        assert "ldclient.client" not in sys.modules and "urllib3" not in sys.modules""",
    "a context alone": """
        from ldclient import Context
        import ldclient
        assert Context is ours.Context is ldclient.Context and "ldclient.client" not in sys.modules
        assert ldclient.LDClient is sys.modules["ldclient.client"].LDClient and ldclient.Context is Context""",
    "the package's names are those of its modules": """
        before = sys.modules["ldclient"]
        from ldclient import Config, Context, LDClient
        import ldclient, ldclient.client
        assert ldclient is before and type(ldclient) is type(sys) and LDClient is ldclient.client.LDClient
        assert Context is ldclient.context.Context is ours.Context is ldclient.client.Context
        assert ldclient.client.Evaluator is ours.Evaluator and ldclient.client.EventFactory is ours.EventFactory""",
    "the shared client": """
        import ldclient
        ldclient.set_config(ldclient.Config("key", offline=True))
        client = ldclient.get()
        assert ldclient.get() is client and client.variation("flag", ldclient.Context.create("anna"), 7) == 7
        client.close()""",
    "no client before the configuration": """
        import ldclient
        try:
            ldclient.get()
        except Exception as error:
            assert str(error) == "set_config was not called", error""",
    "a setting of the package": """
        import ldclient
        ldclient.start_wait = 11
        assert ldclient.start_wait == 11 and ldclient.LDClient and ldclient.start_wait == 11""",
    "a submodule first": """
        import ldclient.client
        client = ldclient.client.LDClient(ldclient.client.Config("key", offline=True))
        assert client.is_offline() and ldclient.LDClient is type(client) and ldclient.get
        client.close()""",
    "an integration first, which needs a name of the package": """
        from ldclient.integrations import Files
        import ldclient
        assert Files is ldclient.integrations.Files and ldclient.log is ldclient.impl.util.log""",
    "everything by a star": """
        from ldclient import *
        assert LDClient and Context is ours.Context""",
    "what it holds": """
        import ldclient
        assert {"LDClient", "get", "set_config", "start_wait"} <= set(dir(ldclient))""",
    "a name that it does not have": """
        import ldclient
        assert not hasattr(ldclient, "no_such_name") and not hasattr(ldclient, "no_such_name")
        try:
            from ldclient import no_such_name
        except ImportError as error:
            assert "no_such_name" in str(error)
        else:
            raise AssertionError""",
    "a patch, as in a test": """
        from unittest import mock
        with mock.patch("ldclient.get", return_value=42):
            import ldclient
            assert ldclient.get() == 42
        assert ldclient.get != 42""",
    "a pickle": """
        import pickle
        from ldclient import Context
        context = Context.builder("anna").set("groups", ["beta"]).build()
        assert pickle.loads(pickle.dumps(Context)) is Context and pickle.loads(pickle.dumps(context)) == context""",
    "reloading it": """
        import importlib, ldclient
        assert importlib.reload(ldclient) is ldclient and ldclient.get and ldclient.Context is ours.Context""",
    "many threads at once": """
        import threading
        start, found = threading.Barrier(16), []
        def use(number):
            start.wait()
            import ldclient, ldclient.client
            if number % 2:
                from ldclient.impl.util import log
            found.append((ldclient.LDClient, ldclient.client.LDClient, ldclient.get, sys.modules["ldclient"]))
        threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
        [each.start() for each in threads], [each.join() for each in threads]
        assert len(found) == 16 and len(set(found)) == 1, found""",
    "other packages that wait": """
        import semver, pyrfc3339
        from semver import VersionInfo
        assert VersionInfo is semver.Version and semver.compare("1.0.0", "2.0.0") == -1
        assert pyrfc3339.parse("2026-01-02T03:04:05Z").year == 2026
        from ldclient.impl.util import current_time_millis, redact_password
        assert abs(current_time_millis() - ours.EventFactory(False)._timestamp_fn()) < 60_000""",
    "what an event processor makes of LaunchDarkly's answer, after events were recorded": """
        import chalicelib.launchdarkly.events
        from types import SimpleNamespace
        from ldclient.client import LDClient
        from ldclient.impl.events.event_processor import EventDispatcher
        dispatcher = EventDispatcher.__new__(EventDispatcher)
        for status, is_disabled in ((202, False), (503, False), (401, True)):
            dispatcher._disabled = False
            headers = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
            dispatcher._handle_response(SimpleNamespace(status=status, headers=headers))
            assert (dispatcher._last_known_past_time, dispatcher._disabled) == (1767225600000, is_disabled)""",
    "asyncio, which nothing here touches": """
        assert "asyncio" not in sys.modules
        from asyncio.queues import QueueEmpty
        import asyncio
        assert QueueEmpty is asyncio.QueueEmpty and asyncio.run(asyncio.sleep(0, 42)) == 42""",
}


FORKS = """
import json, os
for line in sys.stdin:
    if (process := os.fork()) == 0:
        exec(json.loads(line))
        os._exit(0)
    print(os.waitpid(process, 0)[1], flush=True)
"""
"""What has entered the SDK, and goes on in a fork with each program that it is told; prints how that has ended."""


@pytest.fixture(scope="module")
def entered() -> Iterator[OwnProcess]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None}
    with OwnProcess([sys.executable, "-c", ENTER + FORKS], {"PYTHONDONTWRITEBYTECODE": "1"}, **pipes) as process:
        yield process


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_the_sdk_is_there_as_always_for_whoever_uses_it(entered: OwnProcess, use: str) -> None:
    entered.write_line(json.dumps(_dedented(use)))
    assert entered.read_line() == "0\n"


@pytest.mark.parametrize("use", [USES["the package's names are those of its modules"].replace("_Waiting", "")])
def test_nothing_changes_for_a_process_that_has_imported_the_sdk_already(use: str) -> None:
    _run("import ldclient, sys\n" + ENTER + _dedented(use))


def test_every_module_of_the_sdk_can_be_the_first_that_is_imported() -> None:
    """What it then gives is what it gives where the package was imported first: the same names, or the same error."""
    import_each = """
        import gc, importlib, json, os
        import asyncio, boto3, expiringdict, ld_eventsource, redis, urllib3  # once, and not by each module
        def outcome(name):
            try:
                module = importlib.import_module(name)
            except Exception as error:
                return type(error).__name__ + ": " + str(error)
            import ldclient
            assert ldclient.LDClient is importlib.import_module("ldclient.client").LDClient
            assert ldclient.Context is importlib.import_module("ldclient.context").Context
            return sorted(key for key in vars(module) if key != "__annotations__")
        gc.disable()  # in a fork it copies all that the process has, to find nothing
        outcomes = {}
        for name in NAMES:
            read, write = os.pipe()
            if os.fork() == 0:
                with os.fdopen(write, "w") as sink:
                    json.dump(outcome(name), sink)
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as source:
                outcomes[name] = json.loads(source.read())
            os.wait()
        print(json.dumps(outcomes))"""
    program = _dedented(import_each).replace("NAMES", repr(_modules_of_the_sdk()))

    entered, usual = _run(ENTER + program), _run("import ldclient\n" + program)

    assert len(usual) > 90
    for name in usual:
        # A module of ldclient.impl may hold a name more for what was imported after it.
        assert entered[name] == usual[name], name


def test_a_client_answers_where_the_sdk_has_moved_its_evaluator(tmp_path: Path) -> None:
    import ldclient

    folder = shutil.copytree(ldclient.__path__[0], tmp_path / "ldclient")
    (folder / "impl" / "evaluator.py").rename(folder / "impl" / "moved.py")
    for path in folder.rglob("*.py"):
        text = path.read_text()
        path.write_text(re.sub(r"from ldclient\.impl\.evaluator import", "from ldclient.impl.moved import", text))
    evaluate = """
        import json
        from chalicelib.events.recorder import EventRules, Recorder
        from chalicelib.launchdarkly.evaluators import evaluator_over
        from chalicelib.launchdarkly.sdk import Context
        from chalicelib.read.feature_stores import SnapshotFeatureStore
        left = []
        recorder = Recorder(lambda batches: left.extend(batches) or True, EventRules(flush_seconds=0.0))
        flag = {"key": "shiny", "version": 1, "on": True, "variations": [True], "fallthrough": {"variation": 0}}
        store = SnapshotFeatureStore({"features": {"shiny": json.dumps(flag).encode()}, "segments": {}})
        evaluator = evaluator_over(store, record=recorder.record)
        detail = evaluator.evaluate_flag("shiny", Context.create("anna"))
        recorder.end_invocation()
        print(json.dumps([type(evaluator).__name__, detail.value, detail.reason, len(left)]))"""
    ran = _run(_dedented(evaluate), PYTHONPATH=str(tmp_path))
    assert ran == ["ClientEvaluator", True, {"kind": "FALLTHROUGH"}, 1]


def _modules_of_the_sdk() -> list[str]:
    import ldclient

    folder = Path(ldclient.__path__[0])
    paths = [path.relative_to(folder.parent).with_suffix("") for path in sorted(folder.rglob("*.py"))]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def _dedented(code: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in code.strip("\n").splitlines())


def _run(program: str, **environment: str) -> Any:
    """What it prints, as JSON; it must not fail."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout else None
