"""Flags overridden in a test: every way to ask, nested, in threads and tasks, and without anything to ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ldclient.context import Context
from ldclient.migrations import Stage

import chalicelib.wiring
from chalicelib import flags
from chalicelib.testing import UnknownFlag, override

pytest_plugins = ["pytester"]

USER = {"kind": "user", "key": "anna"}
ANNA = Context.create("anna")


@pytest.fixture(autouse=True)
def nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for the parts of the process fails."""
    monkeypatch.setattr(chalicelib.wiring, "wiring", None)


def shiny() -> Any:
    return flags.variation("shiny", USER, "default")


def test_every_function_and_a_client_know_the_value() -> None:
    with override(new_pricing="live"):
        assert flags.variation("new-pricing", USER, default="off") == "live"
        detail = flags.variation_detail("new-pricing", ANNA, "off")
        assert (detail.value, detail.variation_index, detail.reason) == ("live", 0, {"kind": "FALLTHROUGH"})
        assert flags.all_flags_state(USER).to_values_map() == {"new-pricing": "live"}
        assert flags.all_flags_state(USER, client_side_only=True).to_values_map() == {"new-pricing": "live"}
        assert flags.migration_variation("new-pricing", USER, Stage.OFF)[0] is Stage.LIVE
        with flags.one_revision() as client:
            assert client.variation("new-pricing", ANNA, "off") == "live"
            assert client.all_flags_state(ANNA).to_values_map() == {"new-pricing": "live"}
    assert client.variation("new-pricing", ANNA, "off") == "live", "a client that is kept keeps its answers"


@pytest.mark.parametrize("value", [True, False, 0, 3, 0.5, "", "größe", [], [1, [None]], {}, {"a": {"b": 1}}, None])
def test_a_value_is_any_json(value: Any) -> None:
    with override(shiny=value):
        assert shiny() == value
        assert type(shiny()) is type(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_a_value_that_is_no_json_is_refused_at_once(value: Any) -> None:
    with pytest.raises(TypeError, match="The flag 'new-pricing' is overridden with what is no JSON"):  # noqa: SIM117
        with override(new_pricing=value):
            pytest.fail("entered")


@pytest.mark.parametrize("key", ["new-pricing", "new_pricing", "new.pricing"])
def test_a_name_is_the_key_with_whatever_separates_its_words(key: str) -> None:
    with override(new_pricing=True, strict=True):
        assert flags.variation(key, USER, default=False) is True
        with flags.one_revision() as client:
            assert client.variation(key, ANNA, False) is True


def test_a_key_is_taken_exactly_as_it_is() -> None:
    with override({"new_pricing": True, "strict": 3}):
        assert flags.variation("new_pricing", USER, default=False) is True
        assert flags.variation("new-pricing", USER, default=False) is False
        assert flags.variation("strict", USER, default=0) == 3


def test_an_invalid_context_has_the_default_as_ever() -> None:
    with override(shiny=True):
        assert flags.variation("shiny", {"kind": "user"}, default=False) is False


def test_an_inner_block_adds_and_wins_and_ends() -> None:
    with override({"kept": 1}, shiny="outer", other="outer"):
        with override({"shiny": "exact"}):
            assert shiny() == "exact"
            with override(shiny="inner"):
                assert shiny() == "inner"
                assert flags.variation("other", USER, "default") == "outer"
                assert flags.all_flags_state(USER).to_values_map() == {"kept": 1, "shiny": "inner", "other": "outer"}
            assert shiny() == "exact"
        with pytest.raises(RuntimeError), override(shiny="inner"):
            raise RuntimeError
        assert shiny() == "outer"


@override(shiny=True)
def test_it_is_a_decorator_too() -> None:
    assert shiny() is True


def test_it_decorates_coroutines_as_well_and_holds_until_they_end() -> None:
    @override(shiny=True)
    async def ask() -> Any:
        await asyncio.sleep(0)
        return shiny()

    assert asyncio.run(ask()) is True
    assert asyncio.run(ask()) is True
    with override(strict=True), pytest.raises(UnknownFlag):
        shiny()


def test_what_it_would_not_hold_in_cannot_be_decorated() -> None:
    def generator() -> Iterator[Any]:
        yield shiny()

    async def asynchronous_generator() -> AsyncIterator[Any]:
        yield shiny()

    class TestOfAClass:
        pass

    for each in (generator, asynchronous_generator, TestOfAClass):
        with pytest.raises(TypeError, match=r"decorates functions and coroutines; elsewhere, write: with override"):
            override(shiny=True)(each)


def test_what_is_not_overridden_has_its_default_or_is_an_error() -> None:
    with override():
        assert shiny() == "default"
    with override(strict=True):
        for ask in (
            shiny,
            lambda: flags.variation_detail("shiny", USER, 1),
            lambda: flags.migration_variation("shiny", USER, Stage.OFF),
        ):
            with pytest.raises(UnknownFlag, match="The test overrides no flag 'shiny'; add it to override"):
                ask()
        with pytest.raises(UnknownFlag), override(other=1):
            shiny()
        with override(strict=False):
            assert shiny() == "default"


def test_what_a_client_is_asked_for_in_vain_is_an_error_at_the_end_of_the_block() -> None:
    @override(known=True, strict=True)
    def code_under_test() -> None:
        with flags.one_revision() as client:
            for key in ("known", "shiny", "other", "shiny"):
                client.variation(key, ANNA, "default")

    with pytest.raises(UnknownFlag, match="no flag 'shiny', 'other'"):
        code_under_test()


def test_threads_and_tasks_that_begin_in_the_block_are_in_it() -> None:
    async def ask() -> Any:
        return shiny()

    with override(shiny=True):
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(shiny).result() is True
        assert asyncio.run(ask()) is True


def test_threads_and_tasks_have_blocks_of_their_own() -> None:
    barrier = threading.Barrier(2)

    def ask(value: int) -> list[Any]:
        with override(shiny=value):
            barrier.wait(60)
            values = [shiny()]
            barrier.wait(60)
        return values

    async def ask_in_turns(value: int) -> Any:
        with override(shiny=value):
            await asyncio.sleep(0)
            return shiny()

    async def both() -> list[Any]:
        return list(await asyncio.gather(ask_in_turns(1), ask_in_turns(2)))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, [1, 2])) == [[1], [2]]
    assert asyncio.run(both()) == [1, 2]


def test_the_fixture_overrides_until_the_end_of_a_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["chalicelib.testing"]')
    pytester.makepyfile(
        """
        from chalicelib import flags

        def shiny():
            return flags.variation("shiny", {"key": "anna"}, "default")

        def test_one(override_flags):
            assert shiny() == "default"
            override_flags(shiny=1)
            override_flags({"other": 2})
            assert (shiny(), flags.variation("other", {"key": "anna"}, 0)) == (1, 2)

        def test_two(override_flags):
            assert shiny() == "default"

        def test_strict(override_flags):
            override_flags(strict=True)
            shiny()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*UnknownFlag: The test overrides no flag 'shiny'*"])
