"""Which tests run where coverage is asked for.

Measuring makes Python two to three times as slow. So `make test` does not, and `make coverage` leaves out dear files of
whose branches cheaper ones run all but a few, and what pytest does itself. What is left reaches the floor in
`pyproject.toml`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import chalicelib

FOLDERS = frozenset({"documents", "explorer", "infrastructure", "lambda", "tools"})
"""Left out whole. Their tests start processes, which are never measured, or run what is no part of the app."""

# Left out in the other folders. To see what a file is worth, take it out of the list and compare the percentage.
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
    """A plugin that leaves the other files out, and has pytest-cov measure nothing but tests."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage

    def pytest_configure(self, config: pytest.Config) -> None:
        """In a process of xdist, pytest-cov begins twice: whenever the second pauses, the first one would go on."""
        if is_worker(config):
            self.coverage.cov_controller.pause()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
        return True if is_test and not is_measured(collection_path) else None

    @pytest.hookimpl(trylast=True)  # pytest-cov starts measuring in the same hook
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """One process imports every module, measured: elsewhere, the first import may be that of any test."""
        if not is_worker(session.config):
            for module in pkgutil.walk_packages(chalicelib.__path__, "chalicelib."):
                importlib.import_module(module.name)
        self.coverage.cov_controller.pause()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> None:
        """The first test, in whichever process, ends the pause that collecting had."""
        if not self.coverage.cov_controller.started:
            self.coverage.cov_controller.resume()
