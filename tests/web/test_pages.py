"""What an admin sees and does on the pages, and what a host can have of its own."""

from __future__ import annotations

import dataclasses
import re
import shutil
from datetime import datetime, timedelta, timezone
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin  # type: ignore[import-untyped]
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine

from examples.host_app.models import Owner, Package, Release, User, db
from hexhub_backup import HexHubBackup, LocalStorage, ModelMap, SQLAlchemyRegistry, formatting
from hexhub_backup.coordination.events import EventLog
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.errors import SettingError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.web import filters
from hexhub_backup.web.lists import PAGE_SIZE
from hexhub_backup.web.timeline import SHOWN_LINES, timeline
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import file_of, one_package, restored
from tests.support.pages import ended, page, post, read, remembered
from tests.support.people import token
from tests.support.serving import PREFIX, ROOT, make_backup

pytestmark = [
    pytest.mark.sample,
    pytest.mark.host(config={"HEXHUB_BACKUP_RETENTION_DAYS": 7}),
    pytest.mark.usefixtures("no_prune"),
]


def test_without_backups_the_history_offers_the_first_one(client: FlaskClient) -> None:
    text = page(client, "/")
    assert "There is no backup yet" in text
    assert "Create the first backup" in text


def test_new_says_what_a_backup_would_hold_and_what_not(client: FlaskClient) -> None:
    text = page(client, "/new")
    assert re.search(r"about [\d.]+ kB , and [\d.]+ [MGTP]B is free", text)
    assert re.search(r"4 users, \d packages?, \d releases", text)
    assert "Left out API keys, sessions, second-factor secrets" in text
    assert "7 days" in text


def test_create_is_watched_and_then_in_the_history(client: FlaskClient, backups: Backups) -> None:
    answer = post(client, "/")
    assert answer.status_code == 303
    path = answer.location.removeprefix(PREFIX)
    operation = path.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    text = page(client, path)
    assert "Backup is complete" in text
    assert "read back and is intact" in text
    assert "Steps 10 of 10" in text
    assert f"{PREFIX}/{operation}/download" in client.get(f"{PREFIX}{path}").text
    text = page(client, "/")
    assert "The latest good backup was made just now" in text
    assert "✓ complete" in text
    assert "by admin" in text
    assert "in 7 days" in text
    text = page(client, f"/{operation}")
    assert "intact, verified just now" in text
    assert "4 users" in text
    assert "&#34;generator&#34;: &#34;hexhub_backup" in text


def test_a_page_of_a_running_operation_says_where_it_is(
    client: FlaskClient, backups: Backups
) -> None:
    operation = remembered(backups)
    log = EventLog(coordinator_of(backups).events(operation))
    events: tuple[dict[str, Any], ...] = (
        {"type": "state", "state": "running", "steps": ["check_space", "copy_packages"]},
        {"type": "step", "step": "check_space", "state": "running", "index": 1, "of": 2},
        {"type": "step", "step": "check_space", "state": "done", "seconds": 1.5},
        {"type": "step", "step": "copy_packages", "state": "running", "index": 2, "of": 2},
        {
            "type": "progress",
            "step": "copy_packages",
            "percent": 42.4,
            "bytes_done": 1_500_000,
            "bytes_total": 3_000_000_000,
            "items_done": 0,
            "items_total": 0,
            "bytes_per_second": 20_000_000,
            "seconds_left": 75.2,
        },
        {"type": "warning", "code": "x", "message": "it is <b>odd</b>", "record": "user eve"},
    )
    for seq, event in enumerate(events, start=1):
        log.append({"seq": seq, "at": "2026-01-31T10:30:00+00:00", **event})
    text = page(client, f"/operations/{operation}")
    assert "Backup is running" in text
    assert "so far , about 1 min 20 s left" in text
    assert "Copy package files : running 1.50 MB of 3.00 GB, 20.0 MB a second" in text
    assert "Steps 1 of 2" in text
    assert "Check free space : done 1.5 s" in text
    assert "Warning , user eve: it is &lt;b&gt;odd&lt;/b&gt;" in text
    html = client.get(f"{PREFIX}/operations/{operation}").text
    assert 'data-after="6"' in html
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html
    assert f"{PREFIX}/operations/{operation}/cancel" in html
    with backups.coordinator.running(operation):
        assert "running" in client.get("/admin/").text, "the badge in the host's navigation"
    assert "running" not in client.get("/admin/").text
    assert "Backup by ada is running" in page(client, "/")
    assert post(client, f"/operations/{operation}/cancel").status_code == 303
    assert coordinator_of(backups).stop_wish(operation).exists()
    # Until here somebody holds it: otherwise a look of the pages would find it dead, and settle it.
    log.close()


@pytest.mark.parametrize(
    ("verb", "state", "heading", "next_step"),
    [
        ("create", "failed", "Backup failed", "Try again"),
        ("create", "cancelled", "Backup was cancelled", "No archive was left behind"),
        ("restore", "interrupted", "Restore was interrupted", "The registry is unchanged"),
        ("restore", "failed", "Restore failed", "Restore again…"),
        ("inspect", "failed", "Inspection failed", "Start again…"),
        ("inspect", "cancelled", "Inspection was cancelled", "Nothing was changed"),
        ("undo", "interrupted", "Undo was interrupted", "Nothing was undone"),
        ("prune", "failed", "Clean-up failed", "All backups"),
    ],
)
def test_an_operation_that_ended_badly_says_why_and_what_to_do_now(
    client: FlaskClient, backups: Backups, verb: str, state: str, heading: str, next_step: str
) -> None:
    operation = remembered(backups, verb=verb, state=state, reason="The disk <is> full: make room.")
    text = page(client, f"/operations/{operation}")
    assert heading in text
    assert "The disk &lt;is&gt; full: make room." in text
    assert next_step in text
    assert "refresh" not in client.get(f"{PREFIX}/operations/{operation}").text


def test_verify_restore_and_their_outcomes(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    answer = post(client, f"/{backup}/verify")
    assert answer.status_code == 303
    ended(backups, answer.location.rpartition("/")[2])
    assert "Verification is complete" in page(client, answer.location.removeprefix(PREFIX))
    for path in ("/restore", f"/restore?backup={backup}"):
        assert "Preview restore" in page(client, path)
    done = restored(app, backup, strategy="skip", protected=False)
    text = page(client, f"/operations/{done.operation}")
    assert "Restore is complete" in text
    assert "Nothing had to be changed" in text
    assert re.search(r"unchanged 4 \d \d+ \d+ skipped 0 0 0 0", text)


def test_a_backup_is_kept_let_go_and_deleted(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    assert post(client, f"/{backup}/keep", kept="on").status_code == 303
    assert "never (it is kept)" in page(client, f"/{backup}")
    post(client, f"/{backup}/keep", kept="off")
    assert "Expires in 7 days" in page(client, f"/{backup}")
    assert "deleted permanently" in page(client, f"/{backup}/delete")
    assert depot_of(backups).archive(backup).exists(), "a question deletes nothing"
    assert post(client, f"/{backup}/delete").location == f"{PREFIX}/"
    assert not depot_of(backups).archive(backup).exists()
    page(client, f"/{backup}", status=404)


def test_a_script_deletes_with_delete(app: Flask, client: FlaskClient) -> None:
    backup = make_backup(app)
    headers = {"X-CSRFToken": token(client, f"{PREFIX}/new"), "Accept": "application/json"}
    assert client.delete(f"{PREFIX}/{backup}", headers=headers).status_code == 204
    answer = client.delete(f"{PREFIX}/{backup}", headers=headers)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "not_found"


def test_a_damaged_and_a_missing_archive_are_called_so(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    backups.catalog.update_backup(backup, intact=False)
    text = page(client, "/")
    assert "There is no good backup. Create one now." in text
    assert "1 backup is damaged." in text
    assert "Nothing can be restored from this archive" in page(client, f"/{backup}")
    depot_of(backups).archive(backup).unlink()
    assert "file missing" in page(client, "/")
    text = page(client, f"/{backup}")
    assert "The file of this backup is missing" in text
    assert "Download" not in text


def test_the_history_begins_with_the_state(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    make_backup(app)
    assert "The registry is protected. The latest good backup was made just now" in page(
        client, "/"
    )
    backups.catalog.update_backup(make_backup(app), state="failed", reason="<b>No</b> disk.")
    text = page(client, "/")
    assert "The registry is protected" not in text
    assert "failed. Reason: &lt;b&gt;No&lt;/b&gt; disk. Create one again." in text


def test_the_history_comes_where_the_directory_is_gone(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    make_backup(app)
    page(client, "/")
    shutil.rmtree(backups.depot.path)
    assert "can't be read: No such file or directory." in unescape(page(client, "/"))


def test_names_from_an_archive_are_text(app: Flask, client: FlaskClient, backups: Backups) -> None:
    backup = make_backup(app)
    found = backups.history.backup(backup)
    manifest = {**(found.manifest or {}), "generator": "<script>alert(1)</script>", "contents": {}}
    backups.catalog.update_backup(backup, created_by="<img src=x>", manifest=manifest)
    for path in ("/", f"/{backup}", "/restore", f"/restore?backup={backup}"):
        page(client, path)
        html = client.get(f"{PREFIX}{path}").text
        assert "<script>alert" not in html
        assert "<img" not in html


def test_a_long_history_comes_in_pages(app: Flask, client: FlaskClient, backups: Backups) -> None:
    found = backups.history.backup(make_backup(app))
    for number in range(PAGE_SIZE):
        backups.catalog.add_backup(
            dataclasses.replace(
                found, id=f"old-{number}", created_at=found.created_at - timedelta(days=number + 1)
            )
        )
    assert "1 to 20 of 21 backups" in page(client, "/")
    assert "old-19" in client.get(f"{PREFIX}/?page=2").text
    page(client, "/?page=3", status=404)


def test_a_second_operation_is_refused_with_a_way_to_the_first(
    client: FlaskClient, backups: Backups
) -> None:
    with exclusive(coordinator_of(backups).lock) as lock:
        operation = remembered(backups)
        about = {"operation": operation, "verb": "create", "actor": "ada", "started_at": "10:30"}
        lock.name(about)
        answer = post(client, "/")
    assert answer.status_code == 409
    assert operation in read(answer)
    assert f"{PREFIX}/operations/{operation}" in answer.text


def test_an_error_is_a_page_with_a_way_on(client: FlaskClient) -> None:
    for path in ("/nothing-here", "/no/such/page", "/operations/none", "/pyproject.toml"):
        assert "Back to backups" in page(client, path, status=404)
    assert post(client, "/pyproject.toml/verify").status_code == 404, "a path is no id"
    answer = client.post(f"{PREFIX}/")
    assert answer.status_code == 400
    assert "This page has expired" in read(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/20260131-103000-abcdef/verify", "POST"),
        ("HEAD", "/20260131-103000-abcdef/keep", "POST"),
        ("POST", "/new", "GET, DELETE"),
        ("DELETE", "/", "GET, POST"),
        ("PUT", "/20260131-103000-abcdef/download", "GET"),
    ],
)
def test_what_an_address_does_not_take_is_told_on_a_page_of_ours(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    headers = {"X-CSRFToken": token(client, f"{PREFIX}/new")}
    answer = client.open(f"{PREFIX}{path}", method=method, headers=headers)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    if method != "HEAD":
        assert "Back to backups" in read(answer)
    answer = client.open(
        f"{PREFIX}{path}", method="PATCH", headers={**headers, "Accept": "application/json"}
    )
    assert answer.get_json()["error"]["code"] == "method_not_allowed"


def test_pages_are_kept_by_no_cache_and_styles_are(client: FlaskClient) -> None:
    assert client.get(f"{PREFIX}/").headers["Cache-Control"] == "no-store"
    style = client.get(f"{PREFIX}/static/hexhub_backup.css")
    assert style.status_code == 200
    assert "no-store" not in style.headers["Cache-Control"]
    # An image in a style sheet would be refused by a strict Content-Security-Policy.
    assert "url(" not in style.text
    style.close()


# a host's own


def host(
    tmp_path: Path,
    app: Flask,
    *,
    login: bool = False,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> Flask:
    """A host without templates, CSRFProtect and, unless `login` is true, Flask-Login, with the
    example's models."""
    with app.app_context():
        engine = create_engine(db.engine.url)
    bare = Flask("bare", root_path=str(tmp_path), instance_path=str(tmp_path / "bare"))
    bare.config.from_mapping(SECRET_KEY="x", HEXHUB_BACKUP_URL_PREFIX="/safe", **(config or {}))
    if login:
        LoginManager(bare)
    HexHubBackup(bare, **mapped(engine, tmp_path), **options)
    return bare


def mapped(engine: Any, folder: Path) -> dict[str, Any]:
    return {
        "registry": SQLAlchemyRegistry(
            engine,
            users=ModelMap(User),
            packages=ModelMap(Package),
            releases=ModelMap(Release),
            owners=ModelMap(Owner),
        ),
        "storage": LocalStorage(folder / "storage"),
    }


def test_a_host_without_a_layout_gets_ours_and_says_who_may_come_in(
    tmp_path: Path, app: Flask
) -> None:
    bare = host(tmp_path, app, authorize=lambda: True, actor=lambda: "ada")
    client = bare.test_client()
    answer = client.get("/safe/new")
    assert answer.status_code == 200
    assert '<html lang="en">' in answer.text
    form = {"csrf_token": re.findall(r'name="csrf_token" value="([^"]+)"', answer.text)[0]}
    with bare.app_context():
        operation = client.post("/safe/", data=form).location.rpartition("/")[2]
        assert ended(backups_of(bare), operation).actor == "ada"
    stranger = host(tmp_path, app, authorize=lambda: False, actor=lambda: "eve").test_client()
    answer = stranger.get("/safe/")
    assert answer.status_code == 403
    assert "Back to the start page" in answer.text


class Stranger(UserMixin):  # type: ignore[misc]
    """Somebody who is no user of the registry."""

    id = "1"


@pytest.mark.parametrize("who", [None, Stranger(), "another table"])
def test_who_can_not_be_told_begins_nothing_and_is_told_why(
    tmp_path: Path, app: Flask, who: Any
) -> None:
    """`authorize` lets in somebody whom Flask-Login does not know, or knows from elsewhere."""
    bare = host(tmp_path, app, authorize=lambda: True, actor=None, login=True)
    if who == "another table":
        who = Package(name="ada")
    bare.login_manager.request_loader(lambda _: who)  # type: ignore[attr-defined]
    text = refusal_to_create(bare)
    assert "pass actor= to init_app of hexhub_backup" in text
    assert "is no user of the registry" in text


@pytest.mark.parametrize("actor", [None, "", 7])
def test_an_actor_that_is_no_name_begins_nothing(tmp_path: Path, app: Flask, actor: Any) -> None:
    bare = host(tmp_path, app, authorize=lambda: True, actor=lambda: actor)
    assert "instead of a username: let it return" in refusal_to_create(bare)


def refusal_to_create(bare: Flask) -> str:
    client = bare.test_client()
    token_of = re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/safe/new").text)[0]
    answer = client.post("/safe/", data={"csrf_token": token_of})
    assert answer.status_code == 500
    with bare.app_context():
        assert backups_of(bare).history.operations() == []
    return read(answer)


def test_what_a_host_lacks_is_said_on_the_page(tmp_path: Path, app: Flask) -> None:
    bare = host(tmp_path, app, authorize=lambda: True, actor=lambda: "ada")
    bare.config["SECRET_KEY"] = None
    assert "This app has no SECRET_KEY" in bare.test_client().get("/safe/").text
    config = {"HEXHUB_BACKUP_BASE_TEMPLATE": "nowhere.html"}
    bare = host(tmp_path, app, authorize=lambda: True, actor=lambda: "ada", config=config)
    answer = bare.test_client().get("/safe/")
    assert answer.status_code == 500
    assert (
        "The template nowhere.html does not exist, but HEXHUB_BACKUP_BASE_TEMPLATE" in answer.text
    )
    bare = host(tmp_path, app)
    assert "this app has no Flask-Login" in bare.test_client().get("/safe/").text
    bare = host(tmp_path, app, login=True)
    bare.login_manager.request_loader(lambda _: Stranger())  # type: ignore[attr-defined]
    answer = bare.test_client().get("/safe/")
    assert answer.status_code == 403
    assert "the accounts of this app have no &#39;is_admin&#39;" in answer.text


def test_a_host_overrides_a_template_by_its_name(tmp_path: Path, app: Flask) -> None:
    own = tmp_path / "templates" / "hexhub_backup" / "history.html"
    own.parent.mkdir(parents=True)
    own.write_text("{{ total }} backups, and {{ hexhub_backup_link('Safe', class_='nav') }}")
    bare = host(tmp_path, app, authorize=lambda: True, actor=lambda: "ada")
    text = bare.test_client().get("/safe/").text
    assert text.startswith('0 backups, and <a href="/safe/" class="nav" aria-current="page">Safe')


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("URL_PREFIX", "backups"),
        ("URL_PREFIX", "/backups/"),
        ("BASE_TEMPLATE", None),
        ("MAX_WATCHERS", -1),
        ("MAX_WATCHERS", True),
    ],
)
def test_a_setting_that_can_not_work_is_refused_by_its_name(
    tmp_path: Path, key: str, value: object
) -> None:
    bare = Flask("bare", instance_path=str(tmp_path))
    bare.config[f"HEXHUB_BACKUP_{key}"] = value
    with pytest.raises(SettingError, match=f"HEXHUB_BACKUP_{key} is"):
        HexHubBackup(bare, **mapped(None, tmp_path))


def test_a_second_registration_is_refused(app: Flask, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="call init_app once"):
        HexHubBackup(app, **mapped(None, tmp_path))


def test_the_lines_of_the_readme_register_the_extension(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"## Put it into your app\n\n```python\n(.*?)```", readme, re.DOTALL)
    app = Flask("yours", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'yours.db'}"
    mine = SQLAlchemy(app)
    names = {"User": User, "Package": Package, "Release": Release, "Owner": Owner}
    exec(compile(code, "README.md", "exec"), {"app": app, "db": mine, **names})
    assert "hexhub_backup.history" in app.view_functions


# numbers and times for people


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (104_857_600, "105 MB"),
        (999_999, "1.00 MB"),
        (2_500_000_000, "2.50 GB"),
        (None, "–"),
    ],
)
def test_sizes_are_for_people(count: int | None, text: str) -> None:
    assert formatting.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "< 0.1 s"), (0.44, "0.4 s"), (12.4, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=-90), "a minute ago"),
        (timedelta(hours=-3), "3 hours ago"),
        (timedelta(days=-2), "2 days ago"),
        (timedelta(days=30), "in 30 days"),
        (timedelta(days=-800), "2 years ago"),
    ],
)
def test_times_are_relative_and_exact_on_hover(away: timedelta, text: str) -> None:
    now = datetime(2026, 1, 31, 10, 30, tzinfo=timezone.utc)
    assert formatting.relative_time(now + away, now) == text
    assert 'title="2026-01-31 10:30:00 UTC"' in filters.when(now)


def test_a_page_shows_the_latest_lines_of_a_long_log() -> None:
    lines = ({"seq": seq, "type": "log", "message": str(seq)} for seq in range(1, 1001))
    found = timeline(lines)
    assert (len(found.lines), found.line_count, found.seq) == (SHOWN_LINES, 1000, 1000)
    assert found.lines[-1]["message"] == "1000"


def test_an_operation_that_waits_is_shown_until_it_begins(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    """Also without JavaScript: the page asks again by itself."""
    order = remembered(
        backups, id="20260131-103001-abcdef", state="queued", started_at=None, bound=False
    )
    text = page(client, f"/operations/{order}")
    assert "Backup is waiting to start" in text
    assert re.search(r"Waiting for a worker, \d+ s \. It fails if none .* within 10 minutes", text)
    raw = client.get(f"{PREFIX}/operations/{order}").text
    assert 'data-state="queued"' in raw
    assert '<meta http-equiv="refresh"' in raw
    assert "is waiting for a worker. It was ordered" in page(client, "/")
    assert client.get(f"{PREFIX}/operations/{order}/outcome").status_code == 409
    events = client.get(f"{PREFIX}/operations/{order}/events").get_json()
    assert events == {"events": [], "more": False, "state": "queued"}
    assert post(client, f"/operations/{order}/cancel").status_code == 303
    assert "Backup was cancelled" in page(client, f"/operations/{order}")
    assert "is waiting" not in page(client, "/")


def test_all_backups_are_verified_by_one_button(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    make_backup(app)
    assert "Verify all" in page(client, "/")
    answer = post(client, "/operations/verify-all")
    assert answer.status_code == 303
    operation = answer.location.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    assert "Verification of all backups is complete" in page(client, f"/operations/{operation}")


def test_a_restore_is_rehearsed_by_a_button(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    text = page(client, f"/{backup}")
    assert "Rehearse" in text
    assert "came back" not in text
    answer = post(client, f"/{backup}/rehearse")
    assert answer.status_code == 303
    operation = answer.location.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    text = page(client, f"/operations/{operation}")
    assert "Restorable as of" in text
    assert "releases can be used" in text
    assert "all of it came back, rehearsed just now" in page(client, f"/{backup}")
    assert "rehearsed just now" in page(client, "/")


def test_what_does_not_come_back_is_shown(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    with app.app_context():
        file_of(app, one_package()).unlink()
    backup = make_backup(app)
    operation = post(client, f"/{backup}/rehearse").location.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    text = page(client, f"/operations/{operation}")
    assert "Not all of it came back as it was: the warnings say what." in text
    assert "the archive has no package file of this release" in text
    assert "not all of it came back, rehearsed just now" in page(client, f"/{backup}")
    text = page(client, "/")
    assert "not restorable, rehearsed just now" in text
    assert f"Backup {backup} was rehearsed just now, and not all of it came back." in text
