"""A stage of .chalice/config.json, read as Chalice reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalice.config import Config

PROJECT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("api_handler", "on_event", "reconcile")


class StageError(Exception):
    """A command cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Stage:
    """One stage of the project in ``folder``. Raises StageError where the configuration has no such stage."""

    name: str
    folder: Path = PROJECT

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

    def policy_file(self, function: str) -> Path:
        return self.folder / ".chalice" / (self._scoped(function).iam_policy_file or f"policy-{self.name}.json")

    def url(self) -> str:
        """Where the API was deployed to, with a slash at its end. Raises StageError before the first deploy."""
        try:
            deployed = json.loads((self.folder / ".chalice" / "deployed" / f"{self.name}.json").read_text())
        except FileNotFoundError:
            raise StageError(f"Stage {self.name!r} is not deployed from here: make deploy STAGE={self.name}") from None
        return next(str(each["rest_api_url"]) for each in deployed["resources"] if "rest_api_url" in each)

    def _scoped(self, function: str) -> Config:
        return Config(chalice_stage=self.name, function_name=function, config_from_disk=self._config)

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / ".chalice" / "config.json").read_text())
        if self.name not in config["stages"]:
            stages = ", ".join(config["stages"])
            raise StageError(f"There is no stage {self.name!r} in .chalice/config.json; it has: {stages}.")
        return config
