"""`make screenshots`: every page in every state, in a real browser, for a critical eye."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import insert, select

from examples.host_app.seed import ADMIN, PASSWORD
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.history.tables import backups
from tests.support.age import age_key
from tests.support.browser import barriers, chromium
from tests.support.instance import ROOT, Instance
from tests.support.patience import wait_for
from tests.support.plans import fill
from tests.support.serving import HELD, PREFIX, SPEAKING, Hold, gunicorn

OUT = ROOT / "build" / "screenshots"
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
#: What axe-core finds, or can't decide and leaves to an eye, and a state in which it does.
UNSURE: dict[str, dict[str, str]] = {"violations": {}, "incomplete": {}}


class Server:
    """An instance of the example host, served by a process of its own."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.backups = f"{self.address}/admin/backups"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", HELD, "run", f"--port={self.port}"],
            cwd=ROOT,
            env=self.instance.environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.instance.path.parent / "server.log").open("ab"),
        )
        for _ in range(600):
            try:
                urlopen(self.address).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit("the example host did not start")

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait()


def signed_in(browser: Browser, server: Server, *, user: str = ADMIN, scripts: bool = True) -> Page:
    page = browser.new_context(java_script_enabled=scripts).new_page()
    page.goto(f"{server.address}/login")
    page.fill("#username", user)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/*")
    return page


def shoot(page: Page, name: str, *, full: bool = True) -> None:
    scripts = page.evaluate("matchMedia('(scripting: enabled)').matches")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(
                path=OUT / f"{name}-{width}-{scheme}.png", full_page=full, animations="disabled"
            )
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                print(f"{name} at {width} px is {wide} px wide")
        if scripts:
            for sort, found in UNSURE.items():
                found.update(dict.fromkeys(barriers(page, sort), f"{name}, {scheme}"))


def picture(page: Page, name: str, *, of: str | None = None) -> None:
    """A picture of the manual: what a screen shows of a page, from the top or from an element."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1100, "height": 840})
    if of is not None:
        page.evaluate("of => document.querySelector(of).scrollIntoView()", of)
    page.screenshot(path=ROOT / "docs" / f"{name}.png", animations="disabled")


def create(page: Page, server: Server) -> str:
    """Press the button; gives the id of the operation."""
    page.goto(f"{server.backups}/new")
    page.click("text=Create backup")
    page.wait_for_url("**/operations/*")
    return page.url.rsplit("/", 1)[1]


def copying(page: Page) -> None:
    page.wait_for_selector('[data-step="copy_packages"]:not([data-state="waiting"])')


def done(page: Page) -> None:
    page.wait_for_selector(
        '#operation:not([data-state="queued"], [data-state="running"])', timeout=120_000
    )


def history_of_a_month(instance: Instance, whole: str) -> None:
    """Give the history a past, in every state that there is."""
    none = {"size_bytes": None, "manifest": None, "intact": None, "verified_at": None}
    no_space = (
        "The backup needs about 4,215,000,000 bytes in /srv/backups, and there are 1,893,027,840: "
        "make room there, or let HEXHUB_BACKUP_PATH name a larger place. Nothing was written."
    )
    past: list[tuple[int, dict[str, Any]]] = [
        (1, {"state": "failed", "reason": no_space, **none}),
        (2, {"warning_count": 3, "file": True}),
        (3, {"state": "cancelled", "reason": "It was cancelled.", **none}),
        (5, {"state": "interrupted", "reason": "server stopped", **none}),
        (8, {"kept": True, "file": True}),
        (9, {}),
        (11, {"intact": False, "file": True}),
        *((days, {"file": True}) for days in range(12, 29)),
    ]
    with instance.database() as connection:
        good = connection.execute(select(backups).where(backups.c.id == whole)).one()._asdict()
        for days, values in past:
            identifier = of_day(whole, days)
            if values.pop("file", False):
                archive = instance.depot / f"hexhub-backup-{identifier}.tar"
                archive.hardlink_to(instance.depot / f"hexhub-backup-{whole}.tar")
            times = ("created_at", "verified_at")
            then = {name: good[name] - timedelta(days=days) for name in times}
            row = {**good, **then, **values, "id": identifier}
            connection.execute(insert(backups).values(row))


def damaged(archive: Path) -> bytes:
    """An archive in which one byte of its last file is another."""
    content = bytearray(archive.read_bytes())
    content[content.rfind(b"docs/", 0, content.find(b"SHA256SUMS")) + 512] ^= 1
    return bytes(content)


def of_day(whole: str, days: int) -> str:
    return f"{whole[:-6]}{days:06x}"


def plan_of(page: Page, server: Server, backup: str, *strategy: str) -> str:
    """Ask what a restore of a backup would do, and then with a strategy; gives the plan's id."""
    page.goto(f"{server.backups}/restore?backup={backup}")
    page.click("text=Preview restore")
    planned(page)
    for text in strategy:
        page.click(f"text={text}")
        preview_again(page)
    return page.url.rsplit("/", 1)[1]


def preview_again(page: Page) -> None:
    """From the page of a plan to that of another choice."""
    plan = page.url.rsplit("/", 1)[1]
    page.click("text=Preview restore")
    page.wait_for_url(lambda url: plan not in url)
    planned(page)


def planned(page: Page) -> None:
    page.wait_for_selector("#entries", timeout=120_000)


def changed_registry(instance: Instance) -> None:
    """Let a registry differ from its backup in all that an admin must not overlook."""
    hosted = instance.storage / "hosted" / "packages"
    for path in sorted(hosted.rglob("*.tar.gz"))[5:17]:
        path.write_bytes(path.read_bytes()[:-4096])
    with instance.database() as connection:
        run = connection.exec_driver_sql
        run("UPDATE users SET email = 'new-' || email WHERE username NOT IN ('admin', 'alice')")
        run("UPDATE users SET is_admin = false WHERE username IN ('alice', 'bob.builder')")
        run("UPDATE users SET email = 'me@example.org' WHERE username = 'admin'")
        run('UPDATE packages SET meta = \'{"description": "Another one"}\' WHERE id % 5 = 1')
        (gone, email) = run("SELECT id, email FROM users ORDER BY id DESC LIMIT 1").one()
        for table in ("owners", "api_keys"):
            run(f"DELETE FROM {table} WHERE user_id = {gone}")
        run(f"DELETE FROM users WHERE id = {gone}")
        run(
            "UPDATE users SET email = ? WHERE username = 'alice'",
            (email.removeprefix("new-"),),
        )


def plan_pages(page: Page, server: Server) -> None:
    """A restore, from its plan to its undo."""
    instance = server.instance
    with instance.database() as connection:
        run = connection.exec_driver_sql
        run("UPDATE users SET is_admin = true WHERE username IN ('alice', 'bob.builder')")
        run("UPDATE users SET password_hash = 'md5:5f4dcc3b' WHERE username = 'alice'")
    for path in sorted((instance.storage / "hosted" / "packages").rglob("*.tar.gz"))[20:22]:
        path.rename(path.with_suffix(".aside"))
    backup = create(page, server)
    done(page)
    plan_of(page, server, backup)
    shoot(page, "plan-nothing-to-do")
    changed_registry(instance)
    plan = plan_of(page, server, backup, "replace it with")
    picture(page, "restore-plan")
    shoot(page, "plan-needs-your-attention")
    page.goto(f"{page.url}?note=package_file_differs")
    shoot(page, "plan-all-of-a-note")
    page.goto(f"{server.backups}/plans/{plan}?state=conflict&text=b")
    shoot(page, "plan-filtered")
    page.goto(f"{server.backups}/plans/{plan}")
    page.fill("#replaces", "12")
    page.click("text=Restore now")
    page.wait_for_selector("#replaces-error")
    shoot(page, "plan-wrong-number", full=False)
    page.click("summary")
    page.check("#which-chosen")
    page.fill("#find-package", "a")
    page.locator("[name=package]:visible").nth(1).check()
    page.locator("[name=package]:visible").nth(2).check()
    page.locator("#choice").scroll_into_view_if_needed()
    shoot(page, "plan-choice")
    preview_again(page)
    shoot(page, "plan")
    plan_of(page, server, backup, "stop if anything differs")
    shoot(page, "plan-refused-for-conflicts")
    large = plan_of(page, server, backup)
    fill(instance.depot / "plans" / large, 100_000, notes=12_345)
    page.goto(f"{server.backups}/plans/{large}?kind=releases&state=conflict&page=40")
    shoot(page, "plan-of-100000-filtered")

    page.goto(f"{server.backups}/plans/{plan}")
    page.check("[name=backup_first]")
    number = page.locator("label[for=replaces]").inner_text().rpartition("(")[2].rstrip(")")
    page.fill("#replaces", number)
    picture(page, "restore-confirm", of="#apply")
    page.click("text=Restore now")
    done(page)
    restored = page.url
    picture(page, "restore-outcome")
    shoot(page, "outcome-with-warnings")
    page.goto(f"{server.backups}/plans/{plan}")
    shoot(page, "plan-carried-out")
    page.goto(restored)
    page.click("text=Undo…")
    shoot(page, "undo-dialog", full=False)
    page.goto(f"{restored}/undo")
    shoot(page, "undo-page")
    page.get_by_role("button", name="Undo this restore").click()
    done(page)
    shoot(page, "undo-outcome")
    page.goto(restored)
    shoot(page, "outcome-undone")

    with instance.database() as connection:
        run = connection.exec_driver_sql
        run(
            "UPDATE users SET password_hash = (SELECT password_hash FROM users AS other "
            "WHERE other.username = 'admin') WHERE username = 'alice'"
        )
    for path in (instance.storage / "hosted" / "packages").rglob("*.aside"):
        path.rename(path.with_suffix(".gz"))
    clean = create(page, server)
    done(page)
    with instance.database() as connection:
        connection.exec_driver_sql(
            "UPDATE users SET email = 'd@example.org' WHERE username = 'dmitri'"
        )
    stale = plan_of(page, server, clean, "replace it with")
    with instance.database() as connection:
        connection.exec_driver_sql("UPDATE packages SET private = NOT private")
    page.fill("#replaces", "1")
    page.click("text=Restore now")
    done(page)
    shoot(page, "operation-registry-changed")
    page.click("text=Make a new plan")
    page.wait_for_url(lambda url: stale not in url)
    planned(page)
    number = page.locator("label[for=replaces]").inner_text().rpartition("(")[2].rstrip(")")
    page.fill("#replaces", number)
    page.click("text=Restore now")
    done(page)
    shoot(page, "outcome-complete")
    page.goto(f"{server.backups}/")
    shoot(page, "history-after-restores")


def every_page(browser: Browser, server: Server) -> None:
    instance = server.instance
    page = signed_in(browser, server)
    page.goto(f"{server.backups}/")
    shoot(page, "history-empty")
    page.goto(f"{server.backups}/new")
    shoot(page, "new")

    with Hold(instance.path) as hold, instance.database() as connection:
        packages = connection.exec_driver_sql(
            "SELECT name FROM packages WHERE source = 'local' ORDER BY name"
        )
        hold.at(packages.scalars().all()[16])
        first = create(page, server)
        page.wait_for_selector('[data-step="copy_packages"][data-state="running"]')
        wait_for(lambda: page.evaluate("document.querySelector('progress').value >= 20"))
        picture(page, "operation")
        shoot(page, "operation-running")
    done(page)
    shoot(page, "operation-complete")
    page.goto(f"{server.backups}/{first}")
    shoot(page, "backup")
    page.click("text=Delete…")
    shoot(page, "backup-delete-dialog", full=False)
    page.goto(f"{server.backups}/{first}/delete")
    shoot(page, "backup-delete-page")

    with Hold(instance.path):
        cancelled = create(page, server)
        with page.expect_response(lambda answer: answer.request.method == "POST"):
            page.click("text=Cancel")
    done(page)
    shoot(page, "operation-cancelled")
    page.goto(f"{server.backups}/{cancelled}")
    shoot(page, "backup-cancelled")

    for path in sorted((instance.storage / "hosted" / "packages").rglob("*.tar.gz"))[:3]:
        path.rename(path.with_suffix(".aside"))
    warned = create(page, server)
    done(page)
    shoot(page, "operation-with-warnings")
    page.goto(f"{server.backups}/{warned}")
    shoot(page, "backup-with-warnings")

    history_of_a_month(instance, first)
    page.goto(f"{server.backups}/")
    shoot(page, "history")
    page.goto(f"{server.backups}/?page=2")
    shoot(page, "history-second-page")
    page.goto(f"{server.backups}/operations")
    shoot(page, "activity")
    page.goto(f"{server.backups}/retention")
    shoot(page, "retention")
    page.goto(f"{server.backups}/retention?last=3&daily=5&weekly=2&days=4")
    shoot(page, "retention-other-rules")
    page.goto(f"{server.backups}/retention?days=4")
    shoot(page, "retention-refused")
    page.goto(f"{server.backups}/protection")
    shoot(page, "protection")
    for days, name in ((1, "failed"), (9, "file-missing"), (11, "damaged"), (8, "kept")):
        page.goto(f"{server.backups}/{of_day(first, days)}")
        shoot(page, f"backup-{name}")

    page.goto(f"{server.backups}/{first}")
    page.click("text=Verify now")
    done(page)
    shoot(page, "operation-verified")
    archive = instance.depot / f"hexhub-backup-{of_day(first, 12)}.tar"
    archive.unlink()
    archive.write_bytes(damaged(instance.depot / f"hexhub-backup-{first}.tar"))
    page.goto(f"{server.backups}/{of_day(first, 12)}")
    page.click("text=Verify now")
    done(page)
    shoot(page, "operation-damaged")
    package = next((instance.storage / "hosted" / "packages").rglob("*.tar.gz"))
    aside = package.rename(package.with_suffix(".aside"))
    package.mkdir()
    create(page, server)
    done(page)
    shoot(page, "operation-failed")
    package.rmdir()
    aside.rename(package)
    page.goto(f"{server.backups}/restore")
    picture(page, "restore-choose")
    shoot(page, "restore")
    page.goto(f"{server.backups}/restore?backup={first}")
    shoot(page, "restore-from-backup")
    plan_pages(page, server)

    other, busy = page.context.new_page(), page.context.new_page()
    busy.goto(f"{server.backups}/new")
    with Hold(instance.path):
        create(page, server)
        other.goto(f"{server.backups}/")
        busy.click("text=Create backup")
        shoot(other, "history-running")
        shoot(busy, "error-busy")
    done(page)

    page.goto(f"{server.backups}/20200101-000000-abcdef")
    shoot(page, "error-no-such-backup")
    page.goto(f"{server.backups}/what/is/this")
    shoot(page, "error-404")
    page.goto(f"{server.backups}/{first}/verify")
    shoot(page, "error-405")
    without = signed_in(browser, server, scripts=False)
    with Hold(instance.path):
        create(without, server)
        shoot(without, "operation-running-without-scripts")
    create_again = signed_in(browser, server)
    create_again.goto(without.url)
    done(create_again)

    with instance.database() as connection:
        (user,) = connection.exec_driver_sql(
            "SELECT username FROM users WHERE NOT is_admin AND NOT totp_enabled "
            "AND deactivated_at IS NULL"
        ).first() or ("",)
    stranger = signed_in(browser, server, user=user)
    stranger.goto(f"{server.backups}/")
    shoot(stranger, "error-403")

    with Hold(instance.path):
        create(page, server)
        copying(page)
        server.stop(signal.SIGKILL)
        page.wait_for_selector("text=Trying again")
        shoot(page, "operation-connection-lost")
    server.start()
    done(page)
    shoot(page, "operation-interrupted")


def places_pages(browser: Browser, folder: Path) -> None:
    """Backups that have copies elsewhere, and one that is there only."""
    instance = Instance(folder / "copied")
    instance.seed(packages=8, releases=2)
    instance.nas.mkdir()
    instance.backups("destinations", "init", "nas")
    gone = instance.backups("create")["id"]
    marker = instance.nas / MARKER
    marker.unlink()
    waits = instance.backups("create")["id"]
    marker.touch()
    copied = instance.backups("create")["id"]
    (instance.depot / f"hexhub-backup-{gone}.tar").unlink()
    server = Server(instance)
    server.start()
    try:
        page = signed_in(browser, server)
        page.goto(f"{server.backups}/")
        shoot(page, "history-places")
        for name, backup in (("elsewhere", gone), ("waits", waits), ("copied", copied)):
            page.goto(f"{server.backups}/{backup}")
            shoot(page, f"backup-{name}")
        page.click("text=Delete…")
        shoot(page, "delete-everywhere-dialog", full=False)
        for name, path, button in (
            ("scan", "", "Scan destinations"),
            ("brought-back", f"{gone}", "Bring back"),
        ):
            page.goto(f"{server.backups}/{path}")
            page.click(f"text={button}")
            page.wait_for_url("**/operations/*")
            done(page)
            shoot(page, f"operation-{name}")
    finally:
        server.stop()


def key_pages(browser: Browser, folder: Path) -> None:
    """Copies that are encrypted, one of which is opened with its key."""
    key = age_key(folder / "key.txt")
    os.environ["HOST_APP_AGE_RECIPIENTS"] = key.recipient
    instance = Instance(folder / "encrypted")
    instance.seed(packages=8, releases=2)
    instance.nas.mkdir()
    instance.backups("destinations", "init", "nas")
    gone = instance.backups("create")["id"]
    (instance.depot / f"hexhub-backup-{gone}.tar").unlink()
    server = Server(instance)
    server.start()
    try:
        page = signed_in(browser, server)
        page.goto(f"{server.backups}/protection")
        shoot(page, "protection-key-not-proved")
        instance.backups("keys", "check", "--identity", str(key.identity))
        page.goto(f"{server.backups}/protection")
        shoot(page, "protection-key-proved")
        page.goto(f"{server.backups}/{gone}")
        shoot(page, "backup-encrypted")
        page.goto(f"{server.backups}/restore")
        page.click("text=It is encrypted")
        shoot(page, "restore-encrypted-upload")
        wrong = age_key(folder / "wrong.txt")
        for name, each in (("wrong", wrong), ("opened", key)):
            page.goto(f"{server.backups}/restore?backup={gone}")
            if each is wrong:
                shoot(page, "restore-encrypted")
            page.fill("#identity", each.identity.read_text())
            page.click("text=Open with the key")
            page.wait_for_url("**/operations/*")
            done(page)
            shoot(page, f"operation-{name}-key")
        page.click("text=Preview restore")
        page.wait_for_url("**/plans/*")
        planned(page)
        shoot(page, "plan-of-encrypted")
    finally:
        del os.environ["HOST_APP_AGE_RECIPIENTS"]
        server.stop()


def content_pages(browser: Browser, folder: Path) -> None:
    """What is in a backup, what differs from another, and a package file that has changed."""
    instance = Instance(folder / "contents")
    instance.seed(packages=40, releases=3)
    first = instance.backups("create")["id"]
    file = sorted((instance.storage / "hosted" / "packages").rglob("*.tar.gz"))[0]
    file.write_bytes(file.read_bytes()[:-512] + b"of somebody else")
    with instance.database() as connection:
        run = connection.exec_driver_sql
        run('UPDATE packages SET meta = \'{"description": "Another one"}\' WHERE id % 5 = 1')
        package = run("SELECT name FROM packages WHERE source = 'local' LIMIT 1").scalar()
    changed = instance.backups("create")["id"]
    server = Server(instance)
    server.start()
    try:
        page = signed_in(browser, server)
        for kind in ("packages", "releases", "users", "owners"):
            page.goto(f"{server.backups}/{first}/contents?kind={kind}")
            shoot(page, f"contents-{kind}")
        page.goto(f"{server.backups}/{first}/contents?text={package}")
        shoot(page, "contents-found")
        page.get_by_role("link", name=package, exact=True).click()
        shoot(page, "contents-package")
        file.with_name("left-behind.part").write_text("by a host")
        for name in ("registry-check-none", "registry-check"):
            page.goto(f"{server.backups}/doctor")
            shoot(page, name)
            page.click("text=Check now")
            done(page)
        shoot(page, "registry-check-outcome")
        page.goto(f"{server.backups}/{changed}")
        shoot(page, "backup-changed-file")
        page.fill("#acknowledged-note", "Replaced by the publisher within the hour")
        page.click("text=Acknowledge")
        page.wait_for_selector("text=knows why")
        shoot(page, "backup-changed-file-acknowledged")
        page.goto(f"{server.backups}/{changed}/compare?with={first}")
        shoot(page, "compare")
        page.click("text=Compare with now")
        page.wait_for_selector("text=until")
        shoot(page, "compare-now")
        page.goto(f"{server.backups}/")
        for box in page.get_by_role("checkbox", name="Select the backup").all():
            box.check()
        page.click("text=Selected backups…")
        page.wait_for_selector("text=Delete 2 backups")
        shoot(page, "selected")
        upload_pages(page, server, instance.depot / f"hexhub-backup-{first}.tar")
    finally:
        server.stop()


def upload_pages(page: Page, server: Server, archive: Path) -> None:
    """An upload that runs, is paused, loses its server, and one that is refused."""
    page.goto(f"{server.backups}/restore")
    page.set_input_files("#file", archive)
    page.route("**/uploads/*", lambda _: None)
    page.click("text=Preview restore")
    page.wait_for_selector("[data-do=pause]:visible")
    shoot(page, "upload-running")
    page.click("[data-do=pause]")
    shoot(page, "upload-paused")
    page.unroute_all()
    page.click("[data-do=cancel]")
    no_tar = archive.with_name("photo.jpg")
    no_tar.write_bytes(b"\xff\xd8\xff" + bytes(100_000))
    page.goto(f"{server.backups}/restore")
    page.set_input_files("#file", no_tar)
    page.click("text=Preview restore")
    page.wait_for_selector("[data-show=error]:visible, h1:has-text('used')")
    shoot(page, "upload-refused")
    no_tar.unlink()


def german_pages(browser: Browser, folder: Path) -> None:
    """The pages of most weight, for one who reads German in Auckland."""
    instance = Instance(folder / "german")
    instance.seed(packages=12, releases=2)
    backup = instance.backups("create")["id"]
    changed_registry(instance)
    options = {"locale": "de-DE", "timezone_id": "Pacific/Auckland"}
    with gunicorn(instance.path, app=SPEAKING) as server:
        page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
        backups = f"{server.address.origin}{PREFIX}"
        page.goto(f"{server.address.origin}/login")
        page.fill("#username", ADMIN)
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url("**/*")
        for name, path in (
            ("history", ""), ("new", "new"), ("restore", "restore"), ("backup", backup),
            ("contents", f"{backup}/contents"), ("compare", f"{backup}/compare"),
            ("protection", "protection"), ("retention", "retention"), ("activity", "operations"),
            ("error-404", "what/is/this"),
        ):  # fmt: skip
            page.goto(f"{backups}/{path}")
            shoot(page, f"german-{name}")
        page.goto(f"{backups}/restore?backup={backup}")
        page.click("form .btn-primary")
        planned(page)
        page.check("[value=overwrite]")
        page.click("[value=plan]")
        page.wait_for_selector("#replaces")
        shoot(page, "german-plan")
        number = page.locator("label[for=replaces]").inner_text().rpartition("(")[2].rstrip(")")
        page.fill("#replaces", number)
        page.click("[value=restore]")
        done(page)
        shoot(page, "german-outcome")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        instance = Instance(Path(folder) / "instance")
        instance.seed(packages=24, releases=3, file_size=4 << 20)
        server = Server(instance)
        server.start()
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            every_page(browser, server)
            places_pages(browser, Path(folder))
            key_pages(browser, Path(folder))
            content_pages(browser, Path(folder))
            german_pages(browser, Path(folder))
        finally:
            browser.close()
            server.stop()
    for sort, found in UNSURE.items():
        lines = [f"{where}: {what}" for what, where in sorted(found.items())]
        (OUT / f"axe-{sort}.txt").write_text("\n\n".join(lines))
        print(f"axe: {len(lines)} {sort}, in {OUT}/axe-{sort}.txt.")
    print(f"The screenshots are in {OUT}.")


if __name__ == "__main__":
    main()
