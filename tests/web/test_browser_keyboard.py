"""An admin without a mouse: each flow from its page's top, by Tab, Enter, Space and the arrows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from examples.host_app.seed import ADMIN, PASSWORD
from hexhub_backup.jobs.backups import backups_of
from tests.support.browser import OF_A_STATUS, Visits, ends, press, reach, write
from tests.support.directory import depot_of
from tests.support.hosts import change_something, file_of, one_package
from tests.support.serving import PREFIX, Address, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")

#: Whether what has the focus is part of a dialog, or of the browser's own window.
_IS_IN_A_DIALOG = """document.activeElement === document.body
    || document.activeElement.closest("dialog") !== null"""


def sign_in(page: Page, address: Address) -> None:
    page.goto(f"{address.origin}{PREFIX}/")
    write(page, "User name", ADMIN)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Backups")


def is_at(page: Page, heading: str | re.Pattern[str]) -> None:
    expect(page.locator("h1")).to_have_text(heading)


def test_a_backup_is_created_watched_looked_into_and_deleted(
    app: Flask, address: Address, visits: Visits
) -> None:
    page = visits(address, logged_in=False)
    sign_in(page, address)
    press(page, "link", "Create the first backup")
    press(page, "button", "Create backup")
    ends(page, "Backup is complete")
    press(page, "link", "Open the backup")
    is_at(page, re.compile("^Backup of "))
    backup = page.url.rpartition("/")[2]

    with page.expect_download() as download:
        press(page, "link", re.compile("^Download"))
    archive = Path(download.value.path()).read_bytes()
    with app.app_context():
        assert depot_of(backups_of(app)).archive(backup).read_bytes() == archive

    press(page, "button", "Verify now")
    ends(page, "Verification is complete")
    press(page, "link", "Open the backup")
    press(page, "button", "Keep forever")
    expect(page.get_by_role("button", name="Allow to expire")).to_be_visible()
    reach(page, page.locator("summary", has_text="Label and note"))
    page.keyboard.press("Enter")
    write(page, "Label", "before the move")
    page.keyboard.press("Enter")
    is_at(page, re.compile("before the move$"))

    press(page, "link", "Contents")
    contents = page.get_by_role("main")
    reach(page, contents.get_by_role("link", name=re.compile("^Users")))
    page.keyboard.press("Enter")
    reach(page, contents.get_by_role("link", name=re.compile("^Packages")))
    page.keyboard.press("Enter")
    with app.app_context():
        package = one_package()
        name, version = package.name, package.releases[0].version
        data = file_of(app, package).read_bytes()
    write(page, "Name", name)
    page.keyboard.press("Enter")
    press(page, "link", name)
    with page.expect_download() as download:
        press(page, "link", f"Package file of {name} {version}")
    assert Path(download.value.path()).read_bytes() == data
    page.goto(f"{address.origin}{PREFIX}/{backup}")
    press(page, "link", "Compare…")
    press(page, "button", "Compare with now")
    expect(page.get_by_text("Nothing was added, removed or changed.")).to_be_visible()

    page.goto(f"{address.origin}{PREFIX}/{backup}")
    press(page, "button", "Delete…")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    # The page behind is out of reach.
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate(_IS_IN_A_DIALOG)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete…")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Delete this backup")).to_be_focused()
    page.keyboard.press("Enter")
    is_at(page, "Backups")
    expect(page.get_by_text("There is no backup yet")).to_be_visible()


def test_a_file_is_uploaded_planned_restored_and_undone(
    app: Flask, address: Address, visits: Visits, tmp_path: Path
) -> None:
    with app.app_context():
        file = tmp_path / "from-elsewhere.tar"
        shutil.copy(depot_of(backups_of(app)).archive(make_backup(app)), file)
        change_something("somebody.else@example.org")
    page = visits(address, logged_in=False)
    # From the start: who asks for it just before may be too late.
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    sign_in(page, address)
    press(page, "link", "Restore")
    reach(page, page.get_by_label("Archive", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Archive", exact=True)).to_have_value(re.compile(file.name))
    press(page, "button", "Preview restore")
    ends(page, "What this restore would do")

    reach(page, page.locator("[name=conflict_strategy]:checked"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name=re.compile("Overwrite"))).to_be_checked()
    reach(page, page.locator("summary", has_text="Change what is restored"))
    page.keyboard.press("Enter")
    press(page, "checkbox", re.compile("Include administrator rights"), key="Space")
    expect(page.get_by_role("checkbox", name=re.compile("Include administrator"))).to_be_checked()
    press(page, "checkbox", re.compile("Include administrator rights"), key="Space")
    plan = page.url
    press(page, "button", "Preview restore")
    page.wait_for_url(lambda url: url.partition("#")[0] != plan.partition("#")[0])
    ends(page, "What this restore would do")

    write(page, "Name", "somebody")
    page.keyboard.press("Enter")
    press(page, "link", "Show all")
    reach(page, page.locator("#entries summary"))
    page.keyboard.press("Enter")
    press(page, "checkbox", re.compile("Back up the registry first"), key="Space")
    number = page.locator("#replaces")
    reach(page, number)
    page.keyboard.type("1000")
    visits.expected = [OF_A_STATUS.format(422)]
    page.keyboard.press("Enter")
    expect(number).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    press(page, "button", "Restore now")
    ends(page, "Restore is complete")

    press(page, "button", "Undo…")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    ends(page, "Undo is complete")


def test_several_backups_are_chosen_and_deleted_and_the_rules_are_looked_at(
    app: Flask, address: Address, visits: Visits
) -> None:
    with app.app_context():
        for _ in range(2):
            make_backup(app)
    page = visits(address, logged_in=False)
    sign_in(page, address)
    for box in page.get_by_role("checkbox", name=re.compile("Select the backup")).all():
        reach(page, box)
        page.keyboard.press("Space")
    press(page, "button", "Selected backups…")
    is_at(page, "2 backups")
    press(page, "button", "Delete 2 backups")
    is_at(page, "Backups")
    press(page, "link", "All activity")
    is_at(page, "Activity")
    press(page, "link", "All backups")
    press(page, "link", "Protection")
    is_at(page, "Protection")
    press(page, "link", re.compile("Preview what"))
    is_at(page, "Which backups stay")
