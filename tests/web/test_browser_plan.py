"""A restore in a real browser, with scripts and without: planned, chosen, applied and undone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import select

from examples.host_app.models import Package, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.jobs.backups import backups_of
from tests.support.browser import OF_A_STATUS, Visits, both_ways, ends, fits, log_in
from tests.support.directory import depot_of
from tests.support.patience import wait_for
from tests.support.plans import fill
from tests.support.serving import PREFIX, Address, make_backup

pytestmark = pytest.mark.host(packages=6, file_size=4 << 10)

#: Whether what has the focus is under the bar at the lower edge.
_IS_COVERED = """(() => {
  const [focus, bar] = [document.activeElement, document.querySelector("[data-bar]")];
  return !bar.contains(focus)
    && focus.getBoundingClientRect().bottom > bar.getBoundingClientRect().top;
})()"""


@pytest.fixture
def archive(app: Flask, tmp_path: Path) -> Path:
    """An archive of the registry, which has changed since: an account and three packages."""
    with app.app_context():
        made = depot_of(backups_of(app)).archive(make_backup(app))
        path = tmp_path / "from-elsewhere.tar"
        shutil.copy(made, path)
        user = db.session.scalars(select(User).where(User.username != ADMIN)).first()
        assert user is not None
        user.email = "changed@example.org"
        for package in local_packages()[:3]:
            package.meta = {"description": f"changed {package.name}"}
        db.session.commit()
    return path


def local_packages() -> list[Package]:
    query = select(Package).where(Package.source == "local").order_by(Package.name)
    return list(db.session.scalars(query))


def descriptions(app: Flask) -> list[str]:
    with app.app_context():
        return [package.meta["description"] for package in local_packages()]


def names(app: Flask) -> list[str]:
    with app.app_context():
        return [package.name for package in local_packages()]


def upload(page: Page, address: Address, archive: Path) -> None:
    page.goto(f"{address.origin}{PREFIX}/restore")
    page.get_by_label("Archive", exact=True).set_input_files(archive)
    page.get_by_role("button", name="Preview restore").click()


def plan_of(page: Page) -> str:
    return page.url.partition("/plans/")[2].partition("?")[0].partition("#")[0]


def plan_with(page: Page, strategy: str, *, scripts: bool) -> None:
    """Choose a strategy on the page of a plan, and wait for the plan of it."""
    plan = plan_of(page)
    page.get_by_label(re.compile(strategy)).check()
    page.get_by_role("button", name="Preview restore").click()
    wait_for(lambda: plan_of(page) not in ("", plan))
    ends(page, "What this restore would do", scripts=scripts)


def entries(page: Page) -> Any:
    return page.locator("#entries details li")


@both_ways
def test_a_restore_is_planned_chosen_applied_and_undone(
    visits: Visits,
    app: Flask,
    address: Address,
    archive: Path,
    go_on: Event,
    scripts: bool,
) -> None:
    visits.expected = [OF_A_STATUS.format(422)]
    page = visits(address, scripts=scripts, logged_in=False)
    log_in(page, address)
    before, (first, second, third, *_) = descriptions(app), names(app)

    # Upload, and watch the inspection.
    upload(page, address, archive)
    expect(page.locator("h1")).to_have_text("Inspection is running")
    expect(page.locator('[data-step="compare"]')).to_have_attribute("data-state", "running")
    fits(page)
    go_on.set()
    ends(page, "What this restore would do", scripts=scripts)

    # Replace what differs: the plan says how much that would be.
    expect(page.get_by_text("4 records would be replaced")).to_be_visible()
    plan_with(page, "Overwrite", scripts=scripts)
    plan = plan_of(page)

    # Read the plan, and filter it.
    expect(page.get_by_text("4 records are replaced.").first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^in conflict"))).to_have_text(
        re.compile(r"in conflict\s*1\s*3\s*0\s*0")
    )
    page.get_by_role("row", name=re.compile("^in conflict")).get_by_role("link", name="3").click()
    expect(entries(page)).to_have_count(3)
    expect(entries(page).first).to_contain_text(f"changed {first}")
    page.get_by_label("Name").fill(second)
    page.get_by_role("button", name="Filter").click()
    expect(entries(page)).to_have_count(1)
    assert "kind=packages&state=conflict" in page.url
    fits(page)
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_label("Kind", exact=True)).to_have_value("")

    # Choose two packages.
    page.get_by_text("Change what is restored").click()
    expect(page.get_by_label(first, exact=True)).to_be_hidden()
    page.get_by_label("Only some").check()
    if scripts:
        page.get_by_label("Find a package").fill(second.upper())
        page.keyboard.press("Enter")
        expect(page.get_by_label(first, exact=True)).to_be_hidden()
        page.get_by_label(second, exact=True).check()
        page.get_by_label("Find a package").fill("")
        expect(page.locator("#packages-chosen")).to_have_text("1 of 6 chosen")
    else:
        expect(page.get_by_label("Find a package")).to_be_hidden()
        page.get_by_label(second, exact=True).check()
    page.get_by_label(first, exact=True).check()
    page.get_by_role("checkbox", name=re.compile("Include users")).uncheck()
    fits(page)
    page.get_by_role("button", name="Preview restore").click()
    wait_for(lambda: plan_of(page) not in ("", plan))
    ends(page, "What this restore would do", scripts=scripts)
    expect(page.get_by_text(f"No users. 2 of 6 packages: {first}, {second}.")).to_be_visible()

    # Restore: first with a wrong number.
    number = page.get_by_label("Type the number of records that will be replaced (2)")
    number.fill("4")
    page.get_by_role("button", name="Restore now").click()
    expect(page.get_by_role("alert")).to_contain_text("Type 2 to confirm.")
    expect(number).to_be_focused()
    fits(page)
    number.fill("2")
    page.get_by_label(re.compile("Back up the registry first")).check()
    page.get_by_role("button", name="Restore now").click()
    ends(page, "Restore is complete", scripts=scripts)
    assert descriptions(app)[:3] != before[:3]
    assert descriptions(app)[2] == before[2] == f"changed {third}"

    # Read the outcome.
    expect(page.get_by_role("row", name="overwritten")).to_have_text(
        re.compile(r"overwritten\s*0\s*2\s*0\s*0")
    )
    expect(page.get_by_role("row", name="not chosen")).to_be_visible()
    expect(page.locator('[data-step="back_up_first"]')).to_have_attribute("data-state", "done")
    with page.expect_download() as download:
        page.get_by_role("link", name="Outcome as JSON").click()
    outcome = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == f"restore-{outcome['id']}.json"
    assert outcome["outcome"]["records"]["packages"]["overwritten"] == 2

    # Undo it.
    restored = page.url
    if scripts:
        # The page has come by itself, and so has its dialog.
        page.get_by_role("button", name="Undo…").press("Enter")
        question = page.get_by_role("dialog")
        expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        fits(page)
        question.get_by_role("button", name="Undo this restore").click()
    else:
        page.get_by_role("link", name="Undo…").click()
        ends(page, "Undo this restore?")
        page.get_by_role("button", name="Undo this restore").click()
    ends(page, "Undo is complete", scripts=scripts)
    assert descriptions(app) == before
    expect(page.get_by_role("row", name="brought back")).to_have_text(
        re.compile(r"brought back\s*0\s*2\s*0\s*0")
    )
    page.get_by_role("link", name="The restore").click()
    assert page.url == restored
    expect(page.get_by_text("This restore was undone")).to_be_visible()
    fits(page)


@both_ways
def test_a_plan_that_would_restore_nothing_leads_to_another_choice(
    visits: Visits, address: Address, archive: Path, scripts: bool
) -> None:
    page = visits(address, scripts=scripts, logged_in=False)
    log_in(page, address)
    upload(page, address, archive)
    ends(page, "What this restore would do", scripts=scripts)
    plan_with(page, "Fail", scripts=scripts)
    expect(page.get_by_text("Nothing would be restored", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Restore now")).to_have_count(0)
    expect(page.locator(".hexhub-backup .btn-primary")).to_have_count(1)
    plan_with(page, "Skip", scripts=scripts)
    expect(page.get_by_text("Nothing would change", exact=True)).to_be_visible()


def test_a_large_plan_fits_a_phone_and_is_left_by_keyboard(
    visits: Visits, app: Flask, address: Address, archive: Path
) -> None:
    page = visits(address, logged_in=False)
    log_in(page, address)
    upload(page, address, archive)
    ends(page, "What this restore would do")
    fill(depot_of(backups_of(app)).plan(plan_of(page)), 100_000, notes=1000)
    page.reload()
    expect(page.get_by_text("1 to 50 of 100,000")).to_be_visible()
    expect(page.get_by_text("and 990 more")).to_be_visible()
    fits(page)
    # Wherever one is on the page, and whatever has the focus.
    page.set_viewport_size({"width": 390, "height": 700})
    restore = page.get_by_role("button", name="Restore now")
    expect(restore).to_be_in_viewport(ratio=1)
    for _ in range(12):
        page.keyboard.press("Tab")
        expect(restore).to_be_in_viewport(ratio=1)
        assert not page.evaluate(_IS_COVERED)
    page.get_by_label("Name").focus()
    page.keyboard.type("name24999")
    page.keyboard.press("Enter")
    expect(entries(page)).to_have_count(4)
    page.get_by_role("link", name="Show all").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_text("51 to 100 of 100,000")).to_be_visible()
    fits(page)
    page.get_by_role("link", name="and 990 more").press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^1,000 .*: all of them$"))).to_be_visible()
    expect(page.get_by_text("1 to 50 of 1,000")).to_be_visible()
    fits(page)
