"""An admin in a real browser: Chromium against the example host in gunicorn with two workers.

Every page that these tests come by has to do without a word in the console, a violation of the
Content-Security-Policy, a request to another host, and a scroll bar at the bottom of a phone.
What works without JavaScript is done in both ways.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import (
    Browser,
    Error,
    Page,
    WebSocketRoute,
    expect,
)
from sqlalchemy import select

import hexhub_backup
from examples.host_app import create_app
from examples.host_app.models import Package, User, db
from examples.host_app.seed import ADMIN, PASSWORD, seed
from hexhub_backup.jobs.backups import backups_of
from tests.support.browser import (
    OF_A_LOST_SERVER,
    OF_A_STATUS,
    Visits,
    both_ways,
    ends,
    fits,
    log_in,
)
from tests.support.hosts import Queue, make_app, queued_by
from tests.support.patience import wait_for
from tests.support.serving import (
    HELD,
    PREFIX,
    Address,
    Hold,
    Process,
    Visitor,
    gunicorn,
    is_idle,
    line_to,
    make_backup,
    threaded,
)

pytestmark = pytest.mark.usefixtures("served")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser") / "host"


@pytest.fixture(scope="module")
def served(folder: Path) -> Flask:
    """The registry that is served, to look into and to make what a test begins with."""
    return make_app(folder, users=6, packages=6, releases=4, file_size=64 << 10)


@pytest.fixture(scope="module")
def server(served: Flask, folder: Path) -> Iterator[Process]:
    with gunicorn(folder, app=HELD) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: Process) -> Address:
    address: Address = server.address
    return address


@pytest.fixture
def hold(folder: Path) -> Iterator[Hold]:
    """Holds the backups of the test at their first file."""
    with Hold(folder) as hold:
        yield hold


@pytest.fixture(scope="module")
def state(browser: Browser, address: Address) -> Any:
    """The cookies of the admin, who has logged in on the page."""
    visits = Visits(browser)
    page = visits(address, logged_in=False)
    log_in(page, address)
    state = page.context.storage_state()
    visits.close()
    assert visits.unexpected() == []
    return state


@pytest.fixture
def visit(browser: Browser, state: Any) -> Iterator[Visits]:
    visits = Visits(browser)
    visits.state = state
    yield visits
    visits.close()
    assert visits.unexpected() == []


def create(page: Page, address: Address) -> str:
    page.goto(f"{address.origin}{PREFIX}/new")
    fits(page)
    page.get_by_role("button", name="Create backup").click()
    page.wait_for_url("**/operations/*")
    return page.url.rpartition("/")[2]


def open_new_backup(page: Page, address: Address, app: Flask) -> str:
    """A backup that the test need not wait for."""
    wait_for(lambda: is_idle(app))
    operation = make_backup(app)
    page.goto(f"{address.origin}{PREFIX}/{operation}")
    fits(page)
    return operation


def holds_at_the_first_file(page: Page) -> None:
    expect(step(page, "copy_packages")).to_have_attribute("data-state", "running")
    expect(page.locator('[data-state="done"]')).to_have_count(5)


def step(page: Page, name: str) -> Any:
    return page.locator(f'[data-step="{name}"]')


def archive_of(folder: Path, operation: str) -> Path:
    return folder / "backups" / f"hexhub-backup-{operation}.tar"


def damage(archive: Path) -> str:
    """Change one byte of a package file in an archive; gives the member's name."""
    content = archive.read_bytes()
    found = re.search(rb"packages/[\w/.+-]+\.tar\.gz(?=\0)", content)
    assert found is not None
    at = found.start() + 512 + 100
    archive.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    return found[0].decode()


class Heard:
    """What the server has told a page, and how: the events' numbers over its websockets."""

    def __init__(self, page: Page) -> None:
        self.numbers: list[int] = []
        self.polls = 0
        page.on("websocket", lambda ws: ws.on("framereceived", self._hear))
        page.on("request", self._count)

    def _hear(self, frame: Any) -> None:
        self.numbers.append(json.loads(frame)["seq"])

    def _count(self, request: Any) -> None:
        self.polls += "/events?" in request.url


def events_of(app: Flask, operation: str) -> list[dict[str, Any]]:
    with app.app_context():
        return list(backups_of(app).orders.events(operation))


@both_ways
def test_a_backup_is_watched_step_by_step_and_downloaded(
    visit: Visits, address: Address, folder: Path, hold: Hold, scripts: bool
) -> None:
    page = visit(address, scripts=scripts)
    operation = create(page, address)
    holds_at_the_first_file(page)
    fits(page)
    hold.release()
    ends(page, "Backup is complete")
    expect(page.locator('[data-state="done"]')).to_have_count(10)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download")).click()
    archive = archive_of(folder, operation)
    assert download.value.suggested_filename == archive.name
    assert Path(download.value.path()).read_bytes() == archive.read_bytes()


@both_ways
def test_an_order_that_waits_is_shown_and_then_watched(
    visit: Visits, app: Flask, folder: Path, scripts: bool
) -> None:
    """The host's runner comes when it likes."""
    waiting = create_app(folder)
    queue = Queue()
    queued_by(backups_of(waiting), queue)
    with threaded(waiting) as address:
        page = visit(address, scripts=scripts)
        page.goto(f"{address.origin}{PREFIX}/new")
        page.get_by_role("button", name="Create backup").click()
        expect(page.locator("h1")).to_have_text("Backup is waiting to start")
        # It goes on by itself.
        expect(page.locator("[data-waited]")).to_have_text(re.compile(r"[1-9]\d* s"))
        fits(page)
        with waiting.app_context():
            hexhub_backup.run(waiting, queue.ids[0])
        ends(page, "Backup is complete", scripts=scripts)
        expect(page.locator('[data-state="done"]')).to_have_count(10)
        with waiting.app_context():
            db.engine.dispose()


def test_a_page_that_is_reloaded_in_the_middle_misses_nothing(
    visit: Visits, address: Address, app: Flask, hold: Hold
) -> None:
    page = visit(address)
    operation = create(page, address)
    holds_at_the_first_file(page)
    heard = Heard(page)
    page.reload()
    holds_at_the_first_file(page)
    before = int(page.locator("#operation").get_attribute("data-after") or "")
    hold.release()
    ends(page, "Backup is complete")
    expect(page.get_by_role("status")).to_have_text("Backup is complete")
    # What is not in the page already comes over its websocket, each once and in order.
    assert heard.numbers == list(range(before + 1, events_of(app, operation)[-1]["seq"] + 1))
    assert heard.polls == 0


@both_ways
def test_an_operation_of_another_worker_is_watched_and_cancelled(
    visit: Visits, server: Process, folder: Path, hold: Hold, app: Flask, scripts: bool
) -> None:
    operation = create(visit(server.address, scripts=scripts), server.address)
    wait_for(lambda: {"copy_packages"} & {each.get("step") for each in events_of(app, operation)})
    worker = hold.process_of("job")
    page = visit(server.address, scripts=scripts)
    heard = Heard(page)
    # While that worker stands still, it is the other one that answers.
    os.kill(worker, signal.SIGSTOP)
    try:
        page.goto(f"{server.address.origin}{PREFIX}/operations/{operation}")
        holds_at_the_first_file(page)
        if scripts:
            live = f"{PREFIX}/operations/{operation}/live"
            # Once it goes on, the first page may ask it again.
            other = wait_for(lambda: found if (found := hold.process_of(live)) != worker else None)
    finally:
        os.kill(worker, signal.SIGCONT)
    if scripts:
        children = Path(f"/proc/{server.popen.pid}/task/{server.popen.pid}/children").read_text()
        assert {str(worker), str(other)} == set(children.split())
    page.get_by_role("button", name="Cancel").click()
    hold.release()
    ends(page, "Backup was cancelled", scripts=scripts)
    expect(page.locator('[data-state="stopped"]')).to_have_count(1)
    assert not archive_of(folder, operation).exists()
    assert bool(heard.numbers) is scripts


def test_without_a_websocket_the_page_says_so_and_asks(
    visit: Visits, address: Address, hold: Hold
) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close()

    page = visit(address)
    page.route_web_socket("**/live*", refuse)
    create(page, address)
    expect(page.locator('[data-show="connection"]')).to_contain_text("asks every second")
    holds_at_the_first_file(page)
    hold.release()
    ends(page, "Backup is complete")


def test_a_lost_connection_is_told_and_what_was_missed_comes_once(
    visit: Visits, server: Process, app: Flask, folder: Path, hold: Hold
) -> None:
    """First nothing gets through, then all but websockets, then everything."""
    visit.expected = [OF_A_LOST_SERVER]
    files = sorted((folder / "storage/hosted/packages").iterdir())
    lost = [next(each.iterdir()) for each in files[1:3]]
    with line_to(server.address) as line:
        page = visit(line.address)
        page.clock.install()
        operation = create(page, line.address)
        holds_at_the_first_file(page)
        heard = Heard(page)
        connection = page.locator('[data-show="connection"]')
        expect(connection).to_be_hidden()
        line.cut()
        expect(connection).to_contain_text("can't be reached")
        kept = [each.rename(each.with_suffix(".lost")) for each in lost]
        try:
            hold.at(files[-1].name)
            warned = wait_for(lambda: warnings_of(app, operation, 2))
            line.mend(websockets=False)
            lines = page.locator('[data-show="log"] li')
            page.clock.fast_forward(2000)
            expect(connection).to_contain_text("asks every second")
            expect(lines).to_have_count(2)
            assert heard.numbers == []
            line.mend()
            # The pauses between two tries have grown, and nothing happens here to be told.
            page.clock.fast_forward(16_000)
            expect(connection).to_be_hidden()
            hold.release()
            ends(page, "Backup is complete, with warnings")
        finally:
            for found, path in zip(kept, lost, strict=True):
                found.rename(path)
    told = page.locator('[data-show="log"] li').filter(has_text="Warning")
    assert told.count() == 0, "an outcome lists its warnings itself"
    for each in warned:
        expect(page.get_by_text(each["record"])).to_have_count(1)
    assert heard.numbers
    assert heard.numbers == sorted(set(heard.numbers))


def warnings_of(app: Flask, operation: str, count: int) -> list[dict[str, Any]]:
    """The warnings of an operation once there are so many."""
    found = [each for each in events_of(app, operation) if each["type"] == "warning"]
    return found if len(found) == count else []


@contextmanager
def signed_out(app: Flask) -> Iterator[None]:
    """As if the admin had signed out everywhere, and back in at the end."""
    with app.app_context():
        admin = db.session.execute(select(User).filter_by(username=ADMIN)).scalar_one()
        before, admin.session_token = admin.session_token, "another"
        db.session.commit()
        try:
            yield
        finally:
            admin.session_token = before
            db.session.commit()


def test_whoever_is_signed_out_while_watching_comes_back_here(
    visit: Visits, address: Address, app: Flask, hold: Hold
) -> None:
    visit.expected = [OF_A_STATUS.format(401), OF_A_LOST_SERVER]
    page = visit(address)
    create(page, address)
    holds_at_the_first_file(page)
    here = page.url
    expect(page).to_have_title(re.compile(r"^\d+ % · Backup is running"))
    with signed_out(app):
        connection = page.locator('[data-show="connection"]')
        expect(connection).to_contain_text("You are signed out. The operation keeps running.")
        expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
        expect(page).to_have_title(re.compile("^Backup is running"))
        page.get_by_role("link", name="Sign in again").click()
        page.fill("#username", ADMIN)
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url(here)
        hold.release()
        ends(page, "Backup is complete")


def test_the_list_of_backups_shows_what_happens_elsewhere(
    visit: Visits, address: Address, app: Flask, hold: Hold
) -> None:
    page = visit(address)
    page.clock.install()
    earlier = open_new_backup(page, address, app)
    page.goto(f"{address.origin}{PREFIX}/")
    link = page.locator(f'td a[href$="/{earlier}"]')
    link.focus()
    watcher = visit(address)
    later = create(watcher, address)
    holds_at_the_first_file(watcher)
    notice = page.get_by_role("link", name="Watch")
    page.clock.fast_forward(10_000)
    expect(notice).to_have_count(1)
    assert focused(page) == link.get_attribute("href")
    expect(page.get_by_role("status")).to_be_empty()
    hold.release()
    ends(watcher, "Backup is complete")
    page.clock.fast_forward(10_000)
    expect(notice).to_have_count(0)
    expect(page.locator(f'td a[href$="/{later}"]')).to_have_count(1)
    assert focused(page) == link.get_attribute("href")
    expect(page.get_by_role("status")).to_have_text("The operation has ended.")


def test_what_is_chosen_in_the_filter_stays_until_it_is_sent(
    visit: Visits, address: Address, app: Flask
) -> None:
    page = visit(address)
    page.clock.install()
    open_new_backup(page, address, app)
    page.goto(f"{address.origin}{PREFIX}/?sort=oldest")
    page.get_by_label("State", exact=True).select_option("completed")
    page.get_by_role("button", name="Filter").focus()
    open_new_backup(visit(address), address, app)
    page.clock.fast_forward(30_000)
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=completed**")


def focused(page: Page) -> str:
    """Where the link leads that has the focus, also while another window is in front."""
    address: str = page.evaluate("document.activeElement.getAttribute('href')")
    return address


def test_a_page_that_stays_open_renews_its_token(visit: Visits, address: Address) -> None:
    page = visit(address)
    page.clock.install()
    page.goto(f"{address.origin}{PREFIX}/new")
    field = page.locator(".hexhub-backup input[name=csrf_token]")
    # Two of one second are the same.
    field.evaluate("field => (field.value = 'old')")
    page.clock.fast_forward(15 * 60_000)
    expect(field).to_have_value("old")
    with page.expect_response(f"**{PREFIX}/token") as renewed:
        page.clock.fast_forward(10 * 60_000)
    expect(field).to_have_value(renewed.value.json()["token"])
    page.get_by_role("button", name="Create backup").click()
    ends(page, "Backup is complete")


def test_without_scripts_a_lost_connection_takes_a_reload(
    visit: Visits, server: Process, hold: Hold
) -> None:
    visit.expected = [OF_A_LOST_SERVER]
    with line_to(server.address) as line:
        page = visit(line.address, scripts=False)
        create(page, line.address)
        holds_at_the_first_file(page)
        here = page.url
        line.cut()
        with pytest.raises(Error, match="ERR_"):
            page.reload()
        line.mend()
        hold.release()
        page = page.context.new_page()
        page.goto(here)
        ends(page, "Backup is complete")


def test_the_page_outlives_its_server(visit: Visits, folder: Path, app: Flask, hold: Hold) -> None:
    """A server that stops ends its operation, and the page tells so once the next one is there."""
    visit.expected = [OF_A_LOST_SERVER]
    with gunicorn(folder, app=HELD) as first, line_to(first.address) as line:
        page = visit(line.address)
        page.clock.install()
        create(page, line.address)
        holds_at_the_first_file(page)
        line.cut()
        assert first.end() == 0
        hold.release()
        expect(page.locator('[data-show="connection"]')).to_contain_text("can't be reached")
        with gunicorn(folder, app=HELD) as second:
            line.upstream = second.address.port
            line.mend()
            page.clock.fast_forward(16_000)
            ends(page, "Backup was interrupted")
            expect(page.get_by_text("Server stopped.")).to_be_visible()
            expect(page.get_by_role("link", name="Try again")).to_be_visible()


def test_a_worker_that_was_killed_is_told_by_the_next(
    visit: Visits, server: Process, app: Flask, hold: Hold
) -> None:
    visit.expected = [OF_A_LOST_SERVER]
    page = visit(server.address)
    operation = create(page, server.address)
    holds_at_the_first_file(page)
    os.kill(hold.process_of("job"), signal.SIGKILL)
    hold.release()

    def ended() -> bool:
        # The worker that comes in its place looks around at its first request.
        with suppress(OSError):
            server.address.request("GET", "/login", Visitor())
        return bool(events_of(app, operation)[-1]["type"] == "result")

    wait_for(ended)
    ends(page, "Backup was interrupted")
    expect(page.get_by_text("No archive was left behind.")).to_be_visible()


@both_ways
def test_a_backup_that_fails_says_why_and_what_to_do(
    visit: Visits, address: Address, folder: Path, scripts: bool
) -> None:
    package = next((folder / "storage/hosted/packages").rglob("*.tar.gz"))
    aside = package.rename(package.with_suffix(".aside"))
    package.mkdir()
    try:
        page = visit(address, scripts=scripts)
        operation = create(page, address)
        ends(page, "Backup failed", scripts=scripts)
    finally:
        package.rmdir()
        aside.rename(package)
    expect(page.get_by_text(f"{package} is not a file: move it out of the storage")).to_be_visible()
    assert not archive_of(folder, operation).exists()
    page.get_by_role("link", name="Try again").click()
    ends(page, "New backup")


@both_ways
def test_a_check_finds_a_good_archive_good_and_a_damaged_one_damaged(
    visit: Visits, address: Address, app: Flask, folder: Path, scripts: bool
) -> None:
    page = visit(address, scripts=scripts)
    operation = open_new_backup(page, address, app)
    page.get_by_role("button", name="Verify now").click()
    ends(page, "Verification is complete", scripts=scripts)
    expect(page.get_by_text("The archive is intact")).to_be_visible()
    name = damage(archive_of(folder, operation))
    page.get_by_role("link", name="Open the backup").click()
    page.get_by_role("button", name="Verify now").click()
    ends(page, "This archive is damaged", scripts=scripts)
    expect(page.locator("#operation")).to_contain_text(name)
    page.get_by_role("link", name="Open the backup").click()
    expect(page.get_by_text("This archive is damaged")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("Restore…"))).to_have_count(0)
    fits(page)
    page.get_by_role("link", name="Create a new backup").click()
    ends(page, "New backup")


def test_delete_asks_in_a_dialog_that_a_keyboard_can_use(
    visit: Visits, address: Address, app: Flask
) -> None:
    visit.expected = [OF_A_STATUS.format(404)]
    page = visit(address)
    operation = open_new_backup(page, address, app)
    button = page.get_by_role("button", name="Delete…")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    fits(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press(" ")
    dialog.get_by_role("button", name="Delete this backup").click()
    page.wait_for_url(f"**{PREFIX}/")
    is_gone(page, address, operation)


def test_delete_asks_on_a_page_without_scripts(
    visit: Visits, address: Address, app: Flask, folder: Path
) -> None:
    visit.expected = [OF_A_STATUS.format(404)]
    page = visit(address, scripts=False)
    operation = open_new_backup(page, address, app)
    page.get_by_role("link", name="Delete…").click()
    ends(page, "Delete this backup?")
    page.get_by_role("link", name="Cancel").click()
    assert archive_of(folder, operation).exists()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete this backup").click()
    ends(page, "Backups")
    assert not archive_of(folder, operation).exists()
    is_gone(page, address, operation)


def is_gone(page: Page, address: Address, operation: str) -> None:
    """Who comes late finds a page that says so, in words for people with a browser."""
    answer = page.goto(f"{address.origin}{PREFIX}/{operation}")
    assert answer is not None
    assert answer.status == 404
    ends(page, "Not found")
    expect(
        page.get_by_text(f"There is no backup {operation}. It may have been deleted")
    ).to_be_visible()
    page.get_by_role("link", name="Back to backups").click()
    ends(page, "Backups")


# restore


def restore(page: Page, address: Address, archive: Path) -> None:
    """Hand an archive to the form, up to the page of the inspection."""
    page.goto(f"{address.origin}{PREFIX}/restore")
    fits(page)
    page.get_by_label("Archive", exact=True).set_input_files(archive)
    page.get_by_role("button", name="Preview restore").click()


@pytest.fixture
def empty(tmp_path: Path) -> Flask:
    """A registry that has nothing but its admin."""
    app = create_app(tmp_path / "empty")
    with app.app_context():
        seed(users=1, packages=0, releases=0, file_size=0)
        backups_of(app).prepare(app)
    return app


@both_ways
def test_an_archive_is_restored_into_an_empty_registry(
    visit: Visits, app: Flask, folder: Path, empty: Flask, tmp_path: Path, scripts: bool
) -> None:
    wait_for(lambda: is_idle(app))
    archive = archive_of(folder, make_backup(app))
    damaged = tmp_path / "damaged.tar"
    shutil.copy(archive, damaged)
    name = damage(damaged)
    with threaded(empty) as elsewhere:
        page = visit(elsewhere, scripts=scripts, logged_in=False)
        log_in(page, elsewhere)
        restore(page, elsewhere, damaged)
        ends(page, "This archive can’t be used", scripts=scripts)
        expect(page.locator("#operation")).to_contain_text(name)
        assert counts(empty) == (1, 0)
        restore(page, elsewhere, archive)
        ends(page, "What this restore would do", scripts=scripts)
        page.get_by_role("button", name="Restore now").click()
        ends(page, "Restore is complete, with warnings", scripts=scripts)
        expect(page.get_by_role("row", name="created")).to_have_text(
            re.compile(r"created\s*5\s*6\s*24\s*\d+")
        )
        page.goto(f"{elsewhere.origin}/")
        expect(page.get_by_role("link", name="auth_gate")).to_be_visible()
    assert counts(empty) == (6, 6)
    assert files(tmp_path / "empty") == files(folder)


def counts(app: Flask) -> tuple[int, int]:
    """How many users and local packages a registry has."""
    with app.app_context():
        packages = db.session.query(Package).filter_by(source="local").count()
        return db.session.query(User).count(), packages


def files(folder: Path) -> dict[str, str]:
    """Every file that is hosted, by its hash."""
    hosted = folder / "storage/hosted"
    return {
        str(path.relative_to(hosted)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in hosted.rglob("*.tar.gz")
    }


@both_ways
def test_what_is_no_archive_is_refused_on_a_page_with_a_way_on(
    visit: Visits, address: Address, tmp_path: Path, scripts: bool
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff" + bytes(100_000))
    visit.expected = [OF_A_STATUS.format(422)]
    page = visit(address, scripts=scripts)
    restore(page, address, photo)
    if scripts:
        expect(page.get_by_role("alert")).to_contain_text("photo.jpg can't be used: ")
        expect(page.get_by_role("button", name="Preview restore")).to_be_enabled()
    else:
        expect(page.locator("h1")).to_have_text("This archive can’t be used")
        expect(page.get_by_text("photo.jpg can't be used: ")).to_be_visible()
        expect(page.locator(".hexhub-backup a.btn-primary")).to_have_count(1)
    fits(page)


@both_ways
def test_an_upload_that_can_not_be_taken_is_refused_on_a_page(
    visit: Visits, address: Address, folder: Path, hold: Hold, tmp_path: Path, scripts: bool
) -> None:
    """Far more than fits into any buffer, and it is refused before it is read."""
    visit.expected = [OF_A_STATUS.format("40[09]")]
    large = tmp_path / "large.tar"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    page = visit(address, scripts=scripts)
    page.goto(f"{address.origin}{PREFIX}/restore")
    # Somebody has logged in anew in another tab, say: the form's token holds no more.
    page.locator("main input[name=csrf_token]").evaluate_all(
        "tokens => tokens.forEach((token) => (token.value = 'old'))"
    )
    page.get_by_label("Archive", exact=True).set_input_files(large)
    page.get_by_role("button", name="Preview restore").click()
    if not scripts:
        ends(page, "That did not work")
    expect(page.get_by_text("This page has expired")).to_be_visible()
    page.goto(f"{address.origin}{PREFIX}/restore")
    page.get_by_label("Archive", exact=True).set_input_files(large)
    watcher = visit(address)
    create(watcher, address)
    page.get_by_role("button", name="Preview restore").click()
    if not scripts:
        ends(page, "Not now")
    expect(page.get_by_role("alert" if scripts else "main")).to_contain_text(
        "Only one operation can run at a time"
    )
    page.get_by_role("link", name="Watch").click()
    holds_at_the_first_file(page)
    watcher.get_by_role("button", name="Cancel").click()
    hold.release()
    ends(watcher, "Backup was cancelled")
    assert list((folder / "backups").glob("uploads/*.part")) == []


def test_an_upload_shows_how_far_it_is_and_can_be_stopped(
    visit: Visits, address: Address, folder: Path, app: Flask, tmp_path: Path
) -> None:
    # A cancelled upload is removed when the server has seen that nothing more comes of it.
    visit.expected = [OF_A_STATUS.format("42[23]")]
    page = visit(address)
    archive = archive_of(folder, open_new_backup(page, address, app))
    page.goto(f"{address.origin}{PREFIX}/restore")
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    as_usual = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    # It would take four minutes.
    slow = {**as_usual, "uploadThroughput": 250_000}
    line.send("Network.emulateNetworkConditions", slow)
    large = tmp_path / "large.tar"
    with large.open("wb") as file:
        file.write(archive.read_bytes()[:10_000])
        file.truncate(64 << 20)
    field = page.get_by_label("Archive", exact=True)
    preview = page.get_by_role("button", name="Preview restore")
    progress = page.get_by_role("progressbar", name="How much is uploaded")
    field.set_input_files(large)
    expect(progress).to_be_hidden()
    preview.click()
    expect(progress).to_be_visible()
    expect(page.locator('[data-show="amount"]')).to_contain_text(re.compile("of 67.1 MB, .* left"))
    expect(preview).to_be_disabled()
    expect(field).to_be_disabled()
    fits(page)
    leaving = "window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert not page.evaluate(leaving), "it asks first"
    page.get_by_role("button", name="Cancel upload").click()
    expect(progress).to_be_hidden()
    assert page.evaluate(leaving)
    expect(field).to_be_focused()
    wait_for(lambda: list((folder / "backups").glob("uploads/*.part")) == [])

    line.send("Network.emulateNetworkConditions", as_usual)
    notes = tmp_path / "notes.zip"
    notes.write_bytes(b"PK\x03\x04" + bytes(1000))
    field.set_input_files(notes)
    preview.click()
    expect(page.get_by_role("alert")).to_contain_text(
        "notes.zip can't be used: the file is compressed with zip"
    )
    field.set_input_files(archive)
    preview.click()
    page.wait_for_url("**/plans/*")


@both_ways
def test_a_page_that_was_opened_while_an_operation_ran_works_when_it_has_ended(
    visit: Visits, address: Address, folder: Path, hold: Hold, app: Flask, scripts: bool
) -> None:
    """A button that is off stays off: nothing turns it on again before somebody reloads."""
    watcher = visit(address)
    create(watcher, address)
    holds_at_the_first_file(watcher)
    new, restore = visit(address, scripts=scripts), visit(address, scripts=scripts)
    new.goto(f"{address.origin}{PREFIX}/new")
    expect(new.get_by_text("Only one operation can run at a time")).to_be_visible()
    restore.goto(f"{address.origin}{PREFIX}/restore")
    hold.release()
    ends(watcher, "Backup is complete")
    wait_for(lambda: is_idle(app))
    new.get_by_role("button", name="Create backup").click()
    ends(new, "Backup is complete", scripts=scripts)
    made = new.url.rpartition("/")[2]
    restore.get_by_label("Archive", exact=True).set_input_files(archive_of(folder, made))
    restore.get_by_role("button", name="Preview restore").click()
    restore.wait_for_url("**/plans/*")


# what is no page


@both_ways
def test_an_address_that_only_a_button_has_is_told_on_a_page(
    visit: Visits, address: Address, app: Flask, scripts: bool
) -> None:
    visit.expected = [OF_A_STATUS.format("40[45]")]
    page = visit(address, scripts=scripts)
    operation = open_new_backup(page, address, app)
    for path, status, heading in (
        (f"/{operation}/verify", 405, "Nothing was done"),
        ("/what/is/this", 404, "Not found"),
        ("/operations/20200101-000000-abcdef", 404, "Not found"),
    ):
        answer = page.goto(f"{address.origin}{PREFIX}{path}")
        assert answer is not None
        assert answer.status == status
        ends(page, heading)
        expect(page.locator(".hexhub-backup")).not_to_contain_text("flask")
        page.get_by_role("link", name="Back to backups").click()
        ends(page, "Backups")
