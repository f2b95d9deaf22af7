"""What the tests of the pages share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright

from examples.host_app.seed import ADMIN
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.storage.local import LocalStorage
from tests.support.browser import Visits, chromium
from tests.support.patience import wait_for
from tests.support.people import sign_in
from tests.support.serving import Address, is_idle, threaded


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """The admin's."""
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client


@pytest.fixture
def no_prune(app: Flask) -> None:
    """So that none runs beside the test."""
    with app.app_context():
        backups_of(app).catalog.set_due("prune", utc_now() + timedelta(days=1))


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    path = chromium(whole=getattr(request, "param", None) == "whole")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def address(app: Flask) -> Iterator[Address]:
    """Where the app is served, in threads of this process."""
    with threaded(app) as address:
        yield address
        wait_for(lambda: is_idle(app))


@pytest.fixture
def visits(browser: Browser, address: Address) -> Iterator[Visits]:
    """Opens pages, which close before the server; at the end none may have caused an error or a
    violation of the policy."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.unexpected() == []


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Holds whatever opens a stored file, until it is set."""
    event, open_file = Event(), LocalStorage.open

    def wait_and_open(self: LocalStorage, file: ReleaseFile) -> Any:
        event.wait()
        return open_file(self, file)

    monkeypatch.setattr(LocalStorage, "open", wait_and_open)
    yield event
    event.set()
