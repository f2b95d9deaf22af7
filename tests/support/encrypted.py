"""Copies of a host that are encrypted to keys."""

from __future__ import annotations

import dataclasses

from flask import Flask

from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import Backups
from tests.support.age import Key
from tests.support.commands import created
from tests.support.hosts import ADA


def use(backups: Backups, *keys: Key) -> None:
    """As if the app had been made with these recipients."""
    backups.settings = dataclasses.replace(
        backups.settings, age_recipients=[each.recipient for each in keys]
    )


def copied(app: Flask, backups: Backups) -> dict[str, Copy]:
    """The copies of a new backup, by their places."""
    backup = created(app)
    failures = [failure for _, failure in backups.copying.run_due(app, ADA)]
    assert failures == [None] * len(backups.destinations)
    return {copy.place: copy for copy in backups.catalog.copies.of(backup)}


def content(backups: Backups, place: str, name: str) -> bytes:
    with backups.destinations[place].open(name) as file:
        return b"".join(iter(lambda: file.read(2**20), b""))


class Zeros:
    """So many bytes, and then an error, where there is one."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.left = size
        self.error = error

    def read(self, size: int, /) -> bytes:
        size = min(size, self.left)
        self.left -= size
        if not size and self.error is not None:
            raise self.error
        return bytes(size)
