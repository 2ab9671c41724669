"""The example of an order service, put into a copy of the project as examples/orders/README.md tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.support.data import PROJECT

ORDERS = PROJECT / "examples" / "orders"


def add_orders(project: Path) -> None:
    """The end of app.py, the settings, the policies, and a module."""
    with (project / "app.py").open("a") as app:
        app.write((ORDERS / "app.py").read_text())
    shutil.copy(ORDERS / "chalicelib" / "order_prices.py", project / "chalicelib")
    for policy in (ORDERS / ".chalice").glob("policy-*.json"):
        shutil.copy(policy, project / ".chalice")
    path = project / ".chalice" / "config.json"
    added = json.loads((ORDERS / ".chalice" / "config.json").read_text())
    path.write_text(json.dumps(_merged(json.loads(path.read_text()), added), indent=2))


def _merged(config: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    return {
        **config,
        **{
            name: _merged(config.get(name, {}), value) if isinstance(value, dict) else value
            for name, value in added.items()
        },
    }
