"""A stage of .chalice/config.json, read as Chalice reads it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalice.config import Config

PROJECT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("api_handler", "on_event", "reconcile", "deliver_events")


class StageError(Exception):
    """A command cannot go on; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """`python -m tools.stages production`: whether there is such a stage."""
    parser = argparse.ArgumentParser(prog="stages", description="Say whether a stage is configured.")
    parser.add_argument("stage", help="a stage of .chalice/config.json")
    try:
        Stage(parser.parse_args(arguments).stage)
    except StageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True)
class Stage:
    """One stage of the project in ``folder``. Raises StageError where the configuration has no such stage."""

    name: str
    folder: Path = PROJECT

    def __post_init__(self) -> None:
        _ = self._config

    @property
    def deployment(self) -> str:
        """``<app>-<stage>``, with which the name of every function begins."""
        return f"{self._config['app_name']}-{self.name}"

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

    def url(self) -> str:
        """Where the API was deployed to, with a slash at its end. Raises StageError before the first deploy."""
        return self._deployed("rest_api_url")[0]

    def rest_api_id(self) -> str:
        """API Gateway's name of the API. Raises StageError before the first deploy."""
        return self._deployed("rest_api_id")[0]

    def deployed_functions(self) -> list[str]:
        """What Lambda calls the functions that were deployed. Raises StageError before the first deploy."""
        return [arn.rpartition(":")[2] for arn in self._deployed("lambda_arn")]

    def _deployed(self, name: str) -> list[str]:
        """Of each deployed resource that has it, what Chalice has written down of it. Raises StageError for nothing."""
        try:
            deployed = json.loads((self.folder / ".chalice" / "deployed" / f"{self.name}.json").read_text())
            values = [str(each[name]) for each in deployed.get("resources", []) if name in each]
        except (FileNotFoundError, json.JSONDecodeError):
            values = []
        if not values:  # it never was, or it was and then undeployed
            raise StageError(f"Stage {self.name!r} is not deployed from here: make deploy STAGE={self.name}")
        return values

    def _scoped(self, function: str) -> Config:
        return Config(chalice_stage=self.name, function_name=function, config_from_disk=self._config)

    @property
    def _config(self) -> dict[str, Any]:
        path = self.folder / ".chalice" / "config.json"
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
        if self.name not in config["stages"]:
            stages = ", ".join(config["stages"])
            raise StageError(f"There is no stage {self.name!r} in .chalice/config.json; it has: {stages}.")
        return config


def _of_function(scope: dict[str, Any], function: str) -> dict[str, Any]:
    settings: dict[str, Any] = scope.get("lambda_functions", {}).get(function, {})
    return settings


if __name__ == "__main__":
    sys.exit(main())
