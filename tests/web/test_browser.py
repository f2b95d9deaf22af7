"""An admin in a real browser: Chromium against the example host in gunicorn with two workers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright

from examples.host_app import create_app
from examples.host_app.seed import ADMIN, PASSWORD, seed
from tests.web.serving import PREFIX, Address, dispose, gunicorn, make_app, make_backup

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose backup takes a moment."""
    folder = tmp_path_factory.mktemp("browser") / "host"
    app = create_app(folder)
    with app.app_context():
        seed(users=6, packages=6, releases=4, file_size=8 << 20)
    dispose(app)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[Address]:
    with gunicorn(folder) as server:
        yield server.address


@pytest.fixture
def page(browser: Browser, address: Address) -> Iterator[Page]:
    page = signed_in(browser, address)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Policy" in line.text else None)
    yield page
    page.context.close()
    assert not complaints


def signed_in(browser: Browser, address: Address, *, scripts: bool = True) -> Page:
    page = browser.new_context(java_script_enabled=scripts).new_page()
    page.goto(f"{address.origin}/login?next={PREFIX}/")
    page.fill("#username", ADMIN)
    page.fill("#password", PASSWORD)
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Backups")
    return page


def create(page: Page, address: Address) -> str:
    page.goto(f"{address.origin}{PREFIX}/new")
    page.get_by_role("button", name="Create backup").click()
    page.wait_for_url("**/operations/*")
    return page.url.rpartition("/")[2]


def ends(page: Page, heading: str) -> None:
    expect(page.locator("h1")).to_have_text(heading, timeout=60_000)


def past_the_rows(page: Page) -> None:
    expect(page.locator('[data-step="copy_packages"]')).not_to_have_attribute(
        "data-state", "waiting", timeout=30_000
    )


def test_a_backup_is_watched_live_and_downloaded(
    page: Page, address: Address, folder: Path
) -> None:
    page.get_by_role("link", name=re.compile("Create")).first.click()
    page.get_by_role("button", name="Create backup").click()
    page.wait_for_url("**/operations/*")
    operation = page.url.rpartition("/")[2]
    past_the_rows(page)
    # What the reloaded page missed meanwhile comes to it too.
    page.reload()
    ends(page, "Backup is complete")
    expect(page.locator('[data-state="done"]')).to_have_count(10)
    expect(page.get_by_role("status")).to_have_text("Backup is complete")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download")).click()
    archive = folder / "backups" / f"hexhub-backup-{operation}.tar"
    assert download.value.suggested_filename == archive.name
    assert Path(download.value.path()).stat().st_size == archive.stat().st_size


def test_without_a_websocket_the_page_says_so_and_asks(page: Page, address: Address) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close()

    page.route_web_socket("**/live*", refuse)
    create(page, address)
    expect(page.locator('[data-show="connection"]')).to_contain_text("asks every two seconds")
    ends(page, "Backup is complete")


def test_cancel_leaves_nothing(page: Page, address: Address, folder: Path) -> None:
    operation = create(page, address)
    page.get_by_role("button", name="Cancel").click()
    ends(page, "Backup was cancelled")
    assert not (folder / "backups" / f"hexhub-backup-{operation}.tar").exists()


def test_delete_asks_in_a_dialog_that_a_keyboard_can_use(page: Page, address: Address) -> None:
    operation = create(page, address)
    ends(page, "Backup is complete")
    page.get_by_role("link", name="Open the backup").click()
    button = page.get_by_role("button", name="Delete…")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press(" ")
    dialog.get_by_role("button", name="Delete this backup").click()
    page.wait_for_url(f"**{PREFIX}/")
    assert page.goto(f"{address.origin}{PREFIX}/{operation}").status == 404  # type: ignore[union-attr]


def test_all_of_it_works_without_scripts(browser: Browser, address: Address) -> None:
    page = signed_in(browser, address, scripts=False)
    operation = create(page, address)
    ends(page, "Backup is complete")
    page.get_by_role("link", name="Open the backup").click()
    page.get_by_role("button", name="Check it now").click()
    ends(page, "Check is complete")
    page.get_by_role("link", name="Open the backup").click()
    page.get_by_role("link", name="Restore from it…").click()
    page.get_by_role("button", name="Restore this backup").click()
    ends(page, "Restore is complete")
    page.goto(f"{address.origin}{PREFIX}/{operation}")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete this backup").click()
    expect(page.locator("h1")).to_have_text("Backups")
    page.context.close()


def test_an_archive_from_elsewhere_is_uploaded_and_restored(
    page: Page, address: Address, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "elsewhere")
    archive = tmp_path / "elsewhere" / "backups" / f"hexhub-backup-{make_backup(app)}.tar"
    dispose(app)
    page.goto(f"{address.origin}{PREFIX}/restore")
    page.get_by_label(re.compile("Overwrite")).check()
    page.get_by_label("Archive", exact=True).set_input_files(archive)
    page.get_by_role("button", name="Upload and restore").click()
    page.wait_for_url("**/operations/*")
    ends(page, "Restore is complete")
    expect(page.get_by_role("row", name=re.compile("created"))).to_be_visible()
