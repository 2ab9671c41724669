"""An IAM policy in a file, and whether it allows what a function does. Pure but for reading the file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tools.stages import StageError


@dataclass(frozen=True)
class Needed:
    """Actions on one resource, ``table/flags`` or ``*``; its region and account are those of the deployment."""

    actions: tuple[str, ...]
    resource: str


def name_of_table(said: str) -> str:
    """As policies have it; a setting may say the table's name or its ARN."""
    return said.rpartition("/")[2]


class Policy:
    """Raises StageError where the file is no policy."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            document = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise StageError(f"{path.name} is not valid JSON at line {error.lineno} column {error.colno}.") from None
        statements = document.get("Statement") if isinstance(document, dict) else None
        self._statements = [each for each in _listed(statements) if isinstance(each, dict)]
        if not self._statements:
            raise StageError(f"{path.name} has no Statement.")

    def allows(self, needed: Needed, region: str | None) -> bool:
        """Whether each action is allowed on the resource. A statement with conditions counts as if they were met."""
        return all(
            any(each.get("Effect") == "Allow" and _covers(each, action, needed, region) for each in self._statements)
            for action in needed.actions
        )


def _covers(statement: dict[str, Any], action: str, needed: Needed, region: str | None) -> bool:
    actions = [pattern.lower() for pattern in _listed(statement.get("Action"))]
    if not any(fnmatchcase(action.lower(), pattern) for pattern in actions):
        return False
    service = action.partition(":")[0]
    return any(_names(pattern, service, needed.resource, region) for pattern in _listed(statement.get("Resource")))


def _names(pattern: str, service: str, resource: str, region: str | None) -> bool:
    """Whether an ARN with wildcards names the resource. Its partition and account are not known here: any will do."""
    parts = pattern.split(":", 5)
    if len(parts) < 6:
        return fnmatchcase(f"arn:aws:{service}:{region or ''}::{resource}", pattern)
    if region is not None and not fnmatchcase(region, parts[3]):
        return False
    return fnmatchcase(service, parts[2]) and fnmatchcase(resource, parts[5])


def _listed(value: Any) -> list[Any]:
    """IAM takes one thing for a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]
