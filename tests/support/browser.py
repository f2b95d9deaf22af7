"""An admin's browser: pages in contexts of their own, and what a good page would not cause."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from examples.host_app.seed import ADMIN, PASSWORD
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import PREFIX, Address

#: Milliseconds: what takes so long will never come.
MILLISECONDS = 1000 * PATIENCE
expect.set_options(timeout=MILLISECONDS)

#: What the console says where a page, or its socket, has to be refused.
OF_A_STATUS = r"the server responded with a status of {}"
OF_A_LOST_SERVER = r"net::ERR_|WebSocket connection to|status of 50\d"

both_ways = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])


class Visits:
    """Opens pages in contexts of their own, and keeps what a good page would not cause."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        #: Patterns of what a test lets happen.
        self.expected: list[str] = []
        #: The cookies of who is logged in at the server of all tests.
        self.state: Any = None

    def __call__(self, address: Address, *, scripts: bool = True, logged_in: bool = True) -> Page:
        context = self._browser.new_context(
            java_script_enabled=scripts, storage_state=self.state if logged_in else None
        )
        self._contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on(
            "console",
            lambda line: (
                self.complaints.append(line.text) if line.type in ("error", "warning") else None
            ),
        )
        context.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(f"{address.origin}/")
                else self.complaints.append(f"a request for {request.url}")
            ),
        )
        return context.new_page()

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def unexpected(self) -> list[str]:
        return [
            each
            for each in self.complaints
            if not any(re.search(pattern, each) for pattern in self.expected)
        ]


def log_in(page: Page, address: Address) -> None:
    page.goto(f"{address.origin}{PREFIX}/")
    expect(page.locator("h1")).not_to_have_text("Backups")
    page.fill("#username", ADMIN)
    page.fill("#password", PASSWORD)
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Backups")


def fits(page: Page) -> None:
    """Whether the page does without scrolling sideways, on a phone too."""
    before = page.viewport_size
    assert before is not None
    for width in (390, before["width"]):
        page.set_viewport_size({"width": width, "height": before["height"]})
        # Where scripts are off, Playwright's own still run.
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def ends(page: Page, heading: str, *, scripts: bool = True) -> None:
    """Wait for the page with this heading. Without scripts it would come every two seconds: who
    has better things to do reloads it."""
    found = page.locator("h1")
    if not scripts:
        wait_for(lambda: found.text_content() == heading or reloaded(page))
    expect(found).to_have_text(heading)
    fits(page)


def reloaded(page: Page) -> bool:
    """Gives False, since it has to be looked at again."""
    # It may just be doing so by itself.
    with suppress(Error):
        page.reload()
    return False
