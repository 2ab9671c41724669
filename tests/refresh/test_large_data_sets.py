"""A large environment is refreshed by a function that has the time, with the share of a processor that it gets."""

from __future__ import annotations

import json
import subprocess
import time

from tests.support.app import Environment
from tests.support.data import boolean_flag, by_key
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.processes import PYTHON, OwnProcess

FLAGS = 20_000
PERIOD_SECONDS, RUNS_SECONDS = 0.1, 0.03
RECONCILE = """
import json, sys
answers, sys.stdout = sys.stdout, sys.stderr
from chalice.local import LambdaContext
import app, redis, chalicelib.refresh.refresher, chalicelib.refresh.fetch
print("ready", file=answers, flush=True)
answer = app.reconcile({}, LambdaContext("reconcile", 512, max_runtime_ms=60_000))
print(json.dumps(answer), file=answers, flush=True)
"""


def test_a_reconcile_stores_20000_flags_with_three_tenths_of_a_processor(
    environment: Environment, launchdarkly: FakeLaunchDarkly
) -> None:
    """As much as a function of 512 MB has."""
    launchdarkly.replace(by_key(*(boolean_flag(f"flag-{number}", description="x" * 300) for number in range(FLAGS))))
    command = [PYTHON, "-c", RECONCILE]
    with OwnProcess(command, environment, stdout=subprocess.PIPE, stderr=None) as process:
        assert process.read_line() == "ready\n"
        while process.is_running:
            let_run(process)
        answer = json.loads(process.read_line())
    assert (answer["status"], answer["flags"]) == ("refreshed", FLAGS)


def let_run(process: OwnProcess) -> None:
    """For one period, three tenths of it. On a busy machine it may get no more than that without being frozen."""
    begun, had_seconds = time.monotonic(), process.processor_seconds
    while time.monotonic() - begun < PERIOD_SECONDS and process.processor_seconds - had_seconds < RUNS_SECONDS:
        time.sleep(0.005)
    process.freeze()
    time.sleep(max(0.0, begun + PERIOD_SECONDS - time.monotonic()))
    process.thaw()
