"""Which tests are measured by coverage, where it is asked for.

To measure makes Python up to three times as slow. So the tests that are dear, and of whose branches cheaper ones run
all but a few, are not measured, and neither is what pytest itself does: those would be a third of the time of
`make test`. The floor in `pyproject.toml` is that of the tests that are left.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import chalicelib

FOLDERS = frozenset({"documents", "explorer", "infrastructure", "lambda", "tools"})
"""Their tests start processes, which are not measured in any case, or run `tools/`."""

FILES = {
    "http": {
        *("test_arbitrary_json", "test_budget", "test_cors", "test_etag", "test_hostile_requests", "test_local_server"),
        *("test_ofrep", "test_openapi", "test_parity", "test_requests", "test_run_local", "test_webhook"),
    },
    "read": {"test_torn_reads"},
    "refresh": {"test_burst", "test_killed", "test_leaks"},
    "stores": {
        *("test_dynamodb_burst", "test_dynamodb_faults", "test_dynamodb_format", "test_dynamodb_limits"),
        *("test_lost_records", "test_other_versions", "test_stopped_writers", "test_two_versions"),
        "test_unreadable_items",
    },
    "unit": {"test_evaluators"},
}


def is_measured(path: Path) -> bool:
    folder = path.parent.name
    return folder not in FOLDERS and path.stem not in FILES.get(folder, ())


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


class Measured:
    """A plugin that has pytest-cov pause but for the tests above."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage

    def pytest_configure(self, config: pytest.Config) -> None:
        """In a process of xdist, pytest-cov begins twice, and what began first would go on while the second pauses."""
        if is_worker(config):
            self.coverage.cov_controller.pause()

    @pytest.hookimpl(trylast=True)  # pytest-cov starts measuring in the same hook
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """One process imports every module, measured. In others a test that is not measured may be the first to."""
        if not is_worker(session.config):
            for module in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
                importlib.import_module(module.name)
        self.coverage.cov_controller.pause()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        controller = self.coverage.cov_controller
        if is_measured(item.path) != controller.started:
            (controller.pause if controller.started else controller.resume)()
        return (yield)
