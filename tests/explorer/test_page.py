"""The explorer page in a real browser, over the local stage as `make run` serves it and as a deployed app would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.app import App, LoadApp
from tests.support.browser import WatchedPage, watched_page
from tests.support.chalice_local import chalice_local
from tests.support.data import EXAMPLES, boolean_flag, by_key
from tests.support.local_stage import LocalStage, local_stage

HOSTILE = "<img src=x onerror=\"console.error('run')\">"
TOKEN = "token-of-the-tests"


@pytest.fixture(scope="module")
def flag_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, a flag that would be a page of its own, and one with a long value."""
    file = tmp_path_factory.mktemp("explorer") / "flags.json"
    data = json.loads(EXAMPLES.read_text())
    data["flags"].update(by_key(boolean_flag(HOSTILE, variations=[HOSTILE, "harmless"])))
    data["flags"].update(by_key(boolean_flag("long-value", variations=["x" * 5000, ""])))
    file.write_text(json.dumps(data, indent=2) + "\n")
    return file


@pytest.fixture(scope="module")
def stage(flag_file: Path) -> Iterator[LocalStage]:
    with local_stage({"LAUNCHDARKLY_FLAG_FILE": str(flag_file)}) as stage:
        yield stage


@pytest.fixture
def tab(browser: Browser) -> Iterator[WatchedPage]:
    """In the end it must have complained about nothing."""
    with watched_page(browser) as tab:
        yield tab
        assert tab.complaints == []


def open_page(tab: WatchedPage, stage: LocalStage) -> Page:
    tab.page.goto(stage.url)
    expect(row(tab.page, "banner-text")).to_be_visible()
    return tab.page


def row(page: Page, key: str) -> Locator:
    return page.locator(f"tr[data-flag={json.dumps(key)}]")


def value(page: Page, key: str) -> Locator:
    return row(page, key).locator("[data-value]")


def use_context(page: Page, context: dict[str, Any], label: str = "Context") -> None:
    page.get_by_label(label, exact=True).fill(json.dumps(context))


def test_a_context_changes_a_value_and_a_switch_changes_the_file(
    tab: WatchedPage, stage: LocalStage, flag_file: Path
) -> None:
    before = flag_file.read_text()
    page = open_page(tab, stage)
    expect(value(page, "banner-text")).to_have_text('"Kostenloser Versand diese Woche"')
    expect(row(page, "banner-text").locator("[data-reason]")).to_have_text("rule 1 (german) matched")

    use_context(page, {"kind": "user", "key": "amelie", "country": "FR"})
    expect(value(page, "banner-text")).to_have_text('"Livraison gratuite cette semaine"')

    expect(value(page, "maintenance-mode")).to_have_text("false")
    page.get_by_role("switch", name="maintenance-mode is on").click()
    expect(value(page, "maintenance-mode")).to_have_text("true")
    page.reload()
    expect(value(page, "maintenance-mode")).to_have_text("true")
    expect(page.get_by_role("switch", name="maintenance-mode is on")).to_be_checked()
    expect(value(page, "banner-text")).to_have_text('"Livraison gratuite cette semaine"')

    start = before.index('"maintenance-mode": {')
    changed = before[start:].replace('"version": 12', '"version": 13', 1).replace('"on": false', '"on": true', 1)
    assert flag_file.read_text() == before[:start] + changed
    assert tab.requested_elsewhere(stage.url) == []


def test_a_flag_says_why_and_its_default_rule_can_be_picked(tab: WatchedPage, stage: LocalStage) -> None:
    page = open_page(tab, stage)
    use_context(page, {"kind": "user", "key": "ben", "country": "IT"})
    page.get_by_role("button", name="banner-text").click()
    detail = page.locator('tr[data-detail="banner-text"]')
    expect(
        detail.get_by_text("Rule 1 (german) did not match: country is not one of DE, AT, CH (it is IT).")
    ).to_be_visible()
    expect(detail.locator("li.decides")).to_have_text(
        "No rule matched, so the default rule applies: the flag serves variation 0, Free shipping this week."
    )
    page.get_by_label("Default rule serves").select_option("2")
    expect(value(page, "banner-text")).to_have_text('"Livraison gratuite cette semaine"')
    expect(value(page, "banner-text")).to_have_class("changed")
    page.get_by_label("Default rule serves").select_option("0")
    expect(value(page, "banner-text")).to_have_text('"Free shipping this week"')


def test_two_contexts_stand_side_by_side(tab: WatchedPage, stage: LocalStage) -> None:
    page = open_page(tab, stage)
    page.get_by_label("Compare with another context").check()
    use_context(page, {"key": "anna", "email": "anna@example.com", "custom": {"country": "AT"}})
    use_context(page, {"kind": "user", "key": "blocked-customer"}, "Other context")
    page.get_by_label("Only differences").check()
    expect(row(page, "new-checkout").locator("td code")).to_have_text(["true", "false"])
    expect(row(page, "organization-sso")).to_have_count(0)
    page.get_by_role("button", name="new-checkout").click()
    expect(page.get_by_role("heading", name="Why, for the other context")).to_be_visible()
    expect(page.get_by_text("The user blocked-customer is targeted individually")).to_be_visible()


def test_what_is_no_context_is_said_where_it_stands(browser: Browser, stage: LocalStage) -> None:
    with watched_page(browser) as tab:
        page = open_page(tab, stage)
        page.get_by_label("Context", exact=True).fill('{"key": ')
        expect(page.locator("#message-a")).to_contain_text("Not JSON")
        use_context(page, {"kind": "user"})
        expect(page.locator("#message-a")).to_contain_text("Invalid context")


def test_it_works_by_keyboard_in_the_dark_and_on_a_phone(browser: Browser, stage: LocalStage) -> None:
    with watched_page(browser, viewport={"width": 360, "height": 700}, color_scheme="dark") as tab:
        page = open_page(tab, stage)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
        page.get_by_label("Filter flags by key").focus()
        page.keyboard.type("internal")
        expect(page.locator("tr[data-flag]")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator('tr[data-detail="internal-tools"] li').first).to_have_text("Targeting is on.")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        expect(page.get_by_role("switch", name="internal-tools is on")).not_to_be_checked()
        page.keyboard.press("Space")
        expect(page.get_by_role("switch", name="internal-tools is on")).to_be_checked()
        assert tab.complaints == []


def test_what_flags_hold_is_text_and_nothing_else(tab: WatchedPage, stage: LocalStage) -> None:
    page = open_page(tab, stage)
    expect(value(page, HOSTILE)).to_have_text(json.dumps(HOSTILE))
    expect(page.locator("img")).to_have_count(0)
    assert tab.requested_elsewhere(stage.url) == []


@pytest.fixture
def deployed(load_app: LoadApp, valkey: redis.Redis, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of an app that asks for a token and cannot change a flag."""
    environment = {
        "REDIS_URL": redis_url,
        "LAUNCHDARKLY_FLAG_FILE": str(EXAMPLES),
        "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "EXPLORER": "on",
    }
    app: App = load_app(environment)
    app.invoke("reconcile", {})
    with chalice_local(environment, tmp_path) as server:
        yield server.url


def test_a_deployed_page_shows_nothing_without_the_token(browser: Browser, deployed: str) -> None:
    with watched_page(browser) as tab:
        page = tab.page
        page.goto(deployed)
        expect(page.locator("#message")).to_have_text(
            "A token is required: send it as 'Authorization: Bearer <token>' or 'X-API-Key: <token>'."
        )
        expect(page.locator("tr[data-flag]")).to_have_count(0)
        page.get_by_label("Token").fill(TOKEN)
        expect(value(page, "banner-text")).to_have_text('"Kostenloser Versand diese Woche"')
        expect(page.get_by_role("switch")).to_have_count(0)
        assert tab.requested_elsewhere(deployed) == []


def test_a_long_value_leaves_the_other_columns_their_room(tab: WatchedPage, stage: LocalStage) -> None:
    page = open_page(tab, stage)
    for heading in ("Flag", "State", "Reason"):
        box = page.get_by_role("columnheader", name=heading, exact=True).bounding_box()
        assert box is not None
        assert (box["width"] >= 80, box["height"] < 60) == (True, True), heading
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_page_whose_app_or_store_is_away_says_so(browser: Browser, tmp_path: Path) -> None:
    with (
        chalice_local(
            {"EXPLORER": "on", "EVALUATE_AUTH": "none", "REDIS_URL": "redis://127.0.0.1:1"}, tmp_path
        ) as server,
        watched_page(browser) as tab,
    ):
        tab.page.goto(server.url)
        expect(tab.page.locator("#status strong").first).to_have_text("unavailable")
        expect(tab.page.locator("#message")).to_contain_text("cannot be reached")
        tab.page.route("**/status", lambda route: route.abort())
        tab.page.get_by_role("button", name="Reload").click()
        expect(tab.page.locator("#status strong").first).to_have_text("not known")
        expect(tab.page.locator("#message")).to_have_text("The app cannot be reached.")
