"""An admin's browser: pages in contexts of their own, and what a good page would not cause."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, expect

from examples.host_app.seed import ADMIN, PASSWORD
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import PREFIX, Address

#: Milliseconds: what takes so long will never come.
MILLISECONDS = 1000 * PATIENCE
expect.set_options(timeout=MILLISECONDS)

#: What the console says where a page, or its socket, has to be refused.
OF_A_STATUS = r"the server responded with a status of {}"
OF_A_LOST_SERVER = r"net::ERR_|WebSocket connection to|status of 50\d"

#: The first that is there is used.
_CHROMIUMS = ("chromium", "chromium-browser")
#: Chromium without its windows, which takes a third less time.
_SHELL = "chromium-headless-shell"

#: Without its windows Chromium shows no icon of a page and notifies nobody.
in_whole_browser = pytest.mark.parametrize("browser", ["whole"], indirect=True)

_AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

#: Colors of another scheme come by transitions; what turns, turns forever.
_END_TRANSITIONS = """document.getAnimations()
    .filter((each) => each.effect.getComputedTiming().endTime !== Infinity)
    .forEach((each) => each.finish())"""

#: What a page is made of, however often, and whatever its texts say.
_STATE = """[...new Set([...document.querySelectorAll("*")].map((each) =>
    [each.tagName, each.className, ...each.getAttributeNames().sort()].join(" ")))].sort().join()"""

#: Where the page would scroll sideways: the innermost of what stands out.
_TOO_WIDE = """(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth ? [] :
    ["the page", ...[...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > clientWidth)
        .map((each) => each.outerHTML.slice(0, 200)).slice(-3)])(document.documentElement)"""
#: Whether what has the focus is drawn with an outline, or a shadow, as it has none without.
_SHOWS_FOCUS = """(element) => {
    const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(element);
    return (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
}"""
_without_scripts: WeakSet[BrowserContext] = WeakSet()

both_ways = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])


def chromium(*, whole: bool = False) -> str:
    """The path of the browser that the tests use: the one without windows where it is there, but
    for what only the whole browser has."""
    names = _CHROMIUMS if whole else (_SHELL, *_CHROMIUMS)
    path = next(filter(None, map(shutil.which, names)), None)
    assert path is not None, f"install Chromium: apt-get install chromium {_SHELL}"
    return path


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

    def __call__(
        self, address: Address, *, scripts: bool = True, logged_in: bool = True, **options: Any
    ) -> Page:
        """A new page, in a context with `options` of Playwright's."""
        context = self._browser.new_context(
            java_script_enabled=scripts, storage_state=self.state if logged_in else None, **options
        )
        if not scripts:
            _without_scripts.add(context)
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
    """Whether the page does without scrolling sideways, on a phone too, and axe finds nothing."""
    before = page.viewport_size
    assert before is not None
    # Without scripts axe would never come to its end; Playwright's own scripts still run.
    is_new = page.context not in _without_scripts and _is_new(page.evaluate(_STATE))
    for width in (390, before["width"]):
        page.set_viewport_size({"width": width, "height": before["height"]})
        too_wide = page.evaluate(_TOO_WIDE)
        assert not too_wide, "\n".join([f"{page.url} at {width} px:", *too_wide])
        if width == 390 and is_new:
            # What is wider than a phone scrolls by itself, for those without a mouse too.
            found = barriers(page, rules=["scrollable-region-focusable"])
            assert not found, "\n".join([f"{page.url} at {width} px:", *found])
    if not is_new:
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(_END_TRANSITIONS)
        found = barriers(page)
        assert not found, "\n".join([f"{page.url}, {scheme}:", *found])


def _is_new(state: str) -> bool:
    """Whether axe has not seen a state yet, in whichever process of this run of the tests."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    seen = Path(tempfile.gettempdir(), f"hexhub_backup-axe-{run}")
    seen.mkdir(exist_ok=True)
    try:
        (seen / hashlib.sha256(state.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def barriers(
    page: Page, sort: str = "violations", *, rules: Sequence[str] | None = None
) -> list[str]:
    """What axe-core finds in a page that somebody could not use, or (`incomplete`) what it can't
    decide: rule, element, reason. It looks by all rules, or by these."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations", "incomplete"]}
    if rules is not None:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = page.evaluate("options => axe.run(options)", options)
    return [
        f"{each['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for each in found[sort]
        for node in each["nodes"]
    ]


def reach(page: Page, wanted: Locator) -> None:
    """Come to something by the Tab key alone, from the top of the page."""
    wanted = wanted.first
    expect(wanted).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    for _ in range(200):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            # Who can't see where they are is lost.
            assert wanted.evaluate(_SHOWS_FOCUS), f"{wanted} has the focus and looks as before"
            return
    raise AssertionError(f"no Tab comes to {wanted}")


def press(page: Page, role: str, name: str | re.Pattern[str], key: str = "Enter") -> None:
    """Reach something by the keyboard alone, and press a key on it."""
    exact = isinstance(name, str)
    reach(page, page.get_by_role(role, name=name, exact=exact))  # type: ignore[arg-type]
    page.keyboard.press(key)


def write(page: Page, label: str, text: str) -> None:
    """Reach a field by the keyboard alone, and type into it what it then holds."""
    reach(page, page.get_by_label(label, exact=True))
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


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
