"""An operation takes one connection of the host's pool at a time, a page none beside its own."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, g, request
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import pool

from examples.host_app import create_app
from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN, seed
from hexhub_backup import HexHubBackup, LocalStorage, SQLAlchemyRegistry, verbs
from hexhub_backup.databases.connections import snapshot
from hexhub_backup.errors import ConflictError, MappingError
from hexhub_backup.history.tables import operations as operations_table
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.storage.local import LocalStorage as Storage
from tests.support import matrix
from tests.support.databases import NewDatabase
from tests.support.hosts import ADA, planned
from tests.support.patience import PATIENCE, wait_for
from tests.support.people import sign_in
from tests.support.registries import Base, usual_maps, usual_registry

ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PATIENCE}
PREFIX = "/admin/backups"


@contextmanager
def host(tmp_path: Path, uri: str | None, **engine: Any) -> Iterator[Flask]:
    """The example host, seeded and with all of our tables, on an engine with options."""
    config: dict[str, Any] = {"SQLALCHEMY_ENGINE_OPTIONS": engine}
    if uri is not None:
        config["SQLALCHEMY_DATABASE_URI"] = uri
    app = create_app(tmp_path / "host", config)
    with app.app_context():
        seed(users=4, packages=3, releases=2, file_size=100)
        db.session.remove()
        backups_of(app).prepare(app)
    yield app


def change(app: Flask) -> None:
    """Rows and files that differ from the backup made before."""
    with db.engine.begin() as connection:
        # Not of who holds a right: to undo that is for a grant.
        changed = sa.update(User).where(User.is_admin.is_(False))
        connection.execute(changed.values(email=User.username + "@elsewhere.example"))
        connection.exec_driver_sql("DELETE FROM releases WHERE id = 1")
    for path in sorted(Path(app.config["HOST_APP_STORAGE"]).rglob("*.tar.gz"))[1:]:
        path.write_bytes(b"changed")


POOLS: dict[str, dict[str, Any]] = {
    "one": ONE,
    "null": {"poolclass": pool.NullPool},
    # Raises where a second one is asked for.
    "assertion": {"poolclass": pool.AssertionPool},
    "thread": {"poolclass": pool.SingletonThreadPool},
}


@pytest.mark.parametrize("name", matrix.first(POOLS))
def test_every_verb_gets_along_with_one_connection(
    tmp_path: Path, database: NewDatabase, name: str
) -> None:
    with host(tmp_path, database(), **POOLS[name]) as app, app.app_context():
        backups = backups_of(app)
        backup = backups.orders.run(app, verbs.create.order(ADA)).operation
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
        change(app)
        with pytest.raises(ConflictError):
            backups.orders.run(app, planned(app, backup, strategy="fail"))
        skipped = backups.orders.run(app, planned(app, backup, strategy="skip"))
        assert skipped.outcome["records"]["releases"]["created"] == 1
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, skipped.operation))
        job = planned(app, backup)
        restored = backups.orders.run(
            app, verbs.restore.order(backups.plans, ADA, job.options["plan"], backup_first=True)
        )
        assert restored.outcome["files"]["replaced"] > 0
        undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, restored.operation))
        assert undone.outcome["files"]["brought_back"] == restored.outcome["files"]["replaced"]
        backups.orders.run(app, verbs.prune.order(ADA))
        backups.history.delete(app, ADA, backup)
        states = [each.state for each in backups.history.operations()]
        assert states.count("completed") == len(states) - 1
        pooled: Any = db.engine.pool
        if name == "one":
            assert pooled.checkedout() == 0


def test_recovery_gets_along_with_one_connection(
    tmp_path: Path, database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with host(tmp_path, database(), **ONE) as app, app.app_context():
        backups = backups_of(app)
        backup = backups.orders.run(app, verbs.create.order(ADA)).operation
        change(app)
        job = planned(app, backup)
        with monkeypatch.context() as patch:

            def refuse(*_: object) -> bool:
                raise OSError(5, "Input/output error")

            patch.setattr(Storage, "replace", refuse)
            with pytest.raises(Exception, match="has happened"):
                backups.orders.run(app, job)
        backups.prepare(app)
        assert backups.history.operations()[0].state == "completed"


# --- pages -------------------------------------------------------------------------------


def admin_of(app: Flask) -> FlaskClient:
    """A browser in which the admin has signed in: before, as the example host's own sign-in wants
    two connections."""
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    same = create_app(app.instance_path, {"SQLALCHEMY_DATABASE_URI": uri})
    before = same.test_client()
    assert sign_in(before, ADMIN).status_code == 303
    name = app.config["SESSION_COOKIE_NAME"]
    cookie = before.get_cookie(name)
    assert cookie is not None
    client = app.test_client()
    client.set_cookie(name, cookie.value)
    return client


def test_pages_get_along_with_the_connection_of_their_session(
    tmp_path: Path, database: NewDatabase
) -> None:
    with host(tmp_path, database(), **ONE) as app:

        @app.before_request
        def read() -> None:
            # As many hosts do: the session holds the only connection from here on.
            if request.path.startswith(PREFIX):
                g.users = db.session.scalars(sa.select(User)).all()

        client = admin_of(app)

        app.config["WTF_CSRF_ENABLED"] = False
        backups = backups_of(app)
        made = client.post(f"{PREFIX}/")
        assert made.status_code == 303, made.text

        def ended() -> bool:
            # Looked at before: the operation has no lock as long as it is queued, and a page must
            # not fail in between either.
            answer = client.get(made.location)
            assert answer.status_code == 200, answer.text
            return _is_over(app)

        wait_for(ended)
        with app.app_context():
            (backup,) = backups.history.backups()
            operation = backups.history.operations()[0].id
            assert backup.state == "completed"
        for page in ("/", "/new", "/restore", f"/{backup.id}", f"/operations/{operation}"):
            assert client.get(f"{PREFIX}{page}").status_code == 200
        assert client.get(f"{PREFIX}/operations/{operation}/events").status_code == 200
        assert client.get("/admin/").status_code == 200
        with client.get(f"{PREFIX}/{backup.id}/download") as download:
            archive = download.data
        assert client.post(f"{PREFIX}/{backup.id}/keep").status_code == 303
        sent = {"file": (io.BytesIO(archive), "a.tar"), "strategy": "skip"}
        uploaded = client.post(f"{PREFIX}/restore", data=sent)
        assert uploaded.status_code == 303, uploaded.text
        wait_for(lambda: _is_over(app))
        assert client.post(f"{PREFIX}/{backup.id}/delete").status_code == 303


def _is_over(app: Flask) -> bool:
    """Whether every operation has its final state, and the lock is free again. Not asked through
    the pool, whose connection the operation may hold."""
    engine = sa.create_engine(app.config["SQLALCHEMY_DATABASE_URI"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        states = set(connection.scalars(sa.select(operations_table.c.state)))
    return not states & {"queued", "running"} and not backups_of(app).coordinator.is_running()


def test_what_a_request_has_not_saved_is_left_to_the_host(tmp_path: Path) -> None:
    with host(tmp_path, None) as app:

        @app.before_request
        def show_otherwise() -> None:
            if request.path.startswith(PREFIX):
                user = db.session.scalars(sa.select(User).limit(1)).one()
                user.email = "only for this page"

        client = admin_of(app)

        assert client.get(f"{PREFIX}/").status_code == 200
        with app.app_context():
            assert "only for this page" not in db.session.scalars(sa.select(User.email)).all()


def test_the_link_in_a_page_of_the_host_takes_no_connection(
    tmp_path: Path, database: NewDatabase
) -> None:
    """Fifteen threads hold the pool's fifteen connections: who waited for a second one would wait
    for the others, who wait likewise."""
    with host(tmp_path, database(), pool_timeout=PATIENCE) as app:
        barrier = Barrier(15)

        @app.get("/with-the-link")
        def page() -> str:
            db.session.scalars(sa.select(User)).all()
            barrier.wait(PATIENCE)
            link: Any = app.jinja_env.globals["hexhub_backup_link"]
            return str(link())

        with ThreadPoolExecutor(15) as threads:
            answers = list(
                threads.map(lambda _: app.test_client().get("/with-the-link").text, range(15))
            )
        assert all("Backups" in each for each in answers)


# --- what can not work -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"url": "sqlite://"},
        {"url": "sqlite:///:memory:", "poolclass": pool.StaticPool},
        {"url": "sqlite:///file:x?mode=memory&cache=shared&uri=true", "poolclass": pool.QueuePool},
        {"url": "postgresql+psycopg://nobody@/nowhere", "poolclass": pool.StaticPool},
    ],
    ids=["thread", "static", "shared", "postgresql"],
)
def test_one_connection_for_all_threads_is_refused(tmp_path: Path, options: Any) -> None:
    engine = sa.create_engine(**options)
    app = Flask("host", instance_path=str(tmp_path))
    with pytest.raises(MappingError, match=r"in memory, or its engine has one.*in a file"):
        HexHubBackup(app, registry=usual_registry(engine), storage=LocalStorage(tmp_path))
    assert "hexhub_backup" not in app.extensions


def test_flask_sqlalchemys_database_in_memory_is_refused(tmp_path: Path) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    registry = SQLAlchemyRegistry(SQLAlchemy(app), **usual_maps())
    with pytest.raises(MappingError, match="in memory"):
        HexHubBackup(app, registry=registry, storage=LocalStorage(tmp_path))


def test_a_file_that_a_function_of_the_host_opens_is_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "host.db"
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(path))
    Base.metadata.create_all(engine)
    with snapshot(usual_registry(engine).engine):
        pass
    engine.dispose()
