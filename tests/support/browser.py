"""A real browser, Debian's Chromium, driven by Playwright, which tells all that a page requests and complains about.

``python -m tests.support.browser URL FILE`` takes the picture of the explorer page in the README.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every test process imports this module, and few need Playwright
    from playwright.sync_api import Browser, ConsoleMessage, Page

_PATIENCE_MS = 60_000
"""How long a page may take for what it must do, on a machine that is very busy."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ON_MACOS = ("Chromium.app/Contents/MacOS/Chromium", "Google Chrome.app/Contents/MacOS/Google Chrome")

MISSING = (
    "Chromium is not installed, so what needs a browser is not tested: apt-get install chromium (macOS: brew install "
    "--cask chromium), or name another one: CHROMIUM=/path/to/it"
)


def find_chromium() -> str | None:
    """The program that ``CHROMIUM`` names, or the first that there is."""
    named = os.environ.get("CHROMIUM")
    installed = (shutil.which(name) for name in _NAMES)
    applications = (f"/Applications/{name}" for name in _ON_MACOS)
    return named or next(filter(None, installed), None) or next(filter(os.path.exists, applications), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Until the block ends. Skips the test where there is no Chromium; fails it where ``BROWSER`` is ``required``.

    While it runs, its thread cannot run an event loop of asyncio: let it end with the module that uses it.
    """
    program = find_chromium()
    if program is None:
        if os.environ.get("BROWSER") == "required":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container's root does not have; the pages are ours.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


class WatchedPage:
    """A tab, and what has gone wrong in it: ``complaints`` of the page and the browser, and all ``requested`` URLs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requested: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def requested_elsewhere(self, url: str) -> list[str]:
        """What was requested that is not below ``url``; data URLs are part of the page."""
        return [each for each in self.requested if not each.startswith((url, "data:"))]


@contextmanager
def watched_page(browser: Browser, **options: object) -> Iterator[WatchedPage]:
    """A tab that shares nothing with another one. ``options`` are those of Playwright's ``new_context``."""
    from playwright.sync_api import expect

    expect.set_options(timeout=_PATIENCE_MS)
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(_PATIENCE_MS)
    try:
        yield WatchedPage(context.new_page())
    finally:
        context.close()


def take_picture(url: str, file: Path) -> None:
    """The explorer page with one flag explained."""
    with running_browser() as browser, watched_page(browser, viewport={"width": 1200, "height": 760}) as tab:
        tab.page.goto(url)
        tab.page.get_by_role("button", name="banner-text").click()
        tab.page.get_by_text("Rule 1 (german) matched:").wait_for()
        tab.page.screenshot(path=file)


if __name__ == "__main__":
    take_picture(sys.argv[1], Path(sys.argv[2]))
