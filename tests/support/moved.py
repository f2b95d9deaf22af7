"""A registry that was changed since its backup, and a host that goes on while it is restored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup import signals, verbs
from hexhub_backup.jobs.backups import backups_of
from tests.support.hosts import ADA
from tests.support.stored import root_of

OTHER = b"of the host itself"


class Registry:
    """A registry with one release whose row and file differ from a backup, one that is gone, and
    one that has only lost its file."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.backups = backups_of(app)
        root = root_of(self.backups.storage)
        packages = db.session.scalars(sa.select(Package).where(Package.source == "local")).all()
        first, second, third = (package.releases[0] for package in packages)
        self.differs, self.gone, self.lost = (
            f"release {each.package.name} {each.version}" for each in (first, second, third)
        )
        self.file, self.created, self.put_back = (
            next(root.rglob(f"packages/*/{each.package.name}-{each.version}.tar.gz"))
            for each in (first, second, third)
        )
        self.archived = self.file.read_bytes()
        first.retired = {"reason": "security"}
        db.session.delete(second)
        db.session.commit()
        self._release = first.id
        # As large as the archive's in one of them: such a file is compared by what it holds.
        self.file.write_bytes(b"x" * len(self.archived))
        self.created.unlink()
        for docs in root.rglob(f"docs/*/{self.created.name}"):
            docs.unlink()
        self.put_back.unlink()

    def undo(self, operation: str) -> dict[str, Any]:
        outcome = self.backups.orders.run(
            self.app, verbs.undo.order(self.backups.history, ADA, operation)
        ).outcome
        db.session.expire_all()
        return outcome

    def is_as_before(self) -> bool:
        """Whether the row that differs is as it was before the restore."""
        return db.session.get_one(Release, self._release).retired == {"reason": "security"}


def told(outcome: dict[str, Any]) -> list[tuple[str, str]]:
    return [(warning["code"], warning["record"]) for warning in outcome["warnings"]]


def in_place(path: Path, content: bytes = OTHER) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    # A server of S3 tells times in seconds.
    later = path.stat().st_mtime + 2
    os.utime(path, (later, later))


@contextmanager
def when(app: Flask, step: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something when a step begins."""

    def receiver(_: Any, *, event: dict[str, Any], **extra: Any) -> None:
        if (event["step"], event["state"]) == (step, "running"):
            do()

    with signals.operation_step.connected_to(receiver, app):
        yield


@contextmanager
def before_the_decision(app: Flask, do: Callable[[], object]) -> Iterator[None]:
    """Do something when all is ready, and the deciding transaction is about to begin; on SQLite."""
    waiting = [do]
    ready: list[bool] = []

    def begins(_: Any, __: Any, statement: str, *___: Any) -> None:
        if ready and waiting and statement == "BEGIN IMMEDIATE":
            waiting.pop()()

    sa.event.listen(db.engine, "before_cursor_execute", begins)
    try:
        with when(app, "decide", lambda: ready.append(True)):
            yield
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", begins)
    assert not waiting
