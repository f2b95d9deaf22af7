"""When a session and a remember-me cookie end: with a restore, too."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select
from werkzeug.security import generate_password_hash

from examples.host_app.accounts import end_sessions
from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN, PASSWORD
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from tests.support.directory import depot_of
from tests.support.people import sign_in, token

WHO = Who(actor=ADMIN)


def backups_of(app: Flask) -> Backups:
    found: Backups = app.extensions["hexhub_backup"]
    return found


def signed_in(client: FlaskClient) -> bool:
    return "Sign out" in client.get("/").text


def restarted(app: Flask, client: FlaskClient) -> FlaskClient:
    """The same browser after it was closed: of its cookies, those with a date are left."""
    again = app.test_client()
    name = app.config["REMEMBER_COOKIE_NAME"]
    cookie = client.get_cookie(name)
    if cookie is not None:
        again.set_cookie(name, cookie.value)
    return again


def restore(app: Flask, archive: str) -> str:
    """Plan a restore and do it; gives its operation."""
    backups = backups_of(app)
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, WHO, archive, Choice(strategy="overwrite"))
    )
    return backups.orders.run(
        app, verbs.restore.order(backups.plans, WHO, plan.operation)
    ).operation


def people(app: Flask, count: int) -> list[str]:
    """Users who can sign in with no more than a password."""
    with app.app_context():
        found = db.session.scalars(
            select(User.username)
            .where(User.username != ADMIN, ~User.totp_enabled, User.deactivated_at.is_(None))
            .order_by(User.id)
            .limit(count)
        ).all()
        assert len(found) == count
        return list(found)


def tokens(app: Flask) -> dict[str, str]:
    with app.app_context():
        rows = db.session.execute(select(User.username, User.session_token)).all()
        return {row[0]: row[1] for row in rows}


def change(app: Flask, name: str, **values: object) -> None:
    with app.app_context():
        user = db.session.scalars(select(User).filter_by(username=name)).one()
        for column, value in values.items():
            setattr(user, column, value)
        db.session.commit()


def value(app: Flask, name: str, column: str) -> object:
    with app.app_context():
        return getattr(db.session.scalars(select(User).filter_by(username=name)).one(), column)


def test_a_browser_that_is_to_remember_needs_no_password_after_a_restart(
    seeded: Flask, client: FlaskClient
) -> None:
    forgetful = seeded.test_client()
    sign_in(forgetful, ADMIN)
    assert not signed_in(restarted(seeded, forgetful))
    sign_in(client, ADMIN, remember=True)
    assert signed_in(restarted(seeded, client))
    client.post("/logout", data={"csrf_token": token(client, "/")})
    assert not signed_in(client)
    assert not signed_in(restarted(seeded, client))


def test_who_signs_in_at_a_browser_that_remembers_another_leaves_nothing_of_the_other(
    seeded: Flask, client: FlaskClient
) -> None:
    first, second = people(seeded, 2)
    sign_in(client, first, remember=True)
    form = {"username": second, "password": PASSWORD, "csrf_token": token(client, "/")}
    assert client.post("/login", data=form).status_code == 303
    assert signed_in(client)
    assert not signed_in(restarted(seeded, client))


def test_a_remember_me_cookie_is_for_this_site_and_this_instance(
    seeded: Flask, client: FlaskClient
) -> None:
    answer = sign_in(client, ADMIN, remember=True)
    name = seeded.config["REMEMBER_COOKIE_NAME"]
    assert name.startswith(seeded.config["SESSION_COOKIE_NAME"])
    (cookie,) = [each for each in answer.headers.getlist("Set-Cookie") if each.startswith(name)]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Expires=" in cookie


@pytest.mark.parametrize("changed", ["password_hash", "deactivated_at", "totp_enabled"])
def test_a_restore_ends_the_sessions_of_whose_credentials_it_changes_and_no_others(
    seeded: Flask, changed: str
) -> None:
    backups = backups_of(seeded)
    out, stays = people(seeded, 2)
    with seeded.app_context():
        backups.prepare(seeded)
        made = backups.orders.run(seeded, verbs.create.order(WHO)).operation
        since = db.session.scalars(select(User.inserted_at)).first()
    now_other = {
        "password_hash": generate_password_hash("a new one", "pbkdf2:sha256:1000"),
        "deactivated_at": since,
        "totp_enabled": True,
    }[changed]
    old = value(seeded, out, changed)
    change(seeded, stays, email="somebody@example.org")
    browsers = {}
    for name in (out, stays, ADMIN):
        client = seeded.test_client()
        assert sign_in(client, name, remember=True).status_code == 303
        browsers[name] = client
    change(seeded, out, **{changed: now_other})
    before = tokens(seeded)
    with seeded.app_context():
        restore(seeded, made)
    # All is as it was when they signed in, and still their sessions are over.
    assert value(seeded, out, changed) == old
    for name, browser in browsers.items():
        assert signed_in(browser) is (name != out), name
        assert signed_in(restarted(seeded, browser)) is (name != out), name
    after = tokens(seeded)
    assert {name for name in before if before[name] != after[name]} == {out}
    assert sign_in(browsers[out], out).status_code == 303


def test_the_undo_of_a_restore_ends_sessions_likewise(seeded: Flask, client: FlaskClient) -> None:
    out, stays = people(seeded, 2)
    with seeded.app_context():
        backups = backups_of(seeded)
        backups.prepare(seeded)
        made = backups.orders.run(seeded, verbs.create.order(WHO)).operation
    change(seeded, out, password_hash=generate_password_hash("another", "pbkdf2:sha256:1000"))
    with seeded.app_context():
        restored = restore(seeded, made)
    other = seeded.test_client()
    sign_in(other, stays, remember=True)
    sign_in(client, out, remember=True)
    before = tokens(seeded)
    with seeded.app_context():
        backups.orders.run(seeded, verbs.undo.order(backups.history, WHO, restored))
    assert not signed_in(client)
    assert not signed_in(restarted(seeded, client))
    assert signed_in(other)
    after = tokens(seeded)
    assert {name for name in before if before[name] != after[name]} == {out}


def test_a_new_account_gets_a_token_of_its_own_from_a_restore_too(
    seeded: Flask, empty: Flask
) -> None:
    with seeded.app_context():
        backups = backups_of(seeded)
        backups.prepare(seeded)
        made = backups.orders.run(seeded, verbs.create.order(WHO)).operation
        archive = depot_of(backups).archive(made)
    assert b"session_token" not in archive.read_bytes()
    with empty.app_context():
        backups = backups_of(empty)
        backups.prepare(empty)
        restore(empty, str(archive))
    theirs, ours = tokens(empty), tokens(seeded)
    assert theirs.keys() == ours.keys()
    assert len({*theirs.values(), *ours.values()}) == 2 * len(ours)


def test_many_sessions_end_with_few_statements(seeded: Flask) -> None:
    said: list[str] = []
    names = sorted(tokens(seeded))
    before = tokens(seeded)
    with seeded.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *args: said.append(str(args[2])))
        end_sessions([*names, *(f"nobody{number}" for number in range(990))])
    assert len([each for each in said if each.startswith("UPDATE")]) == 3
    after = tokens(seeded)
    assert all(before[name] != after[name] for name in names)


def test_a_deactivated_account_does_not_come_back_with_its_sessions(
    seeded: Flask, client: FlaskClient
) -> None:
    (name,) = people(seeded, 1)
    other = seeded.test_client()
    sign_in(other, name, remember=True)
    sign_in(client, ADMIN)
    with seeded.app_context():
        number = db.session.scalars(select(User.id).filter_by(username=name)).one()
    for verb in ("deactivate", "reactivate"):
        form = {"csrf_token": token(client, "/admin/users")}
        client.post(f"/admin/users/{number}/{verb}", data=form)
        assert not signed_in(other)
        assert not signed_in(restarted(seeded, other))
    assert signed_in(client)
    assert sign_in(other, name).status_code == 303
