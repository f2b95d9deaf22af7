"""A host that brings its own storage and its own registry: all of it works, from door to door."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager  # type: ignore[import-untyped]

from hexhub_backup import HexHubBackup, verbs
from hexhub_backup.archive.records import (
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.errors import ChangedError, InterruptedOperationError, RehearsalError
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.registry.base import Scratch
from hexhub_backup.testing.registries.host import record_of, rows_of
from tests.support.document_registry import DocumentRegistry, Documents, Member
from tests.support.hosts import ADA, planned, restored
from tests.support.memory_storage import Content, Memory, MemoryStorage
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX

JASON, DOCS, ECTO = (
    ReleaseFile("package", "jason", "1.0.0"),
    ReleaseFile("docs", "jason", "1.0.0"),
    ReleaseFile("package", "ecto", "3.0.0"),
)


class Away(MemoryStorage):
    """Fails while it is away, as a bucket may."""

    away = False

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        if self.away:
            raise OSError("the bucket is away")
        return super().replace(operation, file, tag)


class Host:
    """Ada, who is the admin, bob, and the packages jason and ecto."""

    def __init__(self, folder: Path) -> None:
        self.memory = Memory()
        self.storage = Away(self.memory)
        for file in (JASON, DOCS, ECTO):
            self.memory.files[file] = Content(file.member.encode())
        self.registry = DocumentRegistry(folder / "host.db")
        self.put(USERS, "ada", is_admin=True)
        self.put(USERS, "bob")
        self.put(PACKAGES, "jason")
        self.put(PACKAGES, "ecto")
        self.put(RELEASES, "jason", "1.0.0", has_docs=True)
        self.put(RELEASES, "ecto", "3.0.0")
        self.put(OWNERS, "jason", "bob")
        self.app = Flask("host", instance_path=str(folder))
        self.app.secret_key = "secret"
        LoginManager(self.app).user_loader(self.member)
        HexHubBackup(self.app, registry=self.registry, storage=self.storage)

    def put(self, kind: Kind, *key: str, **fields: Any) -> None:
        with self.registry.engine.begin() as connection:
            Documents(connection).put(kind, record_of(kind, *key) | fields)

    def member(self, username: str) -> Member | None:
        with self.registry.engine.connect() as connection:
            record = Documents(connection).find(USERS, (username,))
        return None if record is None else Member(username, is_admin=bool(record.get("is_admin")))

    def state(self) -> tuple[dict[str, list[Record]], dict[ReleaseFile, bytes]]:
        """All records and files."""
        with self.registry.snapshot() as snapshot:
            records = {kind.name: rows_of(snapshot, kind) for kind in KINDS}
        return records, {file: each.bytes for file, each in self.memory.files.items()}

    def damage(self) -> None:
        """Let a package be lost, and another and its files be overwritten."""
        with self.registry.engine.begin() as connection:
            Documents(connection).delete(RELEASES, ("ecto", "3.0.0"))
            Documents(connection).delete(PACKAGES, ("ecto",))
        self.put(PACKAGES, "jason", meta={"description": "another"})
        self.put(USERS, "bob", email="bob@elsewhere.example")
        self.memory.files[JASON] = Content(b"another")
        del self.memory.files[ECTO], self.memory.files[DOCS]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    with host.app.app_context():
        backups_of(host.app).prepare(host.app)
    yield host
    host.registry.engine.dispose()


@pytest.fixture
def client(host: Host) -> FlaskClient:
    """Ada's."""
    client = host.app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "ada"
    return client


def created(host: Host) -> str:
    return backups_of(host.app).orders.run(host.app, verbs.create.order(ADA)).operation


def test_a_restore_brings_all_of_it_back_and_an_undo_takes_it_away(host: Host) -> None:
    with host.app.app_context():
        backup, before = created(host), host.state()
        host.damage()
        damaged = host.state()
        done = restored(host.app, backup)
        assert host.state() == before
        assert done.outcome["files"] == {
            "placed": 2,
            "replaced": 1,
            "bytes": sum(map(len, before[1].values())),
        }
        undo = verbs.undo.order(backups_of(host.app).history, ADA, done.operation, granted=True)
        backups_of(host.app).orders.run(host.app, undo)
        assert host.state() == damaged
    assert (host.memory.staged, host.memory.kept) == ({}, {})


def test_a_restore_that_changed_meanwhile_leaves_all_as_it_is(host: Host) -> None:
    with host.app.app_context():
        backup = created(host)
        host.damage()
        plan = planned(host.app, backup)
        host.memory.files[JASON] = Content(b"of the host")
        damaged = host.state()
        with pytest.raises(ChangedError):
            backups_of(host.app).orders.run(host.app, plan)
    assert host.state() == damaged
    assert (host.memory.staged, host.memory.kept) == ({}, {})


def test_recovery_finishes_a_decided_restore(host: Host) -> None:
    with host.app.app_context():
        backup, before = created(host), host.state()
        host.damage()
        host.storage.away = True
        with pytest.raises(InterruptedOperationError, match="the bucket is away"):
            restored(host.app, backup)
        assert host.state() != before
        host.storage.away = False
        backups_of(host.app).prepare(host.app)
    assert host.state() == before
    assert host.memory.staged == {}


def test_the_pages_work(host: Host, client: FlaskClient) -> None:
    """Each in turn, as an admin goes through them."""
    before = host.state()
    for page in ("/", "/new", "/restore"):
        assert client.get(f"{PREFIX}{page}").status_code == 200
    backup = follow(host, client, f"{PREFIX}/new", f"{PREFIX}/")
    assert "2 packages" in client.get(f"{PREFIX}/{backup}").text
    host.damage()
    damaged = host.state()
    form = {"do": "plan", "conflict_strategy": "overwrite", "users": "1", "grant_protected": "1"}
    address = f"{PREFIX}/restore"
    plan = follow(host, client, address, address, backup=backup, conflict_strategy="skip")
    address = f"{PREFIX}/plans/{plan}"
    plan = follow(host, client, address, address, **form)
    assert "bob@elsewhere.example" in client.get(f"{PREFIX}/plans/{plan}").text
    address = f"{PREFIX}/plans/{plan}"
    operation = follow(host, client, address, address, do="restore", replaces="3")
    assert client.get(f"{PREFIX}/operations/{operation}").status_code == 200
    assert host.state() == before
    address = f"{PREFIX}/operations/{operation}/undo"
    follow(host, client, address, address, grant_protected="1")
    assert host.state() == damaged


def follow(host: Host, client: FlaskClient, page: str, address: str, **form: str) -> str:
    """Send the form of a page, and wait for the end of the operation that it begins."""
    data = {"csrf_token": token(client, page), **form}
    answer = client.post(address, data=data, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    operation = re.sub(r".*/", "", answer.location)
    catalog = backups_of(host.app).catalog
    with host.app.app_context():
        ended = wait_for(
            lambda: (
                (found := catalog.operation(operation)).state not in ("queued", "running") and found
            )
        )
    assert ended.state == "completed", ended.reason
    return operation


def test_whoever_is_no_user_of_the_registry_is_told_what_to_do(host: Host) -> None:
    class Stranger:
        is_authenticated = is_active = is_admin = True
        is_anonymous = False

    host.app.login_manager.user_loader(lambda _: Stranger())  # type: ignore[attr-defined]
    client = host.app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "stranger"
    answer = client.post(f"{PREFIX}/", data={"csrf_token": token(client, f"{PREFIX}/new")})
    assert "pass actor= to init_app of hexhub_backup" in answer.text


class Rehearsable(DocumentRegistry):
    """One that can be had once more."""

    @contextmanager
    def scratch(self, *, name: str, folder: Path, database: str | None) -> Iterator[Scratch]:
        registry = DocumentRegistry(folder / f"{name}.db")
        yield Scratch(registry, registry.engine, [])
        registry.engine.dispose()

    def remove_scratch(self, *, name: str, folder: Path, database: str | None) -> None:
        """It is in the folder."""


def test_a_registry_that_can_be_had_once_more_is_rehearsed(host: Host, tmp_path: Path) -> None:
    with host.app.app_context():
        backups, backup, before = backups_of(host.app), created(host), host.state()
        order = verbs.rehearse.order(backups.history, ADA, backup)
        with pytest.raises(RehearsalError, match="can't be had a second time"):
            backups.orders.run(host.app, order)
        host.registry.engine.dispose()
        backups.registry = Rehearsable(tmp_path / "host.db")
        order = verbs.rehearse.order(backups.history, ADA, backup)
        done = backups.orders.run(host.app, order)
        assert done.outcome["findings"] == {}
        assert done.outcome["records"] == {"users": 2, "packages": 2, "releases": 2, "owners": 1}
        assert host.state() == before
        backups.registry.engine.dispose()
