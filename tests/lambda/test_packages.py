"""What `chalice package` makes of every stage: valid templates with the settings that were meant."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.data import PROJECT

STAGES = list(json.loads((PROJECT / ".chalice" / "config.json").read_text())["stages"])
READS = {"dynamodb:GetItem", "dynamodb:Query"}
MEMBERS = {"dynamodb:BatchGetItem"}
WRITES = {"dynamodb:BatchWriteItem", "dynamodb:UpdateItem"}
ADDS = {"dynamodb:PutItem"}
TAKES = {f"dynamodb:{name}" for name in ("GetItem", "Query", "DeleteItem", "UpdateItem")}
SIZES = {"api_handler": (1024, 30), "on_event": (1024, 60), "reconcile": (512, 60), "deliver_events": (256, 60)}
"""Of the project's own functions: memory and time-out; there may be others."""
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}


Package = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def package(packaged: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Packages a copy of the project for a stage, in a format; the folder of the result."""
    project = shutil.copytree(packaged, tmp_path_factory.mktemp("project") / "copy")

    def package(stage: str, package_format: str) -> Path:
        out = project / f"{package_format}-{stage}"
        chalice = [str(programs / "chalice"), "package", "--stage", stage, "--pkg-format", package_format, str(out)]
        environment = {**os.environ, "AWS_DEFAULT_REGION": "eu-central-1"}
        subprocess.run(chalice, cwd=project, env=environment, check=True, capture_output=True)
        return out

    return package


@pytest.mark.parametrize("stage", STAGES)
def test_a_cloudformation_template_of_every_stage_is_valid(stage: str, package: Package) -> None:
    assert complaints_about(package(stage, "cloudformation") / "sam.json") == []


def test_the_template_is_still_valid_once_it_is_mended(packaged: Path) -> None:
    assert complaints_about(packaged / "out" / "sam.json") == []


def complaints_about(template: Path) -> list[Any]:
    """What cfn-lint, which has SAM's transform run first, finds in the template."""
    from cfnlint.api import lint_file

    found: list[Any] = lint_file(template)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_terraform_package_of_every_stage_has_the_projects_functions(stage: str, package: Package) -> None:
    template = json.loads((package(stage, "terraform") / "chalice.tf.json").read_text())
    functions = template["resource"]["aws_lambda_function"]
    sizes = {name: (function["memory_size"], function["timeout"]) for name, function in functions.items()}
    assert {name: sizes[name] for name in SIZES} == SIZES
    policies = template["resource"]["aws_iam_role_policy"]
    assert {name: _actions(policies[name]) for name in _expected_actions(stage)} == _expected_actions(stage)


def _actions(role_policy: dict[str, Any]) -> set[str]:
    return {action for statement in json.loads(role_policy["policy"])["Statement"] for action in statement["Action"]}


def _expected_actions(stage: str) -> dict[str, set[str]]:
    if stage == "local":
        return dict.fromkeys((f"{name}_role" for name in SIZES), LOGS)
    return {
        "api_handler_role": LOGS | READS | MEMBERS | WRITES | ADDS | {"ssm:GetParameter"},
        "on_event_role": LOGS | READS | MEMBERS | ADDS,
        "reconcile_role": LOGS | READS | WRITES | {"ssm:GetParameter"},
        "deliver_events_role": LOGS | TAKES | {"ssm:GetParameter"},
    }
