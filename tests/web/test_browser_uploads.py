"""An admin uploads an archive in Chromium: the upload is paused, cut off, reloaded and resumed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Error, Page, Request, Route, expect

from hexhub_backup.jobs.backups import backups_of
from tests.support.age import age_key
from tests.support.browser import (
    OF_A_LOST_SERVER,
    OF_A_STATUS,
    Visits,
    fits,
    log_in,
)
from tests.support.directory import depot_of
from tests.support.hosts import make_app
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, Address, Line, gunicorn, is_idle, line_to, make_backup

MIB = 1024 * 1024
#: The host takes a MiB in a request, so that the page sends that much in each.
LIMITED = "examples.host_app:create_app(None, {'MAX_CONTENT_LENGTH': 1048576})"
FILE = "mine.tar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser") / "host"


@pytest.fixture(scope="module")
def served(folder: Path) -> Flask:
    return make_app(folder, file_size=1 << 20)


@pytest.fixture(scope="module")
def archive(served: Flask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some six MiB."""
    made = depot_of(backups_of(served)).archive(make_backup(served))
    return made.rename(tmp_path_factory.mktemp("archive") / FILE)


@pytest.fixture(scope="module")
def line(served: Flask, folder: Path) -> Iterator[Line]:
    """Leads to the server, and to another one after that."""
    with gunicorn(folder, app=LIMITED) as server, line_to(server.address) as line:
        yield line


@pytest.fixture(scope="module")
def state(browser: Browser, line: Line) -> Any:
    visits = Visits(browser)
    page = visits(line.address, logged_in=False)
    log_in(page, line.address)
    state = page.context.storage_state()
    visits.close()
    return state


@pytest.fixture
def visit(browser: Browser, state: Any, served: Flask) -> Iterator[Visits]:
    visits = Visits(browser)
    visits.state = state
    yield visits
    visits.close()
    wait_for(lambda: is_idle(served))
    for path in uploads(served):
        # What came encrypted is removed by the operation that opens it.
        path.unlink(missing_ok=True)
    assert visits.unexpected() == []


def uploads(app: Flask) -> list[Path]:
    return sorted((backups_of(app).depot.path / "uploads").iterdir())


def here(app: Flask) -> int:
    """Bytes of the one upload that have come."""
    return sum(each.stat().st_size for each in uploads(app) if each.suffix == ".part")


class Sent:
    """The requests of uploads that a page sends."""

    def __init__(self, page: Page) -> None:
        self.methods: list[str] = []
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if "/uploads" in request.url:
            self.methods.append(request.method)

    def patches(self) -> int:
        return self.methods.count("PATCH")


@contextmanager
def held_at(page: Page, number: int) -> Iterator[list[Route]]:
    """Hold the request that sends the piece of this number, and those after it. Gives what is
    held; none of it reaches the server: of a request that goes on while the page gives it up, some
    may."""
    held: list[Route] = []
    count = 0

    def decide(route: Route) -> None:
        nonlocal count
        count += route.request.method == "PATCH"
        if count < number or route.request.method != "PATCH":
            route.continue_()
        else:
            held.append(route)

    address = re.compile(r"/uploads/")
    page.route(address, decide)
    yield held
    for route in held:
        # What the page has given up is gone.
        with suppress(Error):
            route.abort("connectionreset")
    page.unroute(address)


def choose(page: Page, address: Address, archive: Path) -> None:
    page.goto(f"{address.origin}{PREFIX}/restore")
    page.get_by_label("Archive", exact=True).set_input_files(archive)


def preview(page: Page) -> None:
    page.get_by_role("button", name="Preview restore").click()


def waits(page: Page, held: list[Route]) -> None:
    """Until the page waits with the piece that is held."""

    def is_held() -> bool:
        # The page is heard only while Playwright waits for it.
        page.wait_for_timeout(20)
        return bool(held)

    wait_for(is_held)


def is_planned(page: Page, app: Flask, archive: Path) -> None:
    """Whether the page has led to the plan of the file, which has come as it is."""
    page.wait_for_url("**/plans/*")
    (upload,) = uploads(app)
    assert upload.read_bytes() == archive.read_bytes()
    operation = page.url.rpartition("/plans/")[2].partition("#")[0].partition("?")[0]

    def is_completed() -> bool:
        with app.app_context():
            return backups_of(app).catalog.operation(operation).state == "completed"

    wait_for(is_completed)
    # The page has seen that too: else it may go there while a test goes elsewhere.
    expect(page.locator("h1")).to_have_text("What this restore would do")


def test_an_upload_is_paused_and_resumed(
    visit: Visits, line: Line, served: Flask, archive: Path
) -> None:
    page = visit(line.address)
    sent = Sent(page)
    choose(page, line.address, archive)
    amount = page.locator('[data-show="amount"]')
    with held_at(page, 3) as held:
        preview(page)
        waits(page, held)
        expect(page.get_by_role("progressbar", name="How much is uploaded")).to_be_visible()
        expect(amount).to_contain_text(re.compile(r"MB of 6\.\d\d MB"))
        with page.expect_event("requestfailed"):
            page.get_by_role("button", name="Pause").click()
    expect(amount).to_have_text("The upload is paused")
    expect(page.get_by_role("status")).to_have_text("The upload is paused")
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_focused()
    fits(page)
    assert here(served) == 2 * MIB
    count = sent.patches()
    resume.click()
    is_planned(page, served, archive)
    # Two of seven pieces were there.
    assert sent.patches() - count == 5
    assert sent.methods.count("POST") == 1


def test_after_a_reload_the_same_file_is_sent_from_where_it_ended(
    visit: Visits, line: Line, served: Flask, archive: Path
) -> None:
    page = visit(line.address)
    # It asks whether the page is to be left.
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, line.address, archive)
    with held_at(page, 5) as held:
        preview(page)
        waits(page, held)
        page.reload()
    assert here(served) == 4 * MIB
    sent = Sent(page)
    choose(page, line.address, archive)
    preview(page)
    is_planned(page, served, archive)
    assert sent.methods == ["HEAD", "PATCH", "PATCH", "PATCH"]
    # It is an operation's by now: who uploads the file again begins anew.
    choose(page, line.address, archive)
    sent.methods.clear()
    preview(page)
    page.wait_for_url("**/plans/*")
    assert sent.methods[0] == "POST"


def test_an_upload_goes_on_when_the_line_and_the_server_are_back(
    visit: Visits, line: Line, served: Flask, folder: Path, archive: Path
) -> None:
    visit.expected = [OF_A_LOST_SERVER, OF_A_STATUS.format("423")]
    page = visit(line.address)
    choose(page, line.address, archive)
    amount = page.locator('[data-show="amount"]')
    sent = Sent(page)
    with gunicorn(folder, app=LIMITED) as dies:
        before, line.upstream = line.upstream, dies.address.port
        with held_at(page, 3) as held:
            preview(page)
            waits(page, held)
            line.cut()
        expect(amount).to_contain_text("The server can’t be reached. Trying again")
        expect(page.get_by_role("status")).to_contain_text("The server can’t be reached")
        dies.popen.kill()
    assert here(served) == 2 * MIB
    line.upstream = before
    line.mend()
    is_planned(page, served, archive)
    assert sent.methods.count("POST") == 1


def test_an_upload_is_cancelled_and_nothing_is_left(
    visit: Visits, line: Line, served: Flask, archive: Path
) -> None:
    visit.expected = [OF_A_STATUS.format("423")]
    page = visit(line.address)
    choose(page, line.address, archive)
    with held_at(page, 3) as held:
        preview(page)
        waits(page, held)
        page.get_by_role("button", name="Cancel upload").click()
    expect(page.get_by_label("Archive", exact=True)).to_be_focused()
    wait_for(lambda: uploads(served) == [])
    sent = Sent(page)
    preview(page)
    is_planned(page, served, archive)
    assert sent.methods[0] == "POST"


DROP = """
([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  return transfer;
}
"""


def test_a_file_is_dropped_on_the_form(
    visit: Visits, line: Line, served: Flask, archive: Path
) -> None:
    page = visit(line.address)
    page.goto(f"{line.address.origin}{PREFIX}/restore")
    expect(page.get_by_text("drop it here")).to_be_visible()
    content = base64.b64encode(archive.read_bytes()).decode()
    transfer = page.evaluate_handle(DROP, [FILE, content])
    form = page.locator("#upload")
    page.dispatch_event("#upload", "dragover", {"dataTransfer": transfer})
    expect(form).to_have_attribute("data-over", "")
    page.dispatch_event("#upload", "dragleave", {"dataTransfer": transfer})
    expect(form).not_to_have_attribute("data-over", "")
    page.dispatch_event("#upload", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#upload", "drop", {"dataTransfer": transfer})
    expect(form).not_to_have_attribute("data-over", "")
    field = page.get_by_label("Archive", exact=True)
    expect(field).to_be_focused()
    assert field.evaluate("field => field.files[0].name") == FILE
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Preview restore")).to_be_focused()
    page.keyboard.press("Enter")
    is_planned(page, served, archive)


def test_a_key_is_asked_for_before_the_upload_and_a_wrong_one_costs_no_second(
    visit: Visits, line: Line, archive: Path, tmp_path: Path
) -> None:
    visit.expected = [OF_A_STATUS.format("422")]
    key, wrong = age_key(tmp_path / "key.txt"), age_key(tmp_path / "wrong.txt")
    encrypted = tmp_path / "mine.tar.age"
    encrypted.write_bytes(key.close(archive.read_bytes()))
    page = visit(line.address)
    sent = Sent(page)
    choose(page, line.address, encrypted)
    preview(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This file is encrypted")
    assert sent.methods == []
    page.fill("#identity", wrong.identity.read_text())
    preview(page)
    expect(alert).to_contain_text("No key of those that were given opens this file")
    count = sent.patches()
    assert count == 7
    page.fill("#identity", key.identity.read_text())
    preview(page)
    page.wait_for_url("**/operations/*")
    assert sent.methods[-1] == "HEAD"
    assert sent.patches() == count
