"""Pages for whoever reads them: in another time zone, on paper, or while looking elsewhere."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Event
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

import hexhub_backup
from hexhub_backup.jobs.backups import backups_of
from tests.support.browser import Visits, ends, in_whole_browser, log_in
from tests.support.hosts import Queue, queued_by
from tests.support.moved import when
from tests.support.patience import PATIENCE
from tests.support.serving import PREFIX, Address, make_backup

AUCKLAND = ZoneInfo("Pacific/Auckland")


def created_at(app: Flask, backup: str) -> datetime:
    with app.app_context():
        return backups_of(app).catalog.backup(backup).created_at


def test_times_are_those_of_the_readers_zone(app: Flask, address: Address, visits: Visits) -> None:
    backup = make_backup(app)
    made = created_at(app, backup)
    there = made.astimezone(AUCKLAND)
    page = visits(address, logged_in=False, timezone_id="Pacific/Auckland")
    log_in(page, address)
    zone = r"(GMT\+1[23]|NZ[DS]T)"
    row = page.locator("#history tbody tr")
    expect(row).to_contain_text(re.compile(f"{there:%Y-%m-%d %H:%M} {zone}"))
    expect(row.locator("a time")).to_have_attribute(
        "title", re.compile(f"{there:%Y-%m-%d %H:%M:%S} {zone}")
    )
    row.get_by_role("link").click()
    expect(page.locator("h1")).to_have_text(re.compile(f"Backup of {there:%Y-%m-%d %H:%M} {zone}"))
    # What a keyboard reaches says more.
    relative = page.locator("dd time[data-exact=title]").first
    relative.focus()
    shown = relative.evaluate("element => getComputedStyle(element, '::after').content")
    assert f"{there:%Y-%m-%d}" in shown


def test_without_scripts_times_are_in_utc_and_say_so(
    app: Flask, address: Address, visits: Visits
) -> None:
    backup = make_backup(app)
    page = visits(address, logged_in=False, scripts=False, timezone_id="Pacific/Auckland")
    log_in(page, address)
    expect(page.locator("#history tbody tr")).to_contain_text(
        f"{created_at(app, backup):%Y-%m-%d %H:%M} UTC"
    )


def test_an_outcome_on_paper_has_no_buttons_and_all_of_its_log(
    app: Flask, address: Address, visits: Visits
) -> None:
    page = visits(address, logged_in=False)
    log_in(page, address)
    page.goto(f"{address.origin}{PREFIX}/operations/{make_backup(app)}")
    ends(page, "Backup is complete")
    page.emulate_media(media="print")
    assert page.locator(".hexhub-backup :is(.btn, nav, form):visible").count() == 0
    expect(page.locator(".hexhub-backup h1")).to_be_visible()
    for steps in page.locator(".hexhub-backup ol:visible").all():
        assert steps.evaluate("list => list.scrollHeight <= list.clientHeight")


#: What the system shows can't be looked at.
SHOWN = (
    "window.shown = []; const Real = Notification;"
    "window.Notification = class extends Real {"
    "  constructor(title, options) { super(title, options); window.shown.push(title); } };"
    "window.sockets = []; const RealSocket = WebSocket;"
    "window.WebSocket = class extends RealSocket {"
    "  constructor(address) { super(address); window.sockets.push(this); } };"
)


def wishes(page: Page, address: Address, form: str, button: str) -> None:
    """Order something by the button of a form, and wish to be notified of its end."""
    log_in(page, address)
    page.context.grant_permissions(["notifications"])
    page.add_init_script(SHOWN)
    page.goto(f"{address.origin}{PREFIX}/{form}")
    page.get_by_role("button", name=button).click()
    page.get_by_role("button", name="Notify me when it ends").click()
    wished = page.get_by_role("button", name="You will be notified")
    expect(wished).to_be_disabled()
    # The connection may come, or come again, after that.
    page.evaluate("window.sockets.forEach((each) => each.dispatchEvent(new Event('open')))")
    assert page.evaluate("window.sockets.length") > 0
    expect(wished).to_be_disabled()


@in_whole_browser
@pytest.mark.parametrize("is_watched", [True, False])
def test_whoever_wishes_is_notified_of_the_end_once(
    app: Flask, address: Address, visits: Visits, is_watched: bool
) -> None:
    """Also where nobody saw it run: the page is loaded anew when it begins, and may be that of the
    outcome by then."""
    queue, goes_on = Queue(), Event()
    queued_by(backups_of(app), queue)
    page = visits(address, logged_in=False)
    wishes(page, address, "new", "Create backup")

    def run() -> None:
        with app.app_context():
            hexhub_backup.run(app, queue.ids[0])

    waits = when(app, "copy_packages", lambda: goes_on.wait(PATIENCE))
    with waits, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            if is_watched:
                step = page.locator('[data-step="copy_packages"]')
                expect(step).to_have_attribute("data-state", "running")
        finally:
            goes_on.set()
        running.result()
    ends(page, "Backup is complete")
    page.wait_for_function("window.shown.length")
    assert page.evaluate("window.shown") == ["Backup is complete"]
    # Its scripts have run when it is loaded.
    page.reload()
    ends(page, "Backup is complete")
    assert page.evaluate("window.shown") == []


@in_whole_browser
def test_whoever_wishes_is_notified_of_the_plan_that_an_inspection_gives_way_to(
    app: Flask, address: Address, visits: Visits
) -> None:
    backup, queue = make_backup(app), Queue()
    queued_by(backups_of(app), queue)
    page = visits(address, logged_in=False)
    wishes(page, address, f"restore?backup={backup}", "Preview restore")
    with app.app_context():
        hexhub_backup.run(app, queue.ids[0])
    ends(page, "What this restore would do")
    page.wait_for_function("window.shown.length")
    assert page.evaluate("window.shown") == ["What this restore would do"]


@in_whole_browser
def test_whoever_wishes_is_notified_of_a_comparison(
    app: Flask, address: Address, visits: Visits
) -> None:
    backup, queue = make_backup(app), Queue()
    queued_by(backups_of(app), queue)
    page = visits(address, logged_in=False)
    wishes(page, address, f"{backup}/compare", "Compare with now")
    with app.app_context():
        hexhub_backup.run(app, queue.ids[0])
    expect(page.get_by_text("Nothing was added, removed or changed.")).to_be_visible()
    page.wait_for_function("window.shown.length")
    assert page.evaluate("window.shown") == [page.locator(".hexhub-backup h1").inner_text()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_host_says_its_colors_by_variables(
    app: Flask, address: Address, visits: Visits, scheme: str
) -> None:
    page = visits(address, logged_in=False, color_scheme=scheme)
    log_in(page, address)
    page.goto(f"{address.origin}{PREFIX}/new")
    button = page.get_by_role("button", name="Create backup")
    expect(button).not_to_have_css("background-color", "rgb(1, 2, 3)")
    page.evaluate(
        """() => {
            const root = document.documentElement.style;
            root.setProperty("--hexhub-backup-primary", "rgb(1, 2, 3)");
            root.setProperty("--hexhub-backup-radius-field", "11px");
        }"""
    )
    expect(button).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(button).to_have_css("border-radius", "11px")
