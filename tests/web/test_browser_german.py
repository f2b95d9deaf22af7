"""One who reads German, lives in Auckland, wants no motion and has no mouse."""

from __future__ import annotations

import re

import pytest
from flask import Flask, request
from flask_babel import Babel
from playwright.sync_api import Page, expect

from tests.support.browser import Visits, ends, fits, log_in
from tests.support.hosts import change_something
from tests.support.serving import PREFIX, Address


@pytest.fixture
def speaking(app: Flask) -> Flask:
    """Before it is served."""
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de"]))
    return app


def press(page: Page, role: str, name: str) -> None:
    """Reach something by the keyboard alone, from the top of the page, and press Enter."""
    wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
    expect(wanted).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    for _ in range(120):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"no Tab comes to {name}")


@pytest.mark.usefixtures("no_prune")
def test_a_backup_is_created_and_restored(
    speaking: Flask, address: Address, visits: Visits
) -> None:
    page = visits(
        address,
        logged_in=False,
        locale="de-DE",
        timezone_id="Pacific/Auckland",
        reduced_motion="reduce",
    )
    log_in(page, address)
    expect(page.locator(".hexhub-backup").first).to_have_attribute("lang", "de")
    fits(page)
    press(page, "link", "Erstes Backup erstellen")
    fits(page)
    press(page, "button", "Backup erstellen")
    ends(page, "Backup ist abgeschlossen")
    expect(page.get_by_text(re.compile(r"Das Archiv ist \d+,\d kB groß"))).to_be_visible()
    press(page, "link", "Backup öffnen")
    expect(page.locator("h1")).to_have_text(
        re.compile(r"Backup vom \d{4}-\d\d-\d\d \d\d:\d\d (GMT\+1[23]|NZ[DS]T)")
    )
    fits(page)
    with speaking.app_context():
        change_something("somebody.else@example.org")
    press(page, "link", "Wiederherstellen…")
    fits(page)
    press(page, "button", "Vorschau der Wiederherstellung")
    ends(page, "Was diese Wiederherstellung bewirken würde")
    page.get_by_role("radio", name="Überschreiben").focus()
    page.keyboard.press("Space")
    press(page, "button", "Vorschau der Wiederherstellung")
    expect(page.get_by_text("2 Datensätze werden ersetzt.").first).to_be_visible()
    fits(page)
    page.get_by_label("Anzahl der Datensätze eingeben, die ersetzt werden (2)").focus()
    page.keyboard.type("2")
    press(page, "button", "Jetzt wiederherstellen")
    ends(page, "Wiederherstellung ist abgeschlossen")
    for path in ("/", "/operations", "/protection", "/retention", "/restore", "/nothing"):
        page.goto(f"{address.origin}{PREFIX}{path}")
        fits(page)
    visits.expected.append("status of 404")
