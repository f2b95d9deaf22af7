"""An admin opens an encrypted copy in Chromium, against gunicorn with two workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from hexhub_backup import DirectoryDestination
from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import backups_of
from tests.support.age import Key, age_key
from tests.support.browser import Visits, both_ways, ends, fits, log_in
from tests.support.directory import depot_of
from tests.support.encrypted import copied
from tests.support.hosts import make_app
from tests.support.serving import PREFIX, gunicorn


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return age_key(tmp_path / "key.txt")


@pytest.fixture
def environment(nas: DirectoryDestination, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_APP_AGE_RECIPIENTS", key.recipient)


@pytest.fixture
def served(tmp_path: Path, environment: None) -> Flask:
    return make_app(tmp_path / "host")


@pytest.fixture
def copy(served: Flask) -> Copy:
    """A copy of a backup that is on the server no more."""
    with served.app_context():
        backups = backups_of(served)
        found = copied(served, backups)["nas"]
        depot_of(backups).archive(found.backup_id).unlink()
    return found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visits]:
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.unexpected() == []


@both_ways
def test_a_copy_and_an_upload_are_opened_with_the_key(
    visit: Visits,
    tmp_path: Path,
    nas: DirectoryDestination,
    key: Key,
    copy: Copy,
    scripts: bool,
) -> None:
    with gunicorn(tmp_path / "host") as server:
        address = server.address
        page = visit(address, scripts=scripts, logged_in=False)
        log_in(page, address)

        page.goto(f"{address.origin}{PREFIX}/{copy.backup_id}")
        page.get_by_role("link", name="Restore…").click()
        page.fill("#identity", key.identity.read_text())
        fits(page)
        form = page.url
        page.get_by_role("button", name="Open with the key").click()
        page.wait_for_url("**/operations/*")
        ends(page, "Decryption is complete", scripts=scripts)
        opened = page.url
        page.go_back()
        expect(page).to_have_url(form)
        expect(page.locator("#identity")).to_have_value("")

        page.goto(opened)
        page.get_by_role("button", name="Preview restore").click()
        ends(page, "What this restore would do", scripts=scripts)
        page.goto(opened)
        page.get_by_role("button", name="Bring back").click()
        page.wait_for_url("**/operations/*")
        ends(page, "Return of a copy is complete", scripts=scripts)

        page.goto(f"{address.origin}{PREFIX}/restore")
        page.get_by_text("It is encrypted").click()
        page.set_input_files("#identity_file", key.identity)
        page.set_input_files("#file", nas.path / str(copy.file))
        fits(page)
        page.get_by_role("button", name="Preview restore").click()
        page.wait_for_url("**/operations/*")
        ends(page, "Decryption is complete", scripts=scripts)
