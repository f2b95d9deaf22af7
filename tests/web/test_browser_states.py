"""What an admin sees first in states that seldom come, in Chromium: wide, on a phone, dark."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from tests.support.browser import Visits, ends, fits, log_in
from tests.support.directory import depot_of
from tests.support.hosts import change_something, file_of, one_package
from tests.support.pages import earlier_backups, earlier_operations
from tests.support.serving import PREFIX, Address, make_backup

pytestmark = pytest.mark.usefixtures("no_prune", "host")


@pytest.fixture
def page(address: Address, visits: Visits) -> Page:
    page = visits(address, logged_in=False)
    log_in(page, address)
    return page


def look(page: Page, path: str) -> None:
    """At a page of ours, and whether it fits."""
    page.goto(f"{page.url.partition(PREFIX)[0]}{PREFIX}{path}")
    fits(page)


def main_button(page: Page) -> str | None:
    """The one main action of a page."""
    (button,) = page.locator(".hexhub-backup .btn-primary:visible").all()
    return button.text_content()


# --- the state of today ------------------------------------------------------------------


def test_the_list_says_first_that_the_newest_backup_is_old(
    app: Flask, backups: Backups, page: Page
) -> None:
    backup = make_backup(app)
    long_ago = utc_now() - timedelta(days=210)
    backups.catalog.update_backup(backup, created_at=long_ago, verified_at=long_ago)
    look(page, "/")
    row = page.locator("#history tbody tr")
    expect(row).to_contain_text("past its date, kept as the last good one")
    first = page.locator("#history > div").first
    expect(first).to_contain_text("7 months ago")
    expect(first).to_have_class(re.compile("border-s-error"))
    expect(page.get_by_text("The registry is protected")).to_have_count(0)


def test_a_backup_without_its_file_is_not_called_intact(
    app: Flask, backups: Backups, page: Page
) -> None:
    backup = make_backup(app)
    depot_of(backups).archive(backup).unlink()
    look(page, "/")
    row = page.locator("#history tbody tr")
    expect(row).to_contain_text("file missing")
    expect(row).not_to_contain_text("intact")
    look(page, f"/{backup}")
    expect(page.get_by_text("The file of this backup is missing")).to_be_visible()
    assert (main_button(page) or "").strip() == "Create a new backup"


def test_a_file_that_is_copied_into_the_directory_is_seen(
    app: Flask, backups: Backups, page: Page
) -> None:
    folder = depot_of(backups).path
    backup = make_backup(app)
    shutil.copy(depot_of(backups).archive(backup), folder / "From the old machine.tar")
    look(page, "/restore")
    expect(page.get_by_text("Found in the backup directory")).to_be_visible()
    page.get_by_role("link", name="from the file From the old machine.tar").click()
    page.get_by_role("button", name="Preview restore").click()
    ends(page, "What this restore would do")
    expect(page.get_by_text("From the old machine.tar").first).to_be_visible()


# --- long lists --------------------------------------------------------------------------


def test_a_long_history_is_searched_filtered_sorted_and_leafed_through(
    app: Flask, backups: Backups, page: Page
) -> None:
    latest = backups.history.backup(make_backup(app))
    earlier_backups(backups, latest, 299)
    rows = page.locator("#history tbody tr")
    look(page, "/")
    expect(page.get_by_text("1 to 20 of 300 backups")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("21 to 40 of 300 backups")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    page.get_by_label("Sort by").select_option("oldest")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("1 to 20 of 59 backups")).to_be_visible()
    expect(rows.first).to_contain_text("The disk is full.")
    fits(page)
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("Kept forever").check()
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("1 to 20 of 27 backups")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("Id, label, user or reason").fill("old-123")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    look(page, "/restore")
    page.get_by_label("Id, label or user").fill(latest.id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="from the backup of")).to_have_count(1)


def test_what_was_done_is_filtered(backups: Backups, page: Page) -> None:
    earlier_operations(backups, 25)
    look(page, "/")
    page.get_by_role("link", name="All activity").click()
    expect(page.get_by_text("1 to 20 of 25 operations")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=failed**")
    rows = page.locator(".hexhub-backup li", has=page.get_by_text("failed", exact=True))
    expect(rows).to_have_count(1)
    fits(page)


# --- operations --------------------------------------------------------------------------


def test_what_runs_keeps_still_for_those_who_wish_so_and_nothing_jumps_at_its_end(
    address: Address, visits: Visits, go_on: Event
) -> None:
    page = visits(address, logged_in=False, reduced_motion="reduce")
    log_in(page, address)
    look(page, "/new")
    page.get_by_role("button", name="Create backup").click()
    step = page.locator('[data-step="copy_packages"]')
    expect(step).to_have_attribute("data-state", "running")
    spinner = step.locator(".animate-spin")
    expect(spinner).to_be_visible()
    expect(spinner).to_have_css("animation-name", "none")
    fits(page)
    steps = page.locator('[data-show="steps"]')
    before = steps.bounding_box()
    go_on.set()
    ends(page, "Backup is complete")
    after = steps.bounding_box()
    assert before is not None
    assert after is not None
    assert (before["x"], before["width"]) == (after["x"], after["width"])


def test_warnings_lead_to_what_to_do_and_the_log_speaks_as_the_page(
    app: Flask, backups: Backups, page: Page, tmp_path: Path
) -> None:
    backup = make_backup(app)
    file = tmp_path / "before the move.tar"
    shutil.copy(depot_of(backups).archive(backup), file)
    change_something("somebody.else@example.org")
    look(page, "/restore")
    page.get_by_label("Archive", exact=True).set_input_files(file)
    page.get_by_role("button", name="Preview restore").click()
    ends(page, "What this restore would do")
    expect(page.get_by_text("before the move.tar").first).to_be_visible()
    page.get_by_label(re.compile("Overwrite")).check()
    with page.expect_navigation():
        page.get_by_role("button", name="Preview restore").click()
    ends(page, "What this restore would do")
    box = page.get_by_label(re.compile("Back up the registry first"))
    box.check()
    # 4 px, so that nobody takes it for a radio button.
    expect(box).to_have_css("border-radius", "4px")
    page.locator("#replaces").fill("2")
    page.get_by_role("button", name="Restore now").click()
    ends(page, "Restore is complete")
    expect(page.locator('[data-step="back_up_first"]')).to_contain_text("Back up")
    log = page.get_by_role("region", name="Log")
    expect(log).not_to_contain_text("_")
    look(page, "/")
    expect(page.locator("#history")).to_contain_text("before the move.tar")

    package = one_package()
    file_of(app, package).unlink()
    page.get_by_role("link", name="Create backup").click()
    page.get_by_role("button", name="Create backup").click()
    ends(page, "Backup is complete, with warnings")
    expect(page.get_by_text(f"release {package.name}").first).to_be_visible()
    assert (main_button(page) or "").strip().startswith("Download")
