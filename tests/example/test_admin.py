"""The pages for administrators, and who else is kept out of them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from threading import get_ident
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from examples.host_app.audit import record_audit_event
from examples.host_app.models import AuditEvent, Package, User, db
from examples.host_app.seed import ADMIN
from tests.support.people import sign_in, token, username

PAGES = ("/admin/", "/admin/packages", "/admin/users", "/admin/audit")


@pytest.mark.parametrize("page", PAGES)
def test_only_administrators_see_them(seeded: Flask, client: FlaskClient, page: str) -> None:
    anonymous = client.get(page)
    assert anonymous.status_code == 302
    assert anonymous.location.startswith("/login?next=/admin/")
    sign_in(client, username(seeded, is_admin=False, totp_enabled=False))
    assert client.get(page).status_code == 403
    assert client.get("/").status_code == 200
    admin = seeded.test_client()
    sign_in(admin, ADMIN)
    answer = admin.get(page)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


def test_lists_ask_the_database_no_more_often_when_they_are_longer(seeded: Flask) -> None:
    client = seeded.test_client()
    sign_in(client, ADMIN)
    queries: list[str] = []

    def note(*arguments: Any) -> None:
        # A thread of ours may look after the backups meanwhile.
        if get_ident() == own:
            queries.append(str(arguments[2]))

    own = get_ident()
    with seeded.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
    for page in (*PAGES, "/"):
        queries.clear()
        client.get(page)
        assert len(queries) <= 8, page


def test_an_administrator_deactivates_and_reactivates_others_only(
    seeded: Flask, client: FlaskClient
) -> None:
    sign_in(client, ADMIN)
    name = username(seeded, is_admin=False)
    with seeded.app_context():
        ids = {user.username: user.id for user in db.session.scalars(select(User))}

    def post(number: int, verb: str) -> int:
        form = {"csrf_token": token(client, "/admin/users")}
        return client.post(f"/admin/users/{number}/{verb}", data=form).status_code

    def deactivated(who: str) -> bool:
        with seeded.app_context():
            return (
                db.session.scalar(select(User.deactivated_at).where(User.username == who))
                is not None
            )

    assert post(ids[name], "deactivate") == 303
    assert deactivated(name)
    assert post(ids[name], "reactivate") == 303
    assert not deactivated(name)
    assert post(ids[ADMIN], "deactivate") == 400
    assert not deactivated(ADMIN)
    assert post(9999, "deactivate") == post(10**30, "deactivate") == 404
    log = client.get("/admin/audit").text
    assert "user.deactivated" in log
    assert "user.reactivated" in log


def test_what_was_published_is_shown_and_never_run(seeded: Flask, client: FlaskClient) -> None:
    hostile = "<script>alert(1)</script>"
    with seeded.app_context():
        package = db.session.scalars(select(Package).filter_by(private=False)).first()
        assert package is not None
        name = package.name
        package.meta = {
            "description": hostile,
            "links": {hostile: "https://ok.example", "x": "javascript:alert(1)"},
        }
        package.releases[0].requirements = {hostile: {"requirement": hostile}, "odd": 1}
        version = package.releases[0].version
        db.session.commit()
        record_audit_event(hostile, actor=hostile, address=hostile, details={hostile: hostile})
    sign_in(client, ADMIN)
    addresses = ("/", f"/packages/{name}", f"/packages/{name}/releases/{version}", "/admin/audit")
    for address in addresses:
        page = client.get(address).text
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "javascript:" not in page


def test_an_audit_event_is_kept_in_utc_whatever_becomes_of_the_callers_transaction(
    empty: Flask,
) -> None:
    at = datetime(2026, 1, 31, 11, 30, tzinfo=timezone(timedelta(hours=1)))
    with empty.app_context():
        db.session.scalar(select(func.count(User.id)))
        record_audit_event(
            "backup.created", actor="cli:root", at=at, address=None, details={"n": 1}
        )
        db.session.rollback()
        kept = db.session.scalars(select(AuditEvent)).one()
        assert kept.at == datetime(2026, 1, 31, 10, 30)  # noqa: DTZ001
        assert kept.details == {"n": 1}
