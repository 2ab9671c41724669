"""Modules that a cold start should not pay for, imported when somebody first uses them.

The SDK imports these at its top, for its asynchronous client and for its connections; an evaluation in
daemon mode uses neither. While the SDK is imported, a stand-in takes the module's name, and the SDK's modules
keep it. Asked for anything, it imports the real one and gives what that has. After that time the name is
free again: whoever else imports the module, or one below it, gets the real one, as if nothing had happened.
(``importlib.util.LazyLoader`` is meant for this, but a second ``import`` statement already makes it load.)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

UNUSED_BY_EVALUATIONS = ("asyncio", "certifi")


@contextmanager
def defer_imports(names: tuple[str, ...] = UNUSED_BY_EVALUATIONS) -> Iterator[None]:
    """In this block, each of these modules that is not imported yet waits for its first use.

    What is imported in the block must not import a module below one of them: that would be loaded twice.
    """
    stand_ins = {name: _StandIn(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class _StandIn(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)
