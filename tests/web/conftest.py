"""What the tests of the pages share; each module has an `app` of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright

from examples.host_app.seed import ADMIN
from hexhub_backup.jobs.verbs import Backups
from tests.example.people import sign_in
from tests.web.serving import backups_of


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """The admin's."""
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client


@pytest.fixture
def backups(app: Flask) -> Iterator[Backups]:
    with app.app_context():
        yield backups_of(app)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path is not None, "install Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()
