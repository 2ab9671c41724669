"""Modules that wait: they are there for whoever imports them, and run when somebody first uses them.

A cold start should not pay for what an evaluation never touches. A module that waits is the very object
that it will be: the same in ``sys.modules`` before and after, its submodules can be imported meanwhile,
and asked for any name that it does not have yet, it runs its own code, in place, once.

(``importlib.util.LazyLoader`` is meant for this, but a second ``import`` statement already makes it run.)
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_locks: dict[str, threading.RLock] = {}
"""One for each module that waits. One for all would meet Python's own, which are one for each module, crosswise."""
_running: set[str] = set()
"""The modules whose code is running, each in the thread that holds its lock."""


def defer(name: str) -> None:
    """Let the module wait, unless somebody has imported it already, or there is none.

    Importing a submodule does not make a package run.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Waiting
    _locks[name] = threading.RLock()
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


@contextmanager
def lending(name: str, **values: object) -> Iterator[None]:
    """In the block, a module that waits has these names, and whoever takes them from it does not make it run.

    They must do for him what those of the module itself would do; nobody else ever sees them.
    """
    names = vars(sys.modules[name]) if type(sys.modules.get(name)) is _Waiting else {}
    names.update(values)
    try:
        yield
    finally:
        for each, value in values.items():
            if names.get(each) is value:
                del names[each]


def give(name: str, **values: object) -> None:
    """A module that waits has these names from now on: the very values that its own code will give them."""
    if type(sys.modules.get(name)) is _Waiting:
        vars(sys.modules[name]).update(values)


class _Waiting(ModuleType):
    """Until its code has run; then it is an ordinary module."""

    def __getattr__(self, name: str) -> Any:  # Python asks here only for what is not there
        # Every import statement asks for __path__, which says whether this is a package: its spec has said so.
        if name == "__path__" or not _complete(self):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        is_submodule = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if not is_submodule:  # Python itself sets those
            _complete(self)
        ModuleType.__setattr__(self, name, value)  # not by super(): it is no _Waiting any more

    def __delattr__(self, name: str) -> None:
        _complete(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        _complete(self)
        return list(ModuleType.__dir__(self))


def _complete(module: ModuleType) -> bool:
    """Run the module's code, unless it has run; False inside that very code. An exception leaves it waiting."""
    name, spec = module.__name__, module.__spec__
    with _locks[name]:
        if type(module) is not _Waiting:
            return True
        if name in _running:
            return False
        assert spec is not None  # it was made from one
        assert spec.loader is not None
        _running.add(name)
        try:
            spec.loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            _running.remove(name)
        return True
