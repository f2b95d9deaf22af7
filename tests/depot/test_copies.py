"""A copy of a backup comes back to each depot, by whichever machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from examples.host_app.models import db
from hexhub_backup.history.models import Copy
from tests.support.age import Key, age_key
from tests.support.commands import cli
from tests.support.depots import Open, on, read
from tests.support.encrypted import copied, use
from tests.support.hosts import change_something, dump

pytestmark = pytest.mark.usefixtures("nas")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return age_key(tmp_path / "key.txt")


def copy_alone(app: Flask, opens: Open, *keys: Key) -> tuple[Copy, bytes]:
    """The copy of a backup whose archive is lost, and that archive."""
    with on(app, opens("one")) as backups:
        use(backups, *keys)
        copy = copied(app, backups)["nas"]
        name = backups.depot.archive_name(copy.backup_id)
        archive = read(backups.depot, name)
        backups.depot.remove(name)
        assert backups.history.backup(copy.backup_id).file_missing
        return copy, archive


def command(app: Flask, *arguments: str) -> None:
    """`flask backups …`, which has to succeed."""
    result = cli(app, *arguments)
    assert result.exit_code == 0, result.stdout + result.stderr


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_copy_is_brought_back(app: Flask, opens: Open, key: Key, encrypted: bool) -> None:
    keys = [key] if encrypted else []
    copy, archive = copy_alone(app, opens, *keys)
    with on(app, opens("two")):
        identity = [option for each in keys for option in ("--identity", str(each.identity))]
        command(app, "bring-back", copy.backup_id, *identity)
    with on(app, opens("three")) as backups:
        assert read(backups.depot, backups.depot.archive_name(copy.backup_id)) == archive
        assert not backups.history.backup(copy.backup_id).file_missing
        command(app, "verify", copy.backup_id)


def test_an_encrypted_copy_is_restored_by_the_machine_that_has_the_key(
    app: Flask, opens: Open, key: Key
) -> None:
    copy, _ = copy_alone(app, opens, key)
    with on(app, opens("two")) as backups:
        before = dump(app)
        change_something()
        db.session.remove()
        assert dump(app) != before
        options = ("--strategy", "overwrite", "--grant-protected", "--yes")
        command(app, "restore", copy.backup_id, *options, "--identity", str(key.identity))
        assert dump(app) == before
        # Nobody needs the archive in the clear any more.
        assert list(backups.depot.archives()) == []
