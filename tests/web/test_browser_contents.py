"""A backup is looked into in a real browser, with scripts and without."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.support.browser import Visits, both_ways, fits, log_in
from tests.support.hosts import file_of, one_package
from tests.support.serving import PREFIX, Address, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


@both_ways
def test_a_package_is_found_downloaded_and_its_restore_planned(
    app: Flask, address: Address, visits: Visits, scripts: bool, tmp_path: Path
) -> None:
    backup = make_backup(app)
    with app.app_context():
        package = one_package()
        name, version = package.name, package.releases[0].version
        data = file_of(app, package).read_bytes()
    page = visits(address, scripts=scripts)
    log_in(page, address)
    page.goto(f"{address.origin}{PREFIX}/{backup}")
    page.get_by_role("link", name="Contents").click()
    page.get_by_label("Name").fill(name.upper())
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=f"Package {name}")).to_be_visible()
    expect(page.get_by_text(hashlib.sha256(data).hexdigest())).to_be_visible()
    fits(page)
    with page.expect_download() as begun:
        page.get_by_role("link", name=f"Package file of {name} {version}", exact=True).click()
    saved = tmp_path / "saved"
    begun.value.save_as(saved)
    assert saved.read_bytes() == data
    page.get_by_role("button", name="Preview restore").click()
    expect(page.get_by_role("heading", name="What this restore would do")).to_be_visible()


def test_a_line_is_copied(app: Flask, address: Address, visits: Visits) -> None:
    backup = make_backup(app)
    page = visits(address)
    log_in(page, address)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{address.origin}{PREFIX}/{backup}")
    page.get_by_text("On the command line").click()
    page.get_by_role("button", name="Copy").last.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"flask backups restore {backup}"
