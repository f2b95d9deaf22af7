"""One who reads German, lives in Auckland, wants no motion and has no mouse."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.support.browser import Visits, ends, fits, log_in, press, reach, write
from tests.support.hosts import change_something
from tests.support.serving import PREFIX, Address, speaks


@pytest.fixture
def speaking(app: Flask) -> Flask:
    """Before it is served."""
    return speaks(app)


@pytest.mark.matrix
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
    ends(page, "Neues Backup")
    press(page, "button", "Backup erstellen")
    ends(page, "Backup abgeschlossen")
    expect(page.get_by_text(re.compile(r"Das Archiv ist \d+,\d kB groß"))).to_be_visible()
    press(page, "link", "Backup öffnen")
    expect(page.locator("h1")).to_have_text(
        re.compile(r"Backup vom \d{4}-\d\d-\d\d \d\d:\d\d (GMT\+1[23]|NZ[DS]T)")
    )
    fits(page)
    with speaking.app_context():
        change_something("somebody.else@example.org")
    press(page, "link", "Wiederherstellen…")
    ends(page, "Wiederherstellung")
    press(page, "button", "Vorschau der Wiederherstellung")
    ends(page, "Was diese Wiederherstellung bewirken würde")
    # From the strategy that is chosen to the next.
    reach(page, page.locator("[name=conflict_strategy]:checked"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Überschreiben")).to_be_checked()
    press(page, "button", "Vorschau der Wiederherstellung")
    expect(page.get_by_text("2 Datensätze werden ersetzt.").first).to_be_visible()
    fits(page)
    write(page, "Anzahl der Datensätze eingeben, die ersetzt werden (2)", "2")
    press(page, "button", "Jetzt wiederherstellen")
    ends(page, "Wiederherstellung abgeschlossen")
    for path in ("/", "/operations", "/protection", "/retention", "/restore", "/nothing"):
        page.goto(f"{address.origin}{PREFIX}{path}")
        fits(page)
    visits.expected.append("status of 404")
