"""A stage of .chalice/config.json, read as Chalice reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalice.config import Config

PROJECT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("api_handler", "on_event", "reconcile", "deliver_events")


class StageError(Exception):
    """A command cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Stage:
    """One stage of the project in ``folder``. Raises StageError where the configuration has no such stage."""

    name: str
    folder: Path = PROJECT

    def __post_init__(self) -> None:
        _ = self._config

    @property
    def app(self) -> str:
        """The app's name, which is also that of every stage's API."""
        return str(self._config["app_name"])

    @property
    def deployment(self) -> str:
        """``<app>-<stage>``, with which the name of every function begins."""
        return f"{self.app}-{self.name}"

    @property
    def api_stage(self) -> str:
        """API Gateway's stage, which the address ends with."""
        return str(self.setting("api_gateway_stage") or "api")

    def function_name(self, function: str) -> str:
        """On Lambda; Chalice gives the API's function no name of its own."""
        return self.deployment if function == "api_handler" else f"{self.deployment}-{function}"

    def environment(self, function: str = FUNCTIONS[0]) -> dict[str, str]:
        """The environment variables that ``function`` is deployed with."""
        variables: dict[str, str] = self._scoped(function).environment_variables
        return variables

    def setting(self, name: str, function: str = FUNCTIONS[0]) -> Any:
        """What Chalice reads for this key of its own: of the function, the stage or the whole app."""
        stage = self._config["stages"][self.name]
        scopes = [each for scope in (stage, self._config) for each in (_of_function(scope, function), scope)]
        return next((scope[name] for scope in scopes if name in scope), None)

    @property
    def functions_in_config(self) -> list[str]:
        """The functions that have settings of their own, of the stage or for all stages."""
        scopes = (self._config, self._config["stages"][self.name])
        return list(dict.fromkeys(name for scope in scopes for name in scope.get("lambda_functions", {})))

    def policy_file(self, function: str) -> Path:
        return self.folder / ".chalice" / (self._scoped(function).iam_policy_file or f"policy-{self.name}.json")

    @property
    def record_file(self) -> Path:
        """Where Chalice keeps what it has deployed, in this clone alone; tools/deployment.py writes it too."""
        return self.folder / ".chalice" / "deployed" / f"{self.name}.json"

    def _scoped(self, function: str) -> Config:
        return Config(chalice_stage=self.name, function_name=function, config_from_disk=self._config)

    @property
    def _config(self) -> dict[str, Any]:
        config = read_config(self.folder / ".chalice" / "config.json")
        if self.name not in config["stages"]:
            stages = ", ".join(config["stages"])
            raise StageError(f"There is no stage {self.name!r} in .chalice/config.json; it has: {stages}.")
        return config


def read_config(path: Path) -> dict[str, Any]:
    """Chalice's configuration, which has ``stages``. Raises StageError where it cannot be read as that."""
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise StageError("There is no .chalice/config.json here.") from None
    except json.JSONDecodeError as error:
        raise StageError(
            f".chalice/config.json is not valid JSON at line {error.lineno} column {error.colno}; "
            "is a comma missing in the line before?"
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("stages"), dict):
        raise StageError(".chalice/config.json has no 'stages'.")
    return config


def _of_function(scope: dict[str, Any], function: str) -> dict[str, Any]:
    settings: dict[str, Any] = scope.get("lambda_functions", {}).get(function, {})
    return settings
