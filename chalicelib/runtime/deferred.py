"""Modules that a cold start should not pay for, imported when somebody first uses them.

The SDK imports these at its top, for its asynchronous client and for its connections; an evaluation in
daemon mode uses neither. A stand-in takes the module's name and, asked for anything, makes way for the
real one. (``importlib.util.LazyLoader`` is meant for this, but a second ``import`` statement already makes
it load.)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

UNUSED_BY_EVALUATIONS = ("asyncio", "certifi")


def defer_imports(names: tuple[str, ...] = UNUSED_BY_EVALUATIONS) -> None:
    """Let each of these modules, unless it is imported already, wait for its first use."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _StandIn(name)


class _StandIn(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)
