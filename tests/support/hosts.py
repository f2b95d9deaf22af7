"""The example host in this process, seeded, with its backups at hand."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import select
from werkzeug.security import generate_password_hash

import hexhub_backup
from examples.host_app import create_app
from examples.host_app.models import Package, User, db
from examples.host_app.seed import ADMIN, seed
from hexhub_backup import verbs
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import BackupError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.orders import Orders
from hexhub_backup.jobs.running import Done
from hexhub_backup.operations.choice import Choice
from hexhub_backup.verbs.base import Order
from tests.support.stored import root_of

#: What a host of the tests holds, where nothing else is said.
SEED = {"users": 4, "packages": 3, "releases": 2, "file_size": 0}
ADA = Who(actor="ada", address="192.0.2.1")


def make_app(folder: Path, config: Mapping[str, Any] | None = None, **numbers: int) -> Flask:
    """The example host with our tables, seeded with `numbers` instead of those of `SEED`. It does
    nothing by the clock in this process."""
    config = {"HEXHUB_BACKUP_TICK_THREAD": False, **(config or {})}
    numbers = {**SEED, **numbers}
    elsewhere = {"SQLALCHEMY_DATABASE_URI", "HOST_APP_STORAGE"} & config.keys()
    if not elsewhere:
        shutil.copytree(seeded_once(**numbers), folder, dirs_exist_ok=True)
    app = create_app(folder, config)
    with app.app_context():
        if elsewhere:
            seed(**numbers)
        # A connection of the seed's would be one more than the host has.
        db.session.remove()
        backups_of(app).prepare(app)
    return app


@cache
def seeded_once(**numbers: int) -> Path:
    """The database and the files of a host with such a seed, which is made once: it was half of
    what the app of a test took."""
    folder = Path(tempfile.mkdtemp(prefix="hexhub_backup-seeded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as path:
        app = create_app(path, {"HEXHUB_BACKUP_TICK_THREAD": False})
        with app.app_context():
            seed(**numbers)
            db.session.remove()
            db.engine.dispose()
        for made in (Path(path, "host_app.sqlite3"), Path(path, "storage")):
            # There are no files without packages.
            if made.exists():
                shutil.move(made, folder)
    return folder


def planned(app: Flask, name: str, *, who: Who = ADA, **choice: Any) -> Order:
    """A restore of an archive, planned and not yet begun."""
    backups = backups_of(app)
    choice = {"strategy": "overwrite", "protected": True, **choice}
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, who, name, Choice(**choice))
    )
    return verbs.restore.order(backups.plans, who, plan.operation)


def restored(app: Flask, name: str, *, who: Who = ADA, **choice: Any) -> Done:
    """Plan a restore of an archive and do it."""
    return backups_of(app).orders.run(app, planned(app, name, who=who, **choice))


def dump(app: Flask) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Every row of the host's tables, every file of its storage."""
    root = root_of(backups_of(app).storage)
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".hexhub-backup" not in path.parts
    }
    return rows(), files


def rows() -> dict[str, list[Any]]:
    """Every row of the host's tables."""
    with db.engine.connect() as connection:
        return {
            name: [
                # The host ends sessions by it, after a restore and after an undo.
                {column: repr(value) for column, value in row.items() if column != "session_token"}
                for row in connection.execute(
                    sa.select(sa.text("*")).select_from(sa.table(name)).order_by(sa.text("1"))
                ).mappings()
            ]
            for name in sorted(sa.inspect(connection).get_table_names())
            if not name.startswith(("hexhub_backup_", "audit"))
        }


def leftovers(backups: Backups) -> list[Path]:
    area = root_of(backups.storage) / ".hexhub-backup"
    sets = backups.depot.path / "undo"
    return [*([area] if area.exists() else []), *sets.iterdir()]


def without_ids(tables: dict[str, list[Any]]) -> dict[str, list[str]]:
    """The same rows where what is restored may have another id."""
    return {
        table: sorted(
            repr({name: value for name, value in row.items() if name != "id"}) for row in found
        )
        for table, found in tables.items()
    }


class Queue:
    """A runner that only remembers what it was given."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def submit(self, operation_id: str) -> None:
        self.ids.append(operation_id)


@contextmanager
def workers(app: Flask, queue: Queue) -> Iterator[None]:
    """Whoever comes for what is in the queue, one after the other, in a thread."""
    stop = threading.Event()

    def work() -> None:
        taken = 0
        with app.app_context():
            while not stop.wait(0.02):
                for order in queue.ids[taken:]:
                    taken += 1
                    with suppress(BackupError):
                        hexhub_backup.run(app, order)
            db.session.remove()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def queued_by(backups: Backups, runner: Any) -> Backups:
    """The same backups, whose orders a runner of the host's gets."""
    backups.orders = Orders(
        catalog=backups.catalog,
        coordinator=backups.coordinator,
        depot=backups.depot,
        recovery=backups.recovery,
        context=backups.context,
        runner=runner,
    )
    backups.copying = replace(backups.copying, orders=backups.orders)
    return backups


def one_user() -> User:
    return (
        db.session.scalars(
            select(User).where(User.username != ADMIN).order_by(User.username)
        ).first()
        or User()
    )


def one_package() -> Package:
    query = select(Package).where(Package.source == "local").order_by(Package.name)
    return db.session.scalars(query).first() or Package()


def change_something(email: str = "old@example.org") -> User:
    """Let an account and a package differ from what was backed up."""
    user, package = one_user(), one_package()
    user.email, user.password_hash = email, generate_password_hash("another one")
    package.meta = {"description": "another one"}
    db.session.commit()
    return user


def file_of(app: Flask, package: Package) -> Path:
    release = package.releases[0]
    file = ReleaseFile("package", package.name, release.version)
    return (
        root_of(backups_of(app).storage)
        / "hosted"
        / file.member.replace(
            "packages/", f"packages/{package.name}/" if "-" not in package.name else "packages/", 1
        )
    )
