"""What a maintainer gets from the factory: a directory with all state in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask, Response, request
from sqlalchemy import func, inspect, select, text

from examples.host_app import create_app
from examples.host_app.models import AuditEvent, Owner, Package, Release, User, db
from examples.host_app.seed import ADMIN, seeded_key
from hexhub_backup.archive.records import KINDS
from tests.support.people import sign_in


def test_a_new_instance_has_tables_and_no_account(empty: Flask) -> None:
    with empty.app_context():
        assert {"users", "packages", "releases", "owners", "api_keys", "audit_events"} <= set(
            inspect(db.engine).get_table_names()
        )
        assert db.session.scalar(select(func.count(User.id))) == 0


def test_every_field_that_is_backed_up_is_a_stored_column() -> None:
    models = {"users": User, "packages": Package, "releases": Release, "owners": Owner}
    over_a_foreign_key = {"package_name": "package_id", "username": "user_id"}
    for kind in KINDS:
        columns = set(models[kind.name].__table__.columns.keys())
        for field in kind.fields:
            assert field in columns or over_a_foreign_key[field] in columns


def test_sqlite_checks_foreign_keys_and_lets_readers_read(empty: Flask) -> None:
    with empty.app_context(), db.engine.connect() as connection:
        pragmas = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("foreign_keys", "journal_mode", "busy_timeout")
        ]
    assert pragmas == [1, "wal", 5000]


def test_all_state_is_in_the_directory_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_APP_DATA", str(tmp_path / "here"))
    app = create_app()
    assert Path(app.instance_path) == tmp_path / "here"
    assert app.config["HOST_APP_STORAGE"] == tmp_path / "here" / "storage"
    assert app.config["HEXHUB_BACKUP_PATH"] == tmp_path / "here" / "backups"
    assert (tmp_path / "here" / "host_app.sqlite3").exists()
    with app.app_context():
        db.engine.dispose()


def test_sessions_outlive_a_restart_and_two_instances_do_not_share_them(tmp_path: Path) -> None:
    first, again, second = (create_app(tmp_path / name) for name in ("a", "a", "b"))
    assert first.secret_key == again.secret_key != second.secret_key
    cookies = [app.config["SESSION_COOKIE_NAME"] for app in (first, again, second)]
    assert cookies[0] == cookies[1] != cookies[2]
    assert (tmp_path / "a" / "secret_key").stat().st_mode & 0o777 == 0o600
    for app in (first, again, second):
        with app.app_context():
            db.engine.dispose()


@pytest.mark.parametrize("https", [None, "0"])
def test_cookies_are_for_https_unless_the_environment_says_otherwise(
    seeded: Flask, monkeypatch: pytest.MonkeyPatch, https: str | None
) -> None:
    if https is not None:
        monkeypatch.setenv("HOST_APP_HTTPS", https)
    client = create_app(seeded.instance_path).test_client()
    cookies = sign_in(client, ADMIN, remember=True).headers.getlist("Set-Cookie")
    # The session, who is to be remembered, and a browser that is known from now on.
    assert len({cookie.partition("=")[0] for cookie in cookies}) == 3
    assert {"Secure" in cookie for cookie in cookies} == {https is None}


def test_addresses_are_taken_from_as_many_proxies_as_there_are(
    seeded: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> tuple[str, str]:
        app = create_app(seeded.instance_path)
        headers = {
            "Authorization": seeded_key(ADMIN),
            "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
            "X-Forwarded-Proto": "https",
        }
        client = app.test_client()
        url = client.get("/api/packages/auth_gate", headers=headers).get_json()["url"]
        client.post("/api/keys", json={"name": str(len(url))}, headers=headers)
        with app.app_context():
            newest = select(AuditEvent.address).order_by(AuditEvent.id.desc())
            return url.partition(":")[0], db.session.scalar(newest.limit(1)) or ""

    assert asked() == ("http", "127.0.0.1")
    monkeypatch.setenv("HOST_APP_PROXIES", "1")
    assert asked() == ("https", "192.0.2.7")
    monkeypatch.setenv("HOST_APP_PROXIES", "many")
    with pytest.raises(SystemExit, match="Give the number of proxies"):
        asked()


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"file/data can not be made .* HOST_APP_DATA"):
        create_app(tmp_path / "file" / "data")


def test_pages_allow_nothing_inline_and_nothing_from_elsewhere(empty: Flask) -> None:
    answer = empty.test_client().get("/")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "style=" not in answer.text
    assert "<script" not in answer.text


def test_every_error_page_has_a_way_on(empty: Flask) -> None:
    def broken() -> Response:
        raise RuntimeError(request.path)

    empty.add_url_rule("/broken", view_func=broken)
    client = empty.test_client()
    for address, status in (
        ("/no/such/page", 404),
        ("/broken", 500),
        ("/packages/a%00b", 404),
        ("/?page=99999999999999999999", 404),
        ("/?page=2", 404),
    ):
        answer = client.get(address)
        assert answer.status_code == status
        assert 'href="/"' in answer.text
        assert "Traceback" not in answer.text
