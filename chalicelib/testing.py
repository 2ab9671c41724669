"""Flags with the values that a test gives them, without a store, an environment or a network::

    from chalicelib.testing import override  # elsewhere: from serverless_flags.testing import override

    with override(new_pricing=True):
        take_orders(event)

In the block, all of ``flags``, ``one_revision`` too, knows these flags and no others. What is not overridden has
its default value, as a flag that does not exist; with ``strict=True`` it is an error.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import flags as _flags
from .launchdarkly.evaluators import evaluator_over
from .launchdarkly.sdk import FEATURES, SEGMENTS, Context, EvaluationDetail, VersionedDataKind
from .read.feature_stores import SnapshotFeatureStore
from .read.recent import Answers, StoredFlags

if TYPE_CHECKING:
    from ldclient.migrations import OpTracker, Stage

try:
    import pytest
except ImportError:  # nobody but the fixture needs it
    pytest = None  # type: ignore[assignment]

__all__ = ["FlagValue", "OverrideFlags", "UnknownFlag", "override"]

FlagValue = bool | int | float | str | list[Any] | dict[str, Any] | None
"""JSON (Any: JSON)."""


Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class UnknownFlag(AssertionError):
    """A flag was asked for that the test does not override, and the override is strict."""


def override(
    values: Mapping[str, FlagValue] | None = None, /, *, strict: bool | None = None, **named: FlagValue
) -> Override:
    """In the block, flags have these values for every context. Also a decorator, of functions and of coroutines.

    A name stands for the flag whose key it is with whatever separates words: ``new_pricing`` for ``new-pricing``,
    ``new_pricing`` or ``new.pricing``. ``values`` has keys exactly as they are. A block within another one adds to
    it and wins over it, and is strict if the outer one is, unless it says otherwise.

    It holds in this thread or task and in those that begin within the block. Threads that were there before see
    the block that was entered last. Raises TypeError for a value that is no JSON. In a strict block, ``flags`` raises
    UnknownFlag, and so does the block's end for what a client was asked for.
    """
    return Override(functools.partial(_overridden, values or {}, named, strict))


class Override(AbstractContextManager[None]):
    """A block, or as a decorator a block around each call."""

    def __init__(self, new_block: Callable[[], AbstractContextManager[None]]) -> None:
        self._new_block = new_block
        self._blocks: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        block = self._new_block()
        block.__enter__()
        self._blocks.append(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.pop().__exit__(kind, error, trace)

    def __call__(self, function: Decorated) -> Decorated:
        """Raises TypeError for what goes on after its call, or is no function: the values would not hold there."""
        if isinstance(function, type) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("override decorates functions and coroutines; elsewhere, write: with override(...)")
        around = self._around_coroutine if inspect.iscoroutinefunction(function) else self._around
        decorated: Decorated = around(function)
        return decorated

    def _around(self, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self._new_block():
                return function(*arguments, **named)

        return call

    def _around_coroutine(self, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        async def call(*arguments: Any, **named: Any) -> Any:
            with self._new_block():
                return await function(*arguments, **named)

        return call


@contextmanager
def _overridden(values: Mapping[str, FlagValue], named: Mapping[str, FlagValue], strict: bool | None) -> Iterator[None]:
    outer = _block.get()
    block = _Block(outer, values, named, strict)
    _flags._overrides = _current_answers
    _block.set(block)
    _entered.append(block)
    try:
        yield
    finally:
        _block.set(outer)
        _entered.remove(block)
    if block.unknown:
        raise _unknown(block.unknown)


_entered: list[_Block] = []
"""The blocks that the process is in, for threads that began outside of them."""


def _current_answers() -> Answers | None:
    block = _block.get() or (_entered[-1] if _entered else None)
    return None if block is None else block.answers


class _Block:
    """The flags of a block and of those around it."""

    def __init__(
        self, outer: _Block | None, values: Mapping[str, FlagValue], named: Mapping[str, FlagValue], strict: bool | None
    ) -> None:
        keys = {name: name.replace("_", "-") for name in named}
        inherited = {} if outer is None else outer._texts
        self._keys_by_name: dict[str, str] = {**({} if outer is None else outer._keys_by_name), **keys}
        self._texts: dict[str, bytes] = {
            **{key: text for key, text in inherited.items() if _name_of(key) not in named},
            **{keys[name]: _flag(keys[name], value) for name, value in named.items()},
            **{key: _flag(key, value) for key, value in values.items()},
        }
        self._is_strict: bool = (outer is not None and outer._is_strict) if strict is None else strict
        self.unknown: dict[str, None] = {}
        """What a strict block was asked for by a client, which keeps exceptions to itself."""
        self.answers = _Answers(self, _FeatureStore(self._texts, self))

    def key_of(self, asked: str) -> str:
        """The key under which there is such a flag, if there is one."""
        return asked if asked in self._texts else self._keys_by_name.get(_name_of(asked), asked)

    def refuses(self, asked: str) -> bool:
        """Whether it is an error to ask for this flag."""
        return self._is_strict and self.key_of(asked) not in self._texts


_block: ContextVar[_Block | None] = ContextVar("block", default=None)


class _FeatureStore(SnapshotFeatureStore):
    def __init__(self, texts: Mapping[str, bytes], block: _Block) -> None:
        super().__init__({FEATURES.namespace: texts, SEGMENTS.namespace: {}})
        self._block = block

    def get(self, kind: VersionedDataKind, key: str) -> Any:
        if kind is not FEATURES:
            return None
        if self._block.refuses(key):
            self._block.unknown[key] = None
        return super().get(kind, self._block.key_of(key))


class _Answers(StoredFlags):
    def __init__(self, block: _Block, feature_store: _FeatureStore) -> None:
        super().__init__(feature_store, evaluator_over(feature_store))
        self._block = block

    def variation(self, key: str, context: Context, default: Any) -> Any:
        self._check(key)
        return super().variation(key, context, default)

    def variation_detail(self, key: str, context: Context, default: Any) -> EvaluationDetail:
        self._check(key)
        return super().variation_detail(key, context, default)

    def migration_variation(self, key: str, context: Context, default_stage: Stage) -> tuple[Stage, OpTracker]:
        self._check(key)
        return super().migration_variation(key, context, default_stage)

    def _check(self, key: str) -> None:
        if self._block.refuses(key):
            raise _unknown([key])


def _unknown(keys: Iterable[str]) -> UnknownFlag:
    named = ", ".join(map(repr, keys))
    return UnknownFlag(f"The test overrides no flag {named}; add it to override(...), or leave strict out.")


def _name_of(key: str) -> str:
    """How a key is written as a name."""
    return key.replace("-", "_").replace(".", "_")


def _flag(key: str, value: FlagValue) -> bytes:
    """The JSON of a flag that has this value for everybody."""
    try:
        text = json.dumps(
            {
                "key": key,
                "version": 1,
                "on": True,
                "variations": [value],
                "fallthrough": {"variation": 0},
                "offVariation": 0,
                "clientSide": True,
            }
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"The flag {key!r} is overridden with what is no JSON: {error}.") from None
    return text.encode()


class OverrideFlags(Protocol):
    """What the fixture ``override_flags`` is: overrides flags until the end of the test, as ``override`` does."""

    def __call__(
        self, values: Mapping[str, FlagValue] | None = None, /, *, strict: bool | None = None, **named: FlagValue
    ) -> None: ...


if pytest is not None:

    @pytest.fixture
    def override_flags() -> Iterator[OverrideFlags]:
        """Flags have the values that the test gives them, ``override_flags(new_pricing=True)``; before that, none.

        A ``conftest.py`` takes it with ``pytest_plugins = ["chalicelib.testing"]``.
        """
        with ExitStack() as stack:
            stack.enter_context(override())

            def override_until_the_end(
                values: Mapping[str, FlagValue] | None = None, /, *, strict: bool | None = None, **named: FlagValue
            ) -> None:
                stack.enter_context(override(values, strict=strict, **named))

            yield override_until_the_end
